#!/usr/bin/env bash
# Builds the image on the stand-in base of tools/ops/podman.sh; pulls nothing.
#
#   tools/ops/podman.sh run tools/ops/image.sh TAG [CONTEXT [BUILD OPTION…]]
#
# CONTEXT is the folder to build, by default this checkout. pip reaches its index as it does on this machine: the build
# mounts the machine's certificates and settings, and no layer contains them.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
TAG="${1:?TAG}"
CONTEXT="${2:-$ROOT}"
shift $(($# > 2 ? 2 : $#))

mounts=(-v /etc/ssl/certs:/etc/ssl/certs:ro)
if [[ -f /etc/pip.conf ]]; then mounts+=(-v /etc/pip.conf:/etc/pip.conf:ro); fi
# --format docker: the OCI format has no HEALTHCHECK. --isolation chroot: needs no namespace of its own.
# --layers: reuses unchanged steps.
exec buildah bud --format docker --isolation chroot --layers --pull-never --network host "${mounts[@]}" \
  -t "$TAG" "$@" "$CONTEXT"

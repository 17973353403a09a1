#!/usr/bin/env bash
# Builds the image for real, on the stand-in base of tools/ops/podman.sh, with nothing pulled.
#
#   tools/ops/podman.sh run tools/ops/image.sh TAG [CONTEXT [BUILD OPTION…]]
#
# CONTEXT is the folder that is built; else this checkout. pip reaches its index as it does on this machine: with the
# machine's certificates and settings, which are mounted for the time of the build and so leave no trace in a layer.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
TAG="${1:?TAG}"
CONTEXT="${2:-$ROOT}"
shift $(($# > 2 ? 2 : $#))

mounts=(-v /etc/ssl/certs:/etc/ssl/certs:ro)
if [[ -f /etc/pip.conf ]]; then mounts+=(-v /etc/pip.conf:/etc/pip.conf:ro); fi
# --format docker: OCI images know no HEALTHCHECK, it would be dropped. --isolation chroot: needs no namespace of its own.
# --layers: an unchanged step is not built again.
exec buildah bud --format docker --isolation chroot --layers --pull-never --network host "${mounts[@]}" \
  -t "$TAG" "$@" "$CONTEXT"

#!/usr/bin/env bash
# Sets up a container engine: Debian's Podman and Buildah. They work as root even where limits cannot be raised, without
# systemd, and with cgroups v1 and v2 mounted together.
#
#   tools/ops/podman.sh setup          installs what is missing (Debian packages), makes the stand-in base image once,
#                                      and starts a container to prove that the engine works
#   tools/ops/podman.sh run COMMAND…   runs COMMAND where `podman` and `buildah` work; run setup first
#   tools/ops/podman.sh base           prints the name of the base image, as the Dockerfile has it
#
# Exits non-zero with the reason when there is no engine or it cannot start a container: nothing is skipped.
#
# The stand-in base image is Debian trixie with Python 3.13, under the name that the Dockerfile builds on. It consists of
# packages that apt has verified; no image is pulled. .nidan/ops keeps it under a name derived from its package list.
# NIDAN_OPS names another folder, for example one that outlives the checkout.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
# shellcheck source=tools/debian.sh
source "$ROOT/tools/debian.sh"
OPS="${NIDAN_OPS:-$ROOT/.nidan/ops}"
# Holds sockets, whose paths may have 108 characters at most: a folder below the checkout could be too deep.
RUN="/tmp/nidan-ops-$(printf %s "$OPS" | cksum | cut -d' ' -f1)"
PACKAGES=(buildah podman crun mmdebstrap openssl)
BASE=docker.io/library/python:3.13-slim-trixie
RELEASE=trixie
# The parts of python:3.13-slim-trixie that the Dockerfile needs. Debian's interpreter has a different path.
BASE_PACKAGES=ca-certificates,netbase,tzdata,python3-minimal,python3-venv
CONTAINED="${NIDAN_OPS_CONTAINED:-}" # set inside the namespace that `run` makes

cannot() {
  echo "tools/ops/podman.sh: NO CONTAINER ENGINE: $*" >&2
  exit 1
}

say() {
  echo "tools/ops/podman.sh: $*" >&2
}

install_packages() {
  local missing=() name try
  for name in "${PACKAGES[@]}"; do
    command -v "$name" >/dev/null || missing+=("$name")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || cannot "${missing[*]} not found, and there is no apt-get to install them with."
  say "installing ${missing[*]}"
  # Waits for another apt at work. `update` has no such option, so it is retried.
  for try in 1 2 3 4 5 6; do
    apt-get -qq update >&2 && break
    ((try < 6)) || cannot "apt-get update failed (see above)."
    sleep 10
  done
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
    -o Dpkg::Use-Pty=0 "${missing[@]}" >"$OPS/apt.log" 2>&1 || {
    tail -n 20 "$OPS/apt.log" >&2
    cannot "${missing[*]} could not be installed (see above)."
  }
}

write_settings() {
  mkdir -p "$OPS/graph" "$RUN"
  cat >"$OPS/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$OPS/graph"
runroot = "$RUN/run"
CONF
  # default_ulimits: Podman would raise them, and root without CAP_SYS_RESOURCE cannot. netns: creates no network and so
  # leaves the machine's alone. Locks and state belong to this checkout and do not disturb another Podman.
  cat >"$OPS/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:8192"]
netns = "host"
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
lock_type = "file"
tmp_dir = "$RUN/libpod"
[network]
network_config_dir = "$OPS/networks"
CONF
  export CONTAINERS_STORAGE_CONF="$OPS/storage.conf" CONTAINERS_CONF="$OPS/containers.conf"
}

base_file() {
  echo "$OPS/base-$(printf '%s %s 1' "$RELEASE" "$BASE_PACKAGES" | cksum | cut -d' ' -f1).tar"
}

make_base() {
  local file reason lab
  file="$(base_file)"
  if [[ ! -s "$file" ]]; then
    say "making the stand-in base of Debian $RELEASE (once; about a minute)"
    lab="$(mktemp -d "$OPS/base.XXXXXX")"
    mkdir "$lab/parts"
    reason="$(debian_source "$lab/parts" "$RELEASE")" || cannot "the stand-in base cannot be made: $reason."
    # Slim images leave out documents and translations, too.
    mmdebstrap --quiet --variant=minbase --include="$BASE_PACKAGES" \
      --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "2"' \
      --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
      --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
      --dpkgopt='force-unsafe-io' \
      "$RELEASE" "$lab/base.tar" "$lab"/parts/nidan.* >&2 || cannot "mmdebstrap could not make the stand-in base (see above)."
    mv "$lab/base.tar" "$file"
    rm -rf "$lab"
  fi
  if ! podman image exists "$BASE" 2>/dev/null || [[ "$(cat "$OPS/imported" 2>/dev/null)" != "$file" ]]; then
    say "importing it as $BASE"
    podman import --quiet "$file" "$BASE" >/dev/null || cannot "podman cannot import the stand-in base (see above)."
    echo "$file" >"$OPS/imported"
  fi
}

start_a_container() {
  local output
  output="$(podman run --rm --pull=never --memory=64m "$BASE" python3 -c 'print("started")' 2>&1)" && [[ "$output" == *started* ]] ||
    cannot "podman cannot start a container: ${output:-it printed nothing}"
}

# Podman refuses a machine with controllers of cgroups v1 and a v2 tree beside them. A mount namespace of our own unmounts
# the v2 tree; v1 is left, with working memory limits. The machine keeps its mounts.
contained() { # COMMAND...
  [[ "$(id -u)" == 0 ]] || cannot "run it as root."
  command -v unshare >/dev/null || cannot "there is no unshare (util-linux)."
  NIDAN_OPS_CONTAINED=1 exec unshare -m --propagation private bash -c '
    set -euo pipefail
    if grep -q " /sys/fs/cgroup/unified cgroup2 " /proc/self/mounts; then umount /sys/fs/cgroup/unified; fi
    exec "$@"' contained "$@"
}

case "${1:-}" in
  setup)
    mkdir -p "$OPS"
    if [[ -z "$CONTAINED" ]]; then
      install_packages
      contained "$0" setup
    fi
    write_settings
    make_base
    start_a_container
    say "a container starts ($(podman --version), $(buildah --version | cut -d' ' -f1-3))"
    ;;
  run)
    shift
    (($#)) || { echo "tools/ops/podman.sh run COMMAND…" >&2; exit 2; }
    command -v podman >/dev/null || cannot "podman is not installed; run tools/ops/podman.sh setup."
    mkdir -p "$OPS"
    write_settings
    if [[ -n "$CONTAINED" ]]; then exec "$@"; fi
    contained "$@"
    ;;
  base) echo "$BASE" ;;
  *)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac

#!/usr/bin/env bash
# Checks a compose file with a real Compose v2. Needs no Docker engine.
#
#   tools/compose.sh config [FILE]   `config -q` on FILE (docker-compose.yml), without .env and with .env.example.
#                                    Exits 0 when both pass, 1 when Compose refuses one, 3 when there is no Compose
#                                    and none can be fetched.
#   tools/compose.sh path            prints the command of the Compose in use, one word a line
#
# Uses the first of .nidan/tools/docker-compose, `docker compose` and `docker-compose`. Without one, on Debian, it fetches
# trixie's docker-compose (2.26.1) from the mirror of the machine's own apt sources, verifies apt's signatures and unpacks
# the one binary into .nidan/tools. It installs nothing and changes nothing else.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
TOOLS="$ROOT/.nidan/tools"
RELEASE=trixie
CANNOT=3
# shellcheck source=tools/debian.sh
source "$ROOT/tools/debian.sh"

cannot() {
  echo "tools/compose.sh: docker-compose.yml NOT CHECKED: $*" >&2
  exit "$CANNOT"
}

is_v2() { # COMMAND...
  [[ "$("$@" version --short 2>/dev/null)" =~ ^v?([2-9]|[1-9][0-9]+)\. ]]
}

find_compose() { # sets COMPOSE, or fails
  local words
  for words in "$TOOLS/docker-compose" "docker compose" docker-compose; do
    if [[ "$words" == "docker compose" ]]; then COMPOSE=(docker compose); else COMPOSE=("$words"); fi
    if is_v2 "${COMPOSE[@]}"; then return 0; fi
  done
  return 1
}

fetch() {
  local lab reason
  command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    cannot "no Compose v2 is installed, and there is no apt-get to fetch one with. Install Docker Compose 2.20 or later."
  mkdir -p "$TOOLS"
  lab="$(mktemp -d "$TOOLS/fetch.XXXXXX")"
  # shellcheck disable=SC2064 - expands the folder now, not at exit
  trap "rm -rf '$lab'" EXIT
  mkdir "$lab/parts"
  reason="$(debian_source "$lab/parts" "$RELEASE")" ||
    cannot "no Compose v2 is installed, and none can be fetched: $reason. Install Docker Compose 2.20 or later."
  private_apt "$lab"
  echo "tools/compose.sh: fetching docker-compose of Debian $RELEASE into .nidan/tools (once)" >&2
  (
    cd "$lab"
    timeout 120 apt-get -c "$lab/apt.conf" -qq update &&
      timeout 120 apt-get -c "$lab/apt.conf" -qq download docker-compose &&
      dpkg -x docker-compose_*.deb root
  ) >&2 || cannot "docker-compose could not be fetched from Debian $RELEASE (see above)."
  mv -f "$lab/root/usr/libexec/docker/cli-plugins/docker-compose" "$TOOLS/docker-compose"
  rm -rf "$lab"
}

need_compose() {
  find_compose && return
  fetch
  find_compose || cannot "the fetched program does not run here as Compose v2."
}

config() { # FILE
  local file="$1" environment
  [[ -f "$file" ]] || { echo "tools/compose.sh: no such file: $file" >&2; exit 1; }
  need_compose
  for environment in /dev/null "$ROOT/.env.example"; do
    # The caller's own variables would override those of the files.
    env -i PATH="$PATH" HOME="${HOME:-/}" "${COMPOSE[@]}" --project-directory "$ROOT" --env-file "$environment" -f "$file" config -q || {
      echo "tools/compose.sh: Compose refuses $file (variables from $environment)" >&2
      exit 1
    }
  done
}

case "${1:-}" in
  config) config "${2:-$ROOT/docker-compose.yml}" ;;
  path)
    need_compose
    printf '%s\n' "${COMPOSE[@]}"
    ;;
  *)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac

#!/usr/bin/env bash
# Puts Prometheus and Alertmanager into .nidan/tools: prometheus, promtool, prometheus-alertmanager and amtool, in the
# versions of Debian trixie.
#
#   tools/ops/prometheus.sh          fetches missing programs; exits 0 when all four have these versions, else 3
#
# On Debian it fetches the packages from the mirror of the machine's own apt sources, verifies apt's signatures and unpacks
# the programs. It installs nothing and changes nothing else. On other systems put the four programs there yourself:
# Prometheus and promtool 2.53, Alertmanager and amtool 0.28. Alertmanager runs in its own user and mount namespace
# (unshare), where it finds its templates.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
TOOLS="$ROOT/.nidan/tools"
RELEASE=trixie
CANNOT=3
. "$ROOT/tools/debian.sh"
# The versions that the rules, their tests and the live test were written for.
declare -A VERSIONS=([prometheus]=2.53. [promtool]=2.53. [prometheus-alertmanager]=0.28. [amtool]=0.28.)

cannot() {
  echo "tools/ops/prometheus.sh: NOTHING CHECKED: $*" >&2
  exit "$CANNOT"
}

lacking() { # prints the programs that are not there in their version
  local name
  for name in "${!VERSIONS[@]}"; do
    [[ "$("$TOOLS/$name" --version 2>&1)" == *"version ${VERSIONS[$name]}"* ]] || echo "$name"
  done
}

fetch() {
  local lab why
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || cannot "there is no apt-get; see the head of this script."
  mkdir -p "$TOOLS"
  lab="$(mktemp -d "$TOOLS/fetch.XXXXXX")"
  # shellcheck disable=SC2064 - expands the folder now, not at exit
  trap "rm -rf '$lab'" EXIT
  private_apt "$lab"
  why="$(debian_source "$lab/parts" "$RELEASE")" || cannot "$why; see the head of this script."
  echo "tools/ops/prometheus.sh: fetching Prometheus and Alertmanager of Debian $RELEASE into .nidan/tools (once)" >&2
  (
    cd "$lab"
    timeout 180 apt-get -c "$lab/apt.conf" -qq update &&
      timeout 300 apt-get -c "$lab/apt.conf" -qq download prometheus promtool prometheus-alertmanager
    for package in *.deb; do dpkg -x "$package" root; done
  ) >&2 || cannot "cannot fetch the packages from Debian $RELEASE (see above)."
  rm -rf "$TOOLS/alertmanager"
  mkdir -p "$TOOLS/alertmanager/share/prometheus"
  mv -f "$lab"/root/usr/bin/{prometheus,promtool,amtool} "$TOOLS/"
  mv -f "$lab/root/usr/bin/prometheus-alertmanager" "$TOOLS/alertmanager/"
  mv -f "$lab/root/usr/share/prometheus/alertmanager" "$TOOLS/alertmanager/share/prometheus/"
  # Debian's Alertmanager looks for its templates only under /usr/share: its own mount namespace has them there.
  cat >"$TOOLS/prometheus-alertmanager" <<'RUN'
#!/bin/sh
here="$(cd "$(dirname "$0")" && pwd)/alertmanager"
exec unshare --user --map-root-user --mount sh -c '
  mount -t overlay overlay -o "lowerdir=$0/share:/usr/share" /usr/share && exec "$0/prometheus-alertmanager" "$@"' "$here" "$@"
RUN
  chmod +x "$TOOLS/prometheus-alertmanager"
  rm -rf "$lab"
}

[[ -z "$(lacking)" ]] || fetch
left="$(lacking)"
[[ -z "$left" ]] || cannot "not in the wanted version: $left"

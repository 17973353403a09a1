#!/usr/bin/env bash
# Writes the image's bill of materials (CycloneDX), and checks its packages for known vulnerabilities.
#
#   tools/ops/podman.sh run tools/ops/sbom.sh bill IMAGE FILE   writes the Python environment of IMAGE to FILE: CycloneDX
#                                                               1.6 in JSON, checked against its schema
#   tools/ops/podman.sh run tools/ops/sbom.sh audit IMAGE       asks an advisory service about each package in it
#
# `audit` exits 0 when the service knows every package and no vulnerability, 1 when a package has one, and 3 when the
# service does not know every package: the audit then proves nothing. NIDAN_OSV_URL names an OSV service; the default is
# the package index's own.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
BIN="$ROOT/.venv-ops-image/bin"
NOT_AUDITED=3

usage() {
  sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# Sets ENVIRONMENT, the folder of the image's installed packages.
take_environment() { # IMAGE
  local root found
  LAB="$(mktemp -d)"
  root="$(podman image mount "$1")"
  # shellcheck disable=SC2064 - expands the names now, not at exit
  trap "podman image unmount '$1' >/dev/null; rm -rf '$LAB'" EXIT
  found=("$root"/opt/nidan/lib/python3*/site-packages)
  ENVIRONMENT="${found[0]}"
  [[ -d "$ENVIRONMENT/nidan" ]] || { echo "tools/ops/sbom.sh: no nidan in $1" >&2; exit 1; }
}

bill() { # IMAGE FILE
  take_environment "$1"
  mkdir -p "$(dirname "$2")"
  # cyclonedx-py asks a Python for its path. The image's Python cannot run here, so a script gives its answer.
  printf '#!/bin/sh\necho '\''["%s"]'\''\n' "$ENVIRONMENT" >"$LAB/python"
  chmod +x "$LAB/python"
  "$BIN/cyclonedx-py" environment --pyproject "$ROOT/pyproject.toml" --mc-type application --sv 1.6 --of JSON \
    --output-reproducible --validate -o "$2" "$LAB/python"
}

audit() { # IMAGE
  local code=0 service=()
  take_environment "$1"
  if [[ -n "${NIDAN_OSV_URL:-}" ]]; then service=(-s osv --osv-url "$NIDAN_OSV_URL"); fi
  "$BIN/pip-audit" --path "$ENVIRONMENT" --progress-spinner off --cache-dir "$LAB/cache" --timeout 20 --desc off \
    -f json -o "$LAB/audit.json" "${service[@]}" 2>"$LAB/log" || code=$?
  if [[ ! -s "$LAB/audit.json" ]]; then
    tail -n 3 "$LAB/log" >&2
    echo "tools/ops/sbom.sh: NOT AUDITED: the advisory service did not answer (see above)." >&2
    exit "$NOT_AUDITED"
  fi
  # pip-audit exits 0 even when the service knows none of the packages.
  "$BIN/python" - "$LAB/audit.json" "$NOT_AUDITED" <<'PYTHON'
import json
import sys

packages = [package for package in json.load(open(sys.argv[1]))["dependencies"] if package["name"] != "nidan"]
unknown = [package["name"] for package in packages if "skip_reason" in package]
faults = [(package, fault) for package in packages for fault in package.get("vulns", [])]
for package, fault in faults:
    print(f"{package['name']} {package['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'nothing yet'}")
if faults:
    sys.exit(1)
if unknown:
    print(f"tools/ops/sbom.sh: NOT AUDITED: the advisory service does not know {len(unknown)} of {len(packages)} packages: "
          f"{', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}", file=sys.stderr)
    sys.exit(int(sys.argv[2]))
print(f"{len(packages)} packages, none with a known fault")
PYTHON
}

case "${1:-}" in
  bill) (($# == 3)) || usage; bill "$2" "$3" ;;
  audit) (($# == 2)) || usage; audit "$2" ;;
  *) usage ;;
esac

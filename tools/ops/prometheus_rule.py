"""Wraps deploy/prometheus/rules/nidan.yml as a PrometheusRule for the Prometheus operator; `--check` reports drift.

The rules file is the only source; its groups are copied unchanged.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules" / "nidan.yml"
WRAPPED = ROOT / "deploy" / "k8s" / "components" / "monitoring" / "prometheusrule.yaml"

_HEADER = "# Generated from deploy/prometheus/rules/nidan.yml by `make ops-rules`; edit nothing here.\n"


class _Plain(yaml.SafeDumper):
    """Writes repeated values out instead of YAML aliases, because people read the file, too."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature of PyYAML
        return True


def wrapped(rules: str) -> str:
    """The text of a rules file as the text of a PrometheusRule. Raises KeyError without groups."""
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "nidan", "labels": {"app.kubernetes.io/name": "nidan"}},
        "spec": {"groups": yaml.load(rules, yaml.CSafeLoader)["groups"]},
    }
    return _HEADER + yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


def main(arguments: list[str]) -> int:
    wanted = wrapped(RULES.read_text(encoding="utf-8"))
    if arguments == ["--check"]:
        if WRAPPED.read_text(encoding="utf-8") == wanted:
            return 0
        print(f"{WRAPPED.relative_to(ROOT)} differs from {RULES.relative_to(ROOT)}: run `make ops-rules`")
        return 1
    WRAPPED.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

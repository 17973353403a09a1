"""Runs all checks of `nidan doctor` and prints their table. Needs no network."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nidan.checks.finding import Finding, State
from nidan.checks.machine import access_finding, dictionary_finding, port_finding, python_version
from nidan.checks.providers import model_findings
from nidan.checks.python import start_python
from nidan.checks.settings import SettingsProbe, settings_finding
from nidan.services.service import CONTENT, ENHANCER, GATEWAY, OFFLINE_MODEL
from nidan.terminal.sanitize import clean
from servicekit.safe_json import safe_dumps

_STYLES: Mapping[State, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def report_findings(today: date, environment: Mapping[str, str], as_json: bool) -> int:
    """Prints the findings. Returns 1 when one of them is a fail, else 0."""
    findings = list(examine(today, environment))
    healthy = all(finding.state != "fail" for finding in findings)
    if as_json:
        checks = [asdict(finding) for finding in findings]
        print(safe_dumps({"ok": healthy, "checks": checks}))
    else:
        _print(findings)
    return 0 if healthy else 1


def examine(today: date, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Every finding, in the order of the table."""
    probes = {service.name: SettingsProbe(service, environment) for service in (GATEWAY, CONTENT, ENHANCER)}
    dictionary = start_python("import sudachipy, sudachidict_core", environment)
    yield python_version(sys.version_info[:2])
    settings = {name: probe.read() for name, probe in probes.items()}
    yield from (settings_finding(name, settings[name]) for name in settings)
    yield from model_findings(settings, today, environment)
    yield access_finding(environment)
    yield from (port_finding(service, environment) for service in (GATEWAY, CONTENT, ENHANCER, OFFLINE_MODEL))
    yield dictionary_finding(dictionary)


def _print(findings: Sequence[Finding]) -> None:
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("Check", no_wrap=True)
    table.add_column("Finding")
    for finding in findings:
        text = Text(clean(finding.message))
        if finding.next_step:
            text.append(f"\n→ {clean(finding.next_step)}", style="italic")
        table.add_row(Text(finding.state, style=_STYLES[finding.state]), Text(clean(finding.name)), text)
    Console(highlight=False).print(table)

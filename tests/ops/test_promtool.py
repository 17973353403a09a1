"""Prometheus's and Alertmanager's own tools judge the shipped files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.ops.shipped import ALERTMANAGER, DRAWING, PROMETHEUS, ROOT, RULE_TESTS, RULES, TOOLS, alerts, groups

pytestmark = pytest.mark.ops


def run(*command: object, cwd: Path = ROOT) -> str:
    """What the program prints; fails when it ends with anything but 0."""
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_promtool_accepts_rules_and_configuration() -> None:
    assert "SUCCESS: 133 rules found" in run(TOOLS / "promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert "is valid prometheus config file syntax" in run(TOOLS / "promtool", "check", "config", PROMETHEUS)


def test_promtool_does_not_accept_a_rule_that_is_none(tmp_path: Path) -> None:
    broken = tmp_path / "rules.yml"
    broken.write_text(RULES.read_text(encoding="utf-8").replace("sum(rate(", "sum(rat(", 1), encoding="utf-8")
    ended = subprocess.run([TOOLS / "promtool", "check", "rules", broken], capture_output=True, check=False)
    assert ended.returncode == 1


TRIED = [group for group in groups() if any("alert" in rule for rule in group["rules"])]


@pytest.mark.parametrize("group", TRIED, ids=lambda group: str(group["name"]))
def test_every_alert_fires_is_silent_when_healthy_and_at_no_traffic_and_ends(
    group: dict[str, object], tmp_path: Path
) -> None:
    """With the rules of the group alone, as committed: with all of them each minute would be judged 130 times."""
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [group]}), encoding="utf-8")
    text = (RULE_TESTS / f"{group['name']}.yml").read_text(encoding="utf-8")
    (tmp_path / "tests.yml").write_text(text.replace("../rules/nidan.yml", "rules.yml"), encoding="utf-8")
    assert "SUCCESS" in run(TOOLS / "promtool", "test", "rules", "tests.yml", cwd=tmp_path)


def test_amtool_accepts_the_configuration() -> None:
    assert "SUCCESS" in run(TOOLS / "amtool", "check-config", ALERTMANAGER)


@pytest.mark.parametrize("name", alerts())
def test_an_alert_goes_to_who_is_to_hear_of_it(name: str) -> None:
    labels = {"alertname": name, **alerts()[name]["labels"]}
    given = [f"{key}={value}" for key, value in labels.items()]
    receiver = {"critical": "pager", "warning": "tickets", "none": "watchdog"}[labels["severity"]]
    told = run(TOOLS / "amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *given)
    assert told.splitlines()[0] == receiver


def test_the_committed_dashboards_are_what_their_source_gives() -> None:
    assert DRAWING.exists(), "`make ops-alerts` sets up .venv-ops-alerts, and runs these tests"
    run(DRAWING, ROOT / "tools" / "ops" / "dashboards.py", "--check")

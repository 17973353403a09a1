"""Makes promtool's tests of the rules (deploy/prometheus/tests/), or with --check reports whether they are fresh.

Every alert has four tests: it fires for its fault at a realistic error share; it is silent in a healthy world, which
has some failures; it is silent without traffic; it stops when the fault stops. A world is a rate a minute for each
counter and a value for each gauge. Each group of rules has a file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.ops.rules import ROOT, keep, load, rules, written

TESTS = ROOT / "deploy" / "prometheus" / "tests"
_HEAD = "# Made by tools/ops/rule_tests.py: change that, and run `make ops-rules`.\n"
SECTIONS = ("frame", "reading", "dialogue", "grammar", "culture", "practice")
ALWAYS = "NidanWatchdog"
"""The watchdog, which fires in every world."""
_DAY = 86400
_HEALTHY_MINUTES = 60
_LONG_MINUTES = 480
_GONE = "_"

World = dict[str, float]


def _made(outcome: str) -> str:
    return f'nidan_lessons_total{{outcome="{outcome}",source="generated"}}'


def _stage1(outcome: str) -> str:
    return f'nidan_stage1_total{{model="gpt-5",outcome="{outcome}"}}'


def _section(name: str, state: str) -> str:
    return f'nidan_section_enhancements_total{{model="gpt-4.1",section="{name}",state="{state}"}}'


def _enhanced(count: int) -> str:
    return f'nidan_lesson_sections_enhanced_total{{count="{count}"}}'


def _seconds(part: str, edge: str = "") -> str:
    return f'nidan_lesson_duration_seconds_{part}{{{edge}outcome="complete"}}'


def _usd(part: str, edge: str = "") -> str:
    return f'nidan_lesson_cost_usd_{part}{{{edge}outcome="complete"}}'


COST, WASTE = (f'nidan_{name}_usd_total{{model="gpt-5",stage="stage1"}}' for name in ("model_cost", "wasted_cost"))
UNPRICED = 'nidan_unpriced_attempts_total{model="gpt-5"}'
REFUSED = 'nidan_budget_refusals_total{scope="day"}'
ASKED = 'nidan_model_attempts_total{kind="first",model="gpt-4.1",outcome="ok",stage="stage2"}'
ON = 'nidan_twostage_enabled{instance="gateway:9100",job="nidan-gateway"}'
BREAKER = 'nidan_breaker_open{model="gpt-5"}'
ENDS = 'nidan_model_shutdown_timestamp_seconds{model="gpt-5"}'


def _up(service: str, port: int) -> str:
    return f'up{{instance="{service}:{port}",job="nidan-{service}"}}'


# Two lessons a minute, with the failures that the promises allow.
COUNTERS: World = {
    _made("complete"): 1.96,
    _made("partial"): 0.036,
    _made("failed"): 0.004,
    _made("cancelled"): 0.02,
    _made("rejected"): 0,
    _stage1("ok"): 1.996,
    _stage1("failed"): 0.004,
    _enhanced(5): 1.95,
    _enhanced(4): 0.044,
    _enhanced(2): 0.001,
    _enhanced(0): 0.001,
    **{_section(name, "enhanced"): 1.98 for name in SECTIONS},
    **{_section(name, "degraded"): 0.01 for name in SECTIONS},
    **{_section(name, "plain"): 0.006 for name in SECTIONS},
    **{_section(name, "missing"): 0 for name in SECTIONS},
    _section("lesson_plan", "enhanced"): 1.996,
    _seconds("bucket", 'le="180.0",'): 1.98,
    _seconds("bucket", 'le="240.0",'): 1.995,
    _seconds("count"): 1.996,
    _seconds("sum"): 190,
    _usd("bucket", 'le="0.05",'): 1.98,
    _usd("count"): 1.996,
    _usd("sum"): 0.054,
    COST: 0.054,
    WASTE: 0.003,
    UNPRICED: 0,
    REFUSED: 0,
    ASKED: 12,
}
GAUGES: World = {
    ON: 1,
    BREAKER: 0,
    ENDS: 400 * _DAY,
    **{_up(service, port): 1 for service, port in (("gateway", 9100), ("content", 9101), ("enhancer", 9102))},
}


@dataclass(frozen=True)
class Case:
    """A fault: its differences from the healthy world, and the alert that must fire at its end."""

    alert: str
    fault: Mapping[str, float | str]
    labels: Mapping[str, str] = field(default_factory=dict)
    """The labels that the query returns."""
    lasts: int = 15
    """Minutes."""
    over: int = 60
    """Minutes after which the alert must be silent."""
    silent: str = ""
    """The faster alert, which must not fire at this share."""
    why: str = ""


def _burn_cases() -> Iterator[Case]:
    """For every pair of windows, an error share above its threshold and below that of the next faster pair, if any."""
    for slo in load()["slo"]:
        fast, slow = (f"Nidan{slo['alert']}Burns{speed}" for speed in ("Fast", "Slowly"))
        labels = {"section": "dialogue"} if slo.get("by") else {}
        strict = slo["objective"] > 95
        shares = (
            [(fast, 0.2, 70, 60), (fast, 0.1, 300, 60), (slow, 0.045, 300, 420), (slow, 0.02, 300, 420)]
            if strict
            else [(fast, 0.6, 70, 60), (fast, 0.4, 300, 60), (slow, 0.15, 300, 420)]
        )
        for alert, share, lasts, over in shares:
            # Half the budget burns at half the share.
            error = share if strict else share * (100 - slo["objective"]) / 10
            quiet = fast if alert == slow else ""
            yield Case(alert, _failing(slo["name"], error), labels, lasts, over, quiet, f"{error:.3g} of all fail")


def _failing(slo: str, share: float) -> dict[str, float]:
    """The world in which this share of the promise's events is bad."""
    good, bad = 2 * (1 - share), 2 * share
    return {
        "success": {_made("complete"): good, _made("failed"): bad},
        "success-99": {_made("complete"): good, _made("rejected"): bad},
        "stage1": {_stage1("ok"): good, _stage1("failed"): bad},
        "section": {_section("dialogue", "enhanced"): good, _section("dialogue", "plain"): bad},
        "duration": {_seconds("bucket", 'le="180.0",'): good, _seconds("count"): 2},
        "cost": {_usd("bucket", 'le="0.05",'): good, _usd("count"): 2},
    }[slo]


CASES = (
    Case("NidanStage1Fails", {_stage1("ok"): 1.6, _stage1("failed"): 0.4}),
    Case("NidanStage2Fails", {_enhanced(5): 1.6, _enhanced(0): 0.4}),
    Case("NidanTwostageOff", {ON: 0}, {"instance": "gateway:9100", "job": "nidan-gateway"}, lasts=5),
    Case("NidanBudgetRefusals", {REFUSED: 0.2}, {"scope": "day"}),
    Case(
        "NidanTargetDown",
        {_up("content", 9101): 0},
        {"instance": "content:9101", "job": "nidan-content"},
        lasts=5,
        why="it does not answer",
    ),
    *(
        Case("NidanTargetDown", {_up(service, port): _GONE}, {"job": f"nidan-{service}"}, why="there is no such target")
        for service, port in (("gateway", 9100), ("content", 9101), ("enhancer", 9102))
    ),
    Case("NidanModelRetiresNow", {ENDS: 6 * _DAY}, {"model": "gpt-5"}),
    Case("NidanModelRetiresNow", {ENDS: 600}, {"model": "gpt-5"}, why="it has ended"),
    Case(
        "NidanSectionFails",
        {_section("dialogue", "enhanced"): 1.5, _section("dialogue", "plain"): 0.5},
        {"section": "dialogue"},
    ),
    Case(
        "NidanSectionFails",
        {_section("culture", "enhanced"): 1.5, _section("culture", "missing"): 0.5},
        {"section": "culture"},
        why="Stage 1 does not write it",
    ),
    Case("NidanLessonsPartial", {_made("complete"): 1.4, _made("partial"): 0.6}),
    Case("NidanFewSectionsEnhanced", {_enhanced(5): 1.6, _enhanced(2): 0.4}),
    Case("NidanLessonsSlow", {_seconds("bucket", 'le="240.0",'): 1.8}),
    Case("NidanWasteHigh", {WASTE: 0.03}, lasts=60, over=90),
    Case("NidanDegradedShareHigh", {_section(name, "degraded"): 0.6 for name in SECTIONS}),
    Case("NidanBreakerOpen", {BREAKER: 1}, {"model": "gpt-5"}, lasts=5),
    Case("NidanModelRetiresSoon", {ENDS: 40 * _DAY}, {"model": "gpt-5"}, silent="NidanModelRetiresNow"),
    Case("NidanModelUnpriced", {UNPRICED: 0.5}, {"model": "gpt-5"}, over=75),
    *_burn_cases(),
)


def tests(group: Mapping[str, Any]) -> dict[str, Any]:
    """The file that promtool runs for a group of rules."""
    named = {rule["alert"]: rule for rule in group["rules"] if "alert" in rule}
    still = dict.fromkeys(COUNTERS, 0.0)
    return {
        "rule_files": ["../rules/nidan.yml"],
        # Windows of hours need no evaluation every minute.
        "evaluation_interval": "5m" if "slo" in group["name"] else "1m",
        "tests": [
            _lasting("healthy", COUNTERS, named),
            _lasting("no traffic", still, named),
            *(_tried(case, named[case.alert]) for case in CASES if case.alert in named),
        ],
    }


def files() -> dict[Path, str]:
    """Every test file with its text."""
    groups = [group for group in rules(load())["groups"] if any("alert" in rule for rule in group["rules"])]
    return {TESTS / f"{group['name']}.yml": written(tests(group), _HEAD) for group in groups}


def _lasting(name: str, counters: World, named: Mapping[str, Any]) -> dict[str, Any]:
    """A world without change, in which only the watchdog fires."""
    minutes = _LONG_MINUTES if ALWAYS not in named else 3 * _HEALTHY_MINUTES
    series = {key: _counter([(minutes, rate)]) for key, rate in counters.items()}
    series |= {key: _gauge([(minutes, value)]) for key, value in GAUGES.items()}
    checks = [
        _firing(alert, at, rule["labels"] if alert == ALWAYS else None)
        for alert, rule in named.items()
        for at in (_HEALTHY_MINUTES, minutes)
    ]
    return _test(name, series, checks)


def _tried(case: Case, rule: Mapping[str, Any]) -> dict[str, Any]:
    series = {}
    for key, rate in COUNTERS.items():
        faulty = float(case.fault.get(key, rate))
        series[key] = _counter([(_HEALTHY_MINUTES, rate), (case.lasts, faulty), (case.over, rate)])
    for key, value in GAUGES.items():
        series[key] = _gauge([(_HEALTHY_MINUTES, value), (case.lasts, case.fault.get(key, value)), (case.over, value)])
    begun, ended = _HEALTHY_MINUTES - 1, _HEALTHY_MINUTES + case.lasts - 1  # the last minute of each
    checks = [
        _firing(case.alert, begun),
        _firing(case.alert, ended, {**rule["labels"], **case.labels}),
        _firing(case.alert, ended + case.over),
        *([_firing(case.silent, ended)] if case.silent else []),
    ]
    return _test(f"{case.alert} fires and ends" + f" ({case.why})" * bool(case.why), series, checks)


def _test(name: str, series: Mapping[str, str], checks: list[dict[str, Any]]) -> dict[str, Any]:
    inputs = [{"series": key, "values": values} for key, values in series.items()]
    return {"name": name, "interval": "1m", "input_series": inputs, "promql_expr_test": checks}


def _firing(alert: str, minute: int, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The expectation that it fires then with exactly these labels, or (None) that it does not fire."""
    wanted = {"alertname": alert, "alertstate": "firing", **(labels or {})}
    sample = "ALERTS{" + ", ".join(f'{name}="{value}"' for name, value in wanted.items()) + "}"
    return {
        "expr": f'ALERTS{{alertname="{alert}",alertstate="firing"}}',
        "eval_time": f"{minute}m",
        "exp_samples": [] if labels is None else [{"labels": sample, "value": 1}],
    }


def _counter(phases: list[tuple[int, float]]) -> str:
    """The series of phases (minutes, rate a minute) in promtool's notation."""
    value, parts = 0.0, []
    for minutes, rate in phases:
        parts.append(f"{value + rate:.6g}+{rate:.6g}x{minutes - 1}")
        value += minutes * rate
    return " ".join(parts)


def _gauge(phases: list[tuple[int, float | str]]) -> str:
    return " ".join(f"_x{minutes}" if value == _GONE else f"{value}+0x{minutes - 1}" for minutes, value in phases)


if __name__ == "__main__":
    sys.exit(max(keep(path, text, sys.argv) for path, text in files().items()))

"""Rules, runbook, metrics page and dashboards hold together; what needs Prometheus itself is in test_promtool."""

from __future__ import annotations

import copy
import itertools
import re
from typing import Any

import pytest

import gateway.service as gateway_main
from gateway.settings import GatewaySettings
from servicekit.settings import load
from servicekit.telemetry import Registry
from tests.ops.shipped import (
    ALERTMANAGER,
    BOARDS,
    ROOT,
    RULES,
    WATCHDOG,
    alerts,
    board,
    names,
    panel_titles,
    panels,
    queries,
    records,
    rules,
)
from tools.ops import metrics_doc, rule_tests
from tools.ops import rules as generator

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
METRICS = {told.name: told for told in metrics_doc.catalogue()}
KNOWN = {
    *METRICS,
    *(f"{told.name}_{part}" for told in METRICS.values() if told.buckets for part in ("bucket", "sum", "count")),
    "up",
    "ALERTS",
}
RULE_TESTS = rule_tests.files()


# --- generated files are fresh ----------------------------------------------------------------------------------------


def test_the_committed_rules_are_what_their_source_gives() -> None:
    assert RULES.read_text(encoding="utf-8") == generator.written(generator.rules(generator.load()))


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_the_committed_tests_of_the_rules_are_what_their_source_gives(path: Any) -> None:
    assert path.read_text(encoding="utf-8") == RULE_TESTS[path]


def test_no_test_of_rules_is_left_over() -> None:
    assert set(rule_tests.TESTS.iterdir()) == set(RULE_TESTS)


def test_the_committed_metrics_page_is_what_the_catalogue_gives() -> None:
    assert metrics_doc.PAGE.read_text(encoding="utf-8") == metrics_doc.page()


# --- the generator ----------------------------------------------------------------------------------------------------


def test_a_burn_that_cannot_fire_is_refused() -> None:
    data = copy.deepcopy(generator.load())
    data["burns"]["loose"][0][0] = 14.4  # the usual window, at 90 %: an error share of 1.44
    with pytest.raises(generator.RefusedError, match=r"an error share of 1\.44"):
        generator.rules(data)
    data["burns"]["loose"][0][0] = 9
    with pytest.raises(generator.RefusedError):
        generator.rules(data)


def test_every_promise_is_burnt_in_the_windows_that_can_fire() -> None:
    data = generator.load()
    told = {slo["name"]: [pair[:3] for pair in generator.burns(slo, data["burns"])] for slo in data["slo"]}
    loose = [(5, "1h", "5m"), (3, "6h", "30m"), (1, "3d", "6h")]
    assert told.pop("success-99") == [(14.4, "1h", "5m"), (6, "6h", "30m"), (3, "1d", "2h"), (1, "3d", "6h")]
    assert set(told) == {"success", "stage1", "section", "duration", "cost"}
    assert all(pairs == loose for pairs in told.values())


def test_the_promises_are_the_ones_that_were_asked_for() -> None:
    told = {slo["name"]: slo["objective"] for slo in generator.load()["slo"]}
    assert told == {"success": 90, "success-99": 99, "stage1": 95, "section": 90, "duration": 95, "cost": 95}


@pytest.mark.parametrize("share", [0.01, 0.05, 0.144, 0.25, 0.5])
def test_one_bad_event_alone_is_never_a_burn(share: float) -> None:
    events = generator.floor(share)
    assert events >= 10
    assert 1 / events < share


def test_a_latency_or_cost_promise_asks_for_a_bucket_that_exists() -> None:
    asked = re.findall(r'(\w+)_bucket\{[^}]*le="([\d.]+)"', RULES.read_text(encoding="utf-8"))
    assert {(name, float(edge)) for name, edge in asked} == {
        ("nidan_lesson_duration_seconds", 180.0),
        ("nidan_lesson_duration_seconds", 240.0),
        ("nidan_lesson_cost_usd", 0.05),
    }
    for name, edge in asked:
        assert float(edge) in METRICS[name].buckets
        assert repr(float(edge)) == edge  # as the services write it


def test_a_query_for_what_does_not_exist_would_be_noticed() -> None:
    query = 'sum by (model) (rate(nidan_lesons_total{outcome="failed"}[5m])) / on (a) slo:sli_eror:ratio_rate5m'
    assert names(query) - KNOWN - records() == {"nidan_lesons_total", "slo:sli_eror:ratio_rate5m"}


# --- names that exist -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", sorted(set(queries())))
def test_a_query_asks_only_for_metrics_of_the_catalogue_and_for_records(query: str) -> None:
    asked = names(query)
    assert asked - KNOWN - records() == set()


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_its_severity_what_happened_and_where_to_look(name: str) -> None:
    rule = alerts()[name]
    told = rule["annotations"]
    assert rule["labels"]["severity"] in ("critical", "warning") or name == WATCHDOG
    assert told["summary"]
    assert told["description"]
    page, _, anchor = told["runbook_url"].partition("#")
    assert (ROOT / page).is_file()
    assert anchor in {heading.lower() for heading in re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)}
    assert told["dashboard"] in panel_titles()
    assert told["dashboard_url"] in {f"/d/{board(one)['uid']}" for one in BOARDS}


def test_the_alerts_are_the_ones_that_were_asked_for() -> None:
    by_severity: dict[str, set[str]] = {"critical": set(), "warning": set(), "none": set()}
    for name, rule in alerts().items():
        by_severity[rule["labels"]["severity"]].add(name)
    assert by_severity["critical"] >= {
        "NidanStage1Fails",
        "NidanStage2Fails",
        "NidanTwostageOff",
        "NidanBudgetRefusals",
        "NidanTargetDown",
        "NidanModelRetiresNow",
    }
    assert by_severity["warning"] >= {
        "NidanSectionFails",
        "NidanLessonsPartial",
        "NidanFewSectionsEnhanced",
        "NidanLessonsSlow",
        "NidanWasteHigh",
        "NidanDegradedShareHigh",
        "NidanBreakerOpen",
        "NidanModelRetiresSoon",
        "NidanModelUnpriced",
    }
    assert by_severity["none"] == {WATCHDOG}


@pytest.mark.parametrize("name", sorted(set(alerts())))
def test_the_runbook_says_of_an_alert_what_it_is_what_to_look_at_and_what_to_do(name: str) -> None:
    (told,) = re.findall(rf"^### {name}$(.*?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    for part in ("**Symptom.**", "**Look at.**", "**Do.**"):
        assert len(told.split(part)) == 2
    for title in re.findall(r"\*([A-Z][^*\n]+)\*(?!\*)", told):
        assert title in {one.partition(": ")[2] for one in panel_titles()} | {"Status, Rules", "Runtime", "Success"}


def test_the_runbook_has_no_heading_without_an_alert_and_no_dead_anchor() -> None:
    headings = re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)
    assert {heading for heading in headings if heading.startswith("Nidan")} == set(alerts())
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOK)) <= anchors
    assert {"stage-1-timeouts", "all-sections-failing", "validation-errors", "high-cost", "logs"} <= anchors


def test_the_runbook_asks_only_for_metrics_and_log_events_that_exist() -> None:
    for block in re.findall(r"```promql\n(.*?)```", RUNBOOK, re.DOTALL):
        assert names(block) <= KNOWN | records()
    code = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("[gcs]*/**/*.py"))
    code += (ROOT / "enhancer_service" / "stage.py").read_text(encoding="utf-8")
    table = RUNBOOK.partition("| event | says |")[2]
    for event in re.findall(
        r"`([a-z0-9]+_[a-z0-9_]+)`", "".join(line.split("|")[1] for line in table.splitlines()[2:] if line)
    ):
        assert f'"{event}"' in code, event


# --- row -> metric -> rule -> alert -> panel --------------------------------------------------------------------------


@pytest.mark.parametrize("row", metrics_doc.rows(), ids=lambda row: row.get("request") or row["event"])
def test_each_row_of_the_monitoring_names_what_exists(row: dict[str, str]) -> None:
    assert all(row.values())
    assert row["metric"] in METRICS
    assert row["rule"] in records()
    assert set(row["alert"].split(", ")) <= set(alerts())
    assert row["panel"] in panel_titles()


def test_the_gateway_writes_every_log_event_of_the_earlier_system() -> None:
    events = {row["event"] for row in metrics_doc.rows() if "event" in row}
    written = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "gateway").rglob("*.py"))
    assert {event for event in events if f'"{event}"' not in written} == set()
    found = set(re.findall(r'"((?:using|twostage|stage1|stage2|section)_[a-z0-9_]+)"', written))
    assert {name for name in found if name in events or "generation" in name} <= events
    assert len(events) == 12


# --- every alert is tried in four ways --------------------------------------------------------------------------------


def test_no_alert_lacks_one_of_its_four_cases() -> None:
    """Fires, silent when healthy, silent with no traffic, ends; the watchdog alone fires in every world."""
    tried: dict[str, set[str]] = {name: set() for name in alerts()}
    for group in generator.rules(generator.load())["groups"]:
        if any("alert" in rule for rule in group["rules"]):
            for test in rule_tests.tests(group)["tests"]:
                for name, way in _ways(test):
                    tried[name].add(way)
    assert tried.pop(WATCHDOG) == {"fires when healthy", "fires with no traffic"}
    assert tried == {name: {"healthy", "no traffic", "fires", "ends"} for name in tried}


def _ways(test: dict[str, Any]) -> list[tuple[str, str]]:
    """Which alert a test tries in which way: read from what it asserts, not from what it is called."""
    by_alert: dict[str, list[tuple[int, bool]]] = {}
    for check in test["promql_expr_test"]:
        name = re.findall(r'alertname="(\w+)"', check["expr"])[0]
        by_alert.setdefault(name, []).append((int(check["eval_time"][:-1]), bool(check["exp_samples"])))
    found = []
    for name, seen in by_alert.items():
        fired = [fires for _, fires in sorted(seen)]
        if test["name"] in ("healthy", "no traffic"):
            word = {"healthy": "fires when healthy", "no traffic": "fires with no traffic"}[test["name"]]
            found.append((name, word if any(fired) else test["name"]))
        elif fired == [False, True, False]:
            found += [(name, "fires"), (name, "ends")]
    return found


def test_the_healthy_world_is_not_a_faultless_one() -> None:
    for series in ('outcome="failed"', 'outcome="partial"', 'count="0"', 'state="plain"', 'state="degraded"'):
        assert any(rate > 0 for key, rate in rule_tests.COUNTERS.items() if series in key)


# --- annotations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(alerts()) - {WATCHDOG}))
def test_an_alerts_words_use_only_labels_that_its_query_gives(name: str) -> None:
    used = set(re.findall(r"\$labels\.(\w+)", "".join(alerts()[name]["annotations"].values())))
    given = [set(case.labels) for case in rule_tests.CASES if case.alert == name]
    assert used <= set.union(*given)


def test_every_rule_of_inhibition_speaks_of_labels_that_alerts_have() -> None:
    labels = {label for rule in alerts().values() for label in rule["labels"]} | {"alertname", "section", "model"}
    text = ALERTMANAGER.read_text(encoding="utf-8")
    assert set(re.findall(r"'(\w+)=", text)) <= labels


# --- dashboards -------------------------------------------------------------------------------------------------------


def test_uids_and_ids_are_given_once() -> None:
    assert len({board(name)["uid"] for name in BOARDS}) == len(BOARDS) == 2
    for name in BOARDS:
        ids = [panel["id"] for panel in panels(name)]
        assert len(set(ids)) == len(ids)
        titles = [panel["title"] for panel in panels(name)]
        assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", BOARDS)
def test_panels_stand_within_24_columns_and_none_on_another(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(name):
        at = panel["gridPos"]
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert at["x"] >= 0
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


@pytest.mark.parametrize("name", BOARDS)
def test_a_panel_has_a_unit_a_description_and_its_source_by_variable(name: str) -> None:
    for panel in panels(name):
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert not target.get("hide")
            assert target["legendFormat"]
    (variable,) = board(name)["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")


@pytest.mark.parametrize("name", BOARDS)
def test_every_rate_of_a_panel_is_over_the_rate_interval(name: str) -> None:
    windows = [
        window
        for panel in panels(name)
        for target in panel["targets"]
        for window in re.findall(r"\[([^\]]*)\]", target["expr"])
    ]
    assert windows
    assert set(windows) == {"$__rate_interval"}


def test_every_counter_that_an_alert_asks_for_is_there_from_the_start() -> None:
    """Else the first failure of a process would be the series' first value, and no rate would see it."""
    registry = Registry()
    gateway_main.metrics_at_zero(registry, load(GatewaySettings))
    there = {sample.name for family in registry.collect() for sample in family.samples}
    asked = {name for rule in rules() if "alert" in rule or "record" in rule for name in names(rule["expr"])}
    ours = {name for name in asked if name.startswith("nidan_")}
    assert len(ours) >= 12
    assert ours - there == {"nidan_model_shutdown_timestamp_seconds"}  # a gauge, for models with an end alone

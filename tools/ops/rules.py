"""Makes the Prometheus rules from alerts.toml (`make ops-rules`), or with --check reports whether they are fresh.

Records and labels of the promises have Sloth's names, so that dashboards for Sloth show them.
"""

from __future__ import annotations

import math
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).with_name("alerts.toml")
RULES = ROOT / "deploy" / "prometheus" / "rules" / "nidan.yml"

HIGHEST_THRESHOLD = 0.9
"""Thresholds stay below it: an alert that needs almost everything to fail would never fire in time."""
LEAST_EVENTS = 10
"""The traffic floor: a share of fewer events in the long window means nothing."""
LEAST_BAD_EVENTS = 2
"""The least number of bad events; a single one is no burn."""
RECENT, JUDGED = "10m", "30m"
"""An alert on a share: the event occurred in the first window, and its share in the second is too large."""
_HEAD = "# Made by tools/ops/rules.py from tools/ops/alerts.toml: change that, and run `make ops-rules`.\n"

Rule = dict[str, Any]


class RefusedError(ValueError):
    """A rule that could not serve its purpose."""


def load(source: Path = SOURCE) -> dict[str, Any]:
    """The data of the rules."""
    return tomllib.loads(source.read_text(encoding="utf-8"))


def rules(data: Mapping[str, Any]) -> dict[str, Any]:
    """The rules file as data. Raises RefusedError."""
    groups: list[dict[str, Any]] = []
    for slo in data["slo"]:
        records = [*_windows(slo, data["burns"]), *_budget(slo)]
        alerts = [_burn_alert(slo, data, fast=fast) for fast in (True, False)]
        groups.append({"name": f"nidan-slo-{slo['name']}", "rules": [*records, *alerts]})
    groups.append({"name": "nidan-means", "rules": [rule for mean in data["mean"] for rule in _means(mean)]})
    groups.append({"name": "nidan-alerts", "rules": [_alert(alert, data) for alert in data["alert"]]})
    return {"groups": groups}


# --- promises -------------------------------------------------------------------------------------------------------


def threshold(burn: float, objective: float) -> float:
    """The error share at which the budget of `objective` percent burns so fast. Raises RefusedError when too large."""
    share = burn * (100 - objective) / 100
    if share >= HIGHEST_THRESHOLD:
        raise RefusedError(f"a burn of {burn:g} at {objective:g} % is an error share of {share:.3g}: it cannot fire")
    return share


def floor(share: float) -> int:
    """The number of events in the long window from which its share counts."""
    return max(LEAST_EVENTS, math.ceil(LEAST_BAD_EVENTS / share))


def burns(slo: Mapping[str, Any], of: Mapping[str, Any]) -> list[tuple[float, str, str, bool]]:
    """Burn, long window, short window and whether it is fast, for each pair of windows."""
    kind = "loose" if slo["objective"] <= 95 else "strict"
    return [(burn, long, short, fast) for burn, long, short, fast in of[kind]]


def _labels(slo: Mapping[str, Any]) -> dict[str, str]:
    return {"sloth_id": f"nidan-{slo['name']}", "sloth_service": "nidan", "sloth_slo": slo["name"]}


def _matcher(slo: Mapping[str, Any]) -> str:
    return f'{{sloth_id="nidan-{slo["name"]}"}}'


def _windows(slo: Mapping[str, Any], of: Mapping[str, Any]) -> Iterator[Rule]:
    """The error share of every window. A window without events has no sample, so no NaN spreads to other records."""
    pairs = burns(slo, of)
    for window in sorted({window for _, *both, _ in pairs for window in both}, key=_seconds):
        good, everything = (slo[name].replace("[W]", f"[{window}]") for name in ("good", "all"))
        labels = _labels(slo) | {"sloth_window": window}
        expr = f"1 - (\n  {good}\n  /\n  ({everything} > 0)\n)\n"
        yield {"record": f"slo:sli_error:ratio_rate{window}", "expr": expr, "labels": labels}
    for window in sorted({long for _, long, _, _ in pairs}, key=_seconds):
        expr = f"{slo['all'].replace('[W]', f'[{window}]')} * {_seconds(window)}"
        yield {"record": f"slo:sli_events:increase{window}", "expr": expr, "labels": _labels(slo)}


def _seconds(window: str) -> int:
    return int(window[:-1]) * {"m": 60, "h": 3600, "d": 86400}[window[-1]]


def _budget(slo: Mapping[str, Any]) -> Iterator[Rule]:
    """The rest of the 30 days' budget. It weighs lessons, not minutes: quiet nights count little."""
    labels, this = _labels(slo), _matcher(slo)
    objective = slo["objective"] / 100
    on = "on (sloth_id) group_left"
    yield {"record": "slo:objective:ratio", "expr": f"vector({objective:g})", "labels": labels}
    yield {"record": "slo:error_budget:ratio", "expr": f"vector(1 - {objective:g})", "labels": labels}
    for name in ("good", "all"):
        yield {"record": f"slo:sli_{name}:rate5m", "expr": slo[name].replace("[W]", "[5m]"), "labels": labels}
    expr = f"1 - sum_over_time(slo:sli_good:rate5m{this}[30d]) / (sum_over_time(slo:sli_all:rate5m{this}[30d]) > 0)"
    yield {"record": "slo:sli_error:ratio_rate30d", "expr": expr, "labels": labels | {"sloth_window": "30d"}}
    for record, window in (("slo:current_burn_rate:ratio", "5m"), ("slo:period_burn_rate:ratio", "30d")):
        share = f"max without (sloth_window) (slo:sli_error:ratio_rate{window}{this})"
        expr = f"{share} / {on} slo:error_budget:ratio{this}"
        yield {"record": record, "expr": expr, "labels": labels}
    expr = f"1 - slo:period_burn_rate:ratio{this}"
    yield {"record": "slo:period_error_budget_remaining:ratio", "expr": expr, "labels": labels}


def _burn_alert(slo: Mapping[str, Any], data: Mapping[str, Any], *, fast: bool) -> Rule:
    """The alert that fires when both windows of any pair burn and the long one has enough events."""
    budget = 1 - slo["objective"] / 100
    pairs = []
    for burn, long, short, is_fast in burns(slo, data["burns"]):
        share = threshold(burn, slo["objective"])
        if is_fast == fast:
            limit = f"({burn:g} * {budget:.2g})"
            both = [
                f"max without (sloth_window) (slo:sli_error:ratio_rate{window}{_matcher(slo)}) > {limit}"
                for window in (long, short)
            ]
            events = f"slo:sli_events:increase{long}{_matcher(slo)} >= {floor(share)}"
            pairs.append("(\n  " + "\n  and\n  ".join([*both, events]) + "\n)\n")
    speed = "Fast" if fast else "Slowly"
    name = f"Nidan{slo['alert']}Burns{speed}"
    value = "{{ $value | humanizePercentage }}"
    return {
        "alert": name,
        "expr": "or\n".join(pairs),
        "labels": {"severity": "critical" if fast and slo.get("pages", True) else "warning", **_labels(slo)},
        "annotations": {
            "summary": f"{slo['objective']} % of {slo['promise']}: the error budget burns {speed.lower()}",
            "description": f"{value} failed in the long window; the budget of 30 days is {100 * budget:.2g} %.",
            **_pointers(name, slo["panel"], data),
        },
    }


def _pointers(name: str, panel: str, data: Mapping[str, Any]) -> dict[str, str]:
    """Links to the runbook and the dashboard."""
    board = panel.partition(":")[0].lower()
    return {
        "runbook_url": f"{data['runbook']}#{name.lower()}",
        "dashboard": panel,
        "dashboard_url": f"/d/nidan-{board}",
    }


# --- averages and single causes -------------------------------------------------------------------------------------


def _means(mean: Mapping[str, Any]) -> Iterator[Rule]:
    for window in mean["windows"]:
        total, count = (f"sum(rate({mean['of']}_{part}{mean['select']}[{window}]))" for part in ("sum", "count"))
        yield {"record": f"{mean['record']}{window}", "expr": f"{total} / ({count} > 0)"}


def _alert(alert: Mapping[str, Any], data: Mapping[str, Any]) -> Rule:
    expr = alert["expr"] if "expr" in alert else _share(alert)
    return {
        "alert": alert["name"],
        "expr": expr.strip() + "\n",
        **({"for": alert["for"]} if "for" in alert else {}),
        "labels": {"severity": alert["severity"], "topic": alert["topic"]},
        "annotations": {
            "summary": alert["summary"],
            "description": alert["description"],
            **_pointers(alert["name"], alert["panel"], data),
        },
    }


def _share(alert: Mapping[str, Any]) -> str:
    bad, everything = alert["bad"], alert["all"]
    lines = [
        f"({bad.replace('[W]', f'[{JUDGED}]')}) > {alert['share']:g} * ({everything.replace('[W]', f'[{JUDGED}]')})",
        f"and ({bad.replace('[W]', f'[{RECENT}]')}) > 0",
        *([f"and ({alert['only_if']})"] if "only_if" in alert else []),
    ]
    return "\n".join(lines)


# --- the file -------------------------------------------------------------------------------------------------------


class _Dumper(yaml.CSafeDumper):
    """Keeps queries of several lines readable and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's signature
        return True


def _text(dumper: yaml.CSafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def written(value: object, head: str = _HEAD) -> str:
    """The text of the committed file."""
    return head + yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)


def keep(path: Path, text: str, argv: list[str]) -> int:
    """Writes a generated file, or with --check reports whether it is fresh. Returns the exit status, 0 or 1."""
    if "--check" not in argv:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    print(f"stale: {path.relative_to(ROOT)}; run make ops-rules")
    return 1


if __name__ == "__main__":
    sys.exit(keep(RULES, written(rules(load())), sys.argv))

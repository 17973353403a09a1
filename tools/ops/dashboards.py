"""Makes the Grafana dashboards (`make ops-rules`), or with --check reports whether the committed ones are fresh.

Runs in .venv-ops-alerts, with Grafana's own SDK. Every panel states its content and unit; each query takes its source
from the variable `datasource`, and every rate covers $__rate_interval.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import dashboard as board_builder
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "dashboards"
COLUMNS = 24
_SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
_EACH = "sum by (%s) (rate(%s[$__rate_interval]))"


@dataclass(frozen=True)
class Query:
    """A query and the legend of its lines."""

    expr: str
    legend: str
    target: bool = False
    """A limit, drawn as a dashed line."""


@dataclass(frozen=True)
class Panel:
    """A panel. Its place follows from its width and the panels before it."""

    title: str
    text: str
    unit: str
    queries: tuple[Query, ...]
    width: int = 8
    height: int = 8
    kind: str = "lines"
    """lines, stacked or number"""
    highest: float | None = None
    lowest: float | None = 0


def _share(title: str, text: str, slo: str, legend: str, objectives: str) -> Panel:
    return Panel(
        title,
        text,
        "percentunit",
        (
            Query(f'1 - slo:sli_error:ratio_rate1h{{sloth_slo="{slo}"}}', f"{legend}, 1 h"),
            Query(f'1 - slo:sli_error:ratio_rate5m{{sloth_slo="{slo}"}}', f"{legend}, 5 min"),
            Query(f'slo:objective:ratio{{sloth_slo=~"{objectives}"}}', "target", target=True),
        ),
        highest=1,
    )


def _quantile(share: float, histogram: str, by: str = "", select: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{select}[$__rate_interval])))"


def _per_hour(by: str, counter: str) -> str:
    return f"3600 * {_EACH % (by, counter)}"


_MADE = '{outcome=~"complete|partial"}'
_NIDAN = '{job=~"nidan-.+"}'

LESSONS = (
    Panel(
        "Alerts firing",
        "Firing alerts by name, without the watchdog, which always fires.",
        "short",
        (
            Query(
                'count by (alertname) (ALERTS{alertstate="firing",alertname=~"Nidan.+",alertname!="NidanWatchdog"})',
                "{{alertname}}",
            ),
        ),
        width=11,
        kind="stacked",
    ),
    Panel(
        "Two-stage generation is on",
        "1: USE_TWOSTAGE_GENERATION is on in every gateway. 0: a gateway refuses lessons.",
        "bool_on_off",
        (Query("min(nidan_twostage_enabled)", "on"),),
        width=4,
        kind="number",
    ),
    Panel(
        "Lessons being made",
        "Lessons in progress in all gateways.",
        "short",
        (Query("sum(nidan_lessons_in_flight)", "lessons"),),
        width=3,
        kind="number",
    ),
    Panel(
        "Error budget left",
        "The unused share of the errors that each promise allows in 30 days. Below 0 the promise is broken.",
        "percentunit",
        (Query("min by (sloth_slo) (slo:period_error_budget_remaining:ratio)", "{{sloth_slo}}"),),
        width=6,
        highest=1,
        lowest=None,
    ),
    _share(
        "Success against 90 % and 99 %",
        "Share of requested lessons that were delivered, complete or partial. Cancelled lessons do not count.",
        "success",
        "delivered",
        "success|success-99",
    ),
    _share(
        "Stage 1 success against 95 %",
        "Share of runs whose Stage 1 succeeded, after all attempts.",
        "stage1",
        "ok",
        "stage1",
    ),
    _share(
        "Sections enhanced against 90 %",
        "Share of sections with complete annotations, by section. A section that was not written counts as an error.",
        "section",
        "{{section}}",
        "section",
    ),
    Panel(
        "Time a lesson takes",
        "From request to last event, delivered lessons only. Target: 95 % within 180 s; warning above 240 s.",
        "s",
        (
            Query(_quantile(0.5, "nidan_lesson_duration_seconds", select=_MADE), "median"),
            Query(_quantile(0.95, "nidan_lesson_duration_seconds", select=_MADE), "95 %"),
            Query("nidan:lesson_duration_seconds:mean1h", "mean, 1 h"),
            Query("vector(180)", "target", target=True),
            Query("vector(240)", "warning", target=True),
        ),
    ),
    Panel(
        "Time of Stage 1",
        "95th percentile, by the model called last.",
        "s",
        (Query(_quantile(0.95, "nidan_stage1_duration_seconds", "model"), "{{model}}"),),
    ),
    Panel(
        "Time of sections",
        "95th percentile from the release by Stage 1 to the annotated section, by section.",
        "s",
        (Query(_quantile(0.95, "nidan_section_duration_seconds", "section"), "{{section}}"),),
    ),
    Panel(
        "Cost of a lesson",
        "At list price, delivered lessons only. Target: 95 % at most $0.05.",
        "currencyUSD",
        (
            Query(_quantile(0.95, "nidan_lesson_cost_usd", select=_MADE), "95 %"),
            Query("nidan:lesson_cost_usd:mean5m", "mean, 5 min"),
            Query("nidan:lesson_cost_usd:mean1h", "mean, 1 h"),
            Query("vector(0.05)", "target", target=True),
        ),
    ),
    Panel(
        "Cost by stage and model",
        "Dollars an hour at list price, including failed calls that the provider may bill.",
        "currencyUSD",
        (Query(_per_hour("stage, model", "nidan_model_cost_usd_total"), "{{stage}} {{model}}"),),
        kind="stacked",
    ),
    Panel(
        "Share of money wasted",
        "Share of the model costs for answers that no lesson used. Warning above 25 % of an hour's costs.",
        "percentunit",
        (
            Query(
                "sum(rate(nidan_wasted_cost_usd_total[$__rate_interval]))"
                " / (sum(rate(nidan_model_cost_usd_total[$__rate_interval])) > 0)",
                "wasted",
            ),
            Query("vector(0.25)", "warning", target=True),
        ),
        highest=1,
    ),
    Panel(
        "Lessons by outcome",
        "Lessons an hour by outcome. rejected: no run began, because of load or because the flag is off.",
        "short",
        (Query(_per_hour("outcome", "nidan_lessons_total"), "{{outcome}}"),),
        kind="stacked",
    ),
    Panel(
        "Sections by state",
        "Sections an hour by final state: enhanced, degraded, plain (no translation), missing.",
        "short",
        (Query(_per_hour("state", "nidan_section_enhancements_total"), "{{state}}"),),
        kind="stacked",
    ),
    Panel(
        "Sections enhanced a lesson",
        "Lessons an hour by their number of enhanced sections (reading, dialogue, grammar, culture, practice).",
        "short",
        (Query(_per_hour("count", "nidan_lesson_sections_enhanced_total"), "{{count}} of 5"),),
        kind="stacked",
    ),
    Panel(
        "Items by source of the reading",
        "Japanese items an hour by the source of the reading: override, frame, model, repaired, analyser, none.",
        "short",
        (Query(_per_hour("reading_provenance", "nidan_items_total"), "{{reading_provenance}}"),),
        kind="stacked",
    ),
    Panel(
        "Sections by model",
        "Sections an hour by the model that translated them or was last to try.",
        "short",
        (Query(_per_hour("model", 'nidan_section_enhancements_total{section!="lesson_plan"}'), "{{model}}"),),
        kind="stacked",
    ),
    Panel(
        "Items by translation",
        "Japanese items an hour: translated (true), translation missing (false), not_needed.",
        "short",
        (Query(_per_hour("translated", "nidan_items_total"), "{{translated}}"),),
        kind="stacked",
    ),
    Panel(
        "Model calls by kind",
        "Calls an hour by stage and kind: first, retry, reask, fallback, probe.",
        "short",
        (Query(_per_hour("stage, kind", "nidan_model_attempts_total") + " > 0", "{{stage}} {{kind}}"),),
        kind="stacked",
    ),
    Panel(
        "Model calls that failed",
        "Failed calls an hour, by model and outcome.",
        "short",
        (
            Query(
                _per_hour("model, outcome", 'nidan_model_attempts_total{outcome!="ok"}') + " > 0",
                "{{model}} {{outcome}}",
            ),
        ),
        kind="stacked",
    ),
    Panel(
        "Refusals for money",
        "Times an hour that a cost limit allowed no model call, by scope: lesson, day or caller.",
        "short",
        (Query(_per_hour("scope", "nidan_budget_refusals_total"), "{{scope}}"),),
        width=4,
    ),
    Panel(
        "Calls without a price",
        "Calls an hour of models without a price. No cost limit counts them.",
        "short",
        (Query(_per_hour("model", "nidan_unpriced_attempts_total"), "{{model}}"),),
        width=4,
    ),
)

SERVICES = (
    Panel(
        "Targets up",
        "1: Prometheus can scrape the service. 0: it cannot.",
        "short",
        (Query(f"min by (job) (up{_NIDAN})", "{{job}}"),),
        highest=1,
    ),
    Panel(
        "In flight against the limit",
        "RPCs in progress as a share of the service's limit. Above 65 % add replicas.",
        "percentunit",
        (
            Query("sum by (job) (nidan_rpcs_in_flight) / sum by (job) (nidan_rpc_limit)", "{{job}}"),
            Query("vector(0.65)", "scale out", target=True),
        ),
    ),
    Panel(
        "Requests shed",
        "Requests an hour that a service refused under load, before any work.",
        "short",
        (Query(_per_hour("job", "nidan_shed_total"), "{{job}}"),),
    ),
    Panel(
        "RPCs by method",
        "Finished RPCs a second, with any code.",
        "reqps",
        (Query(_EACH % ("grpc_method", "grpc_server_handled_total"), "{{grpc_method}}"),),
    ),
    Panel(
        "RPCs that failed",
        "RPCs a second with a code other than OK and CANCELLED.",
        "reqps",
        (
            Query(
                _EACH % ("grpc_method, grpc_code", 'grpc_server_handled_total{grpc_code!~"OK|CANCELLED"}') + " > 0",
                "{{grpc_method}} {{grpc_code}}",
            ),
        ),
    ),
    Panel(
        "Time of RPCs",
        "95th percentile, by method.",
        "s",
        (Query(_quantile(0.95, "grpc_server_handling_seconds", "grpc_method"), "{{grpc_method}}"),),
    ),
    Panel(
        "Event loop lag",
        "Delay of the event loop's last timer. Above 50 ms something blocks the loop.",
        "s",
        (
            Query("max by (job) (nidan_event_loop_lag_seconds)", "{{job}}"),
            Query("vector(0.05)", "too late", target=True),
        ),
    ),
    Panel(
        "Memory",
        "Resident memory of each process.",
        "bytes",
        (Query(f"max by (job, instance) (process_resident_memory_bytes{_NIDAN})", "{{job}} {{instance}}"),),
    ),
    Panel(
        "CPU",
        "Cores in use, by process.",
        "short",
        (
            Query(
                f"sum by (job, instance) (rate(process_cpu_seconds_total{_NIDAN}[$__rate_interval]))",
                "{{job}} {{instance}}",
            ),
        ),
    ),
    Panel(
        "Model calls under way",
        "Calls to the model server that hold a pooled connection or wait for one.",
        "short",
        (Query("sum by (job) (nidan_model_pool_in_use)", "{{job}}"),),
    ),
    Panel(
        "Time of model calls",
        "95th percentile, by model.",
        "s",
        (
            Query(
                _quantile(0.95, "gen_ai_client_operation_duration_seconds", "gen_ai_request_model"),
                "{{gen_ai_request_model}}",
            ),
        ),
    ),
    Panel(
        "Tokens",
        "Billable tokens an hour, by model and type.",
        "short",
        (
            Query(
                _per_hour("gen_ai_request_model, gen_ai_token_type", "gen_ai_client_token_usage_sum"),
                "{{gen_ai_request_model}} {{gen_ai_token_type}}",
            ),
        ),
        kind="stacked",
    ),
    Panel(
        "Breakers",
        "1: the model's breaker is open, and the gateway skips the model.",
        "short",
        (Query("max by (model) (nidan_breaker_open)", "{{model}}"),),
        width=12,
        highest=1,
    ),
    Panel(
        "Days until a model ends",
        "Days until the provider ends the model. Warning below 60, page below 7. Only models with an end date.",
        "d",
        (
            Query(
                "(min by (model) (nidan_model_shutdown_timestamp_seconds) - time()) / 86400",
                "{{model}}",
            ),
            Query("vector(60)", "warning", target=True),
            Query("vector(7)", "page", target=True),
        ),
        width=12,
    ),
)


def _built(panel: Panel, number: int, x: int, y: int) -> Any:
    built: Any = stat.Panel() if panel.kind == "number" else _lines(panel)
    built = (
        built.id(number)
        .title(panel.title)
        .description(panel.text)
        .unit(panel.unit)
        .datasource(_SOURCE)
        .grid_pos(dashboard.GridPos(x=x, y=y, w=panel.width, h=panel.height))
    )
    if panel.lowest is not None:
        built = built.min(panel.lowest)
    if panel.highest is not None:
        built = built.max(panel.highest)
    for letter, query in zip("ABCDEFG", panel.queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).expr(query.expr).legend_format(query.legend).datasource(_SOURCE)
        built = built.with_target(target)
    return built


def _lines(panel: Panel) -> Any:
    lines = timeseries.Panel().line_width(1).show_points(common.VisibilityMode.NEVER)
    if panel.kind == "stacked":
        stacking = common_builder.StackingConfig().mode(common.StackingMode.NORMAL).group("A")
        lines = lines.fill_opacity(40).stacking(stacking)
    for query in panel.queries:
        if query.target:
            dashed = {"fill": "dash", "dash": [8, 6]}
            properties = [
                dashboard.DynamicConfigValue(id_val="custom.lineStyle", value=dashed),
                dashboard.DynamicConfigValue(id_val="custom.fillOpacity", value=0),
            ]
            lines = lines.override_by_name(query.legend, properties)
    legend = common_builder.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST)
    return lines.legend(legend.placement(common.LegendPlacement.BOTTOM).show_legend(True))


def _board(title: str, uid: str, text: str, panels: Sequence[Panel]) -> str:
    """The JSON of a dashboard: panels from left to right, in a new row when one does not fit."""
    source = board_builder.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    board = (
        board_builder.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags(["nidan"])
        .readonly()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .with_variable(source)
    )
    x = y = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > COLUMNS:
            x, y = 0, y + panel.height
        board = board.with_panel(_built(panel, number, x, y))
        x += panel.width
    made: str = JSONEncoder(sort_keys=True, indent=2).encode(board.build())
    return made + "\n"


def boards() -> dict[Path, str]:
    """Every file with its text."""
    about = "Whether lessons succeed, how long they take, what they cost."
    lessons = _board("nidan: lessons", "nidan-lessons", about, LESSONS)
    about = "State of the three services and of the models."
    services = _board("nidan: services", "nidan-services", about, SERVICES)
    return {FOLDER / "lessons.json": lessons, FOLDER / "services.json": services}


def main(argv: Sequence[str]) -> int:
    """The exit status: with --check 1 when a committed dashboard is stale, else 0."""
    stale = [path for path, text in boards().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if "--check" in argv:
            print(f"stale: {path.name}; run make ops-rules")
        else:
            path.write_text(boards()[path], encoding="utf-8")
    return 1 if stale and "--check" in argv else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

"""The trio under faults, a real Prometheus with the shipped rules, a real Alertmanager, and who is told.

Alerts of long windows cannot fire within minutes; promtool's tests have those. What fires here fires by the shipped
rule file, unchanged; only the pace of scraping and the patience of Alertmanager are the test's.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from lesson.models import SectionName
from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc
from tests.model_server import Answer, ModelServer
from tests.ops.house import LOOPBACK, Monitoring, Service, Webhooks, monitoring, service, webhooks
from tests.ops.shipped import BOARDS, DRAWING, ROOT, TOOLS, panels

pytestmark = pytest.mark.ops

STAGE1, DEARER, STAGE2 = "gpt-6.1-sol", "a-model-without-a-price", "gpt-6-luna"
"""Models without an end date in models.toml: the calendar changes nothing here."""
DOWN = Answer(status=500, error={"message": "down", "type": "server_error"})
RATE_INTERVAL = "15s"
PATIENCE_SECONDS = 240.0
"""For each step. A step takes a minute where the machine has nothing else to do."""
SPEC = pb.LessonSpec(can_do_id="JF:349")

PAGED = {
    "NidanStage1Fails",
    "NidanStage2Fails",
    "NidanTwostageOff",
    "NidanBudgetRefusals",
    "NidanTargetDown",
    "NidanModelRetiresNow",
    "NidanSectionBurnsFast",
}
TICKETS = {"NidanBreakerOpen", "NidanModelUnpriced", "NidanModelRetiresSoon"}
INHIBITED = {"NidanSectionFails", "NidanLessonsPartial", "NidanFewSectionsEnhanced"}
"""They fire in Prometheus; NidanStage2Fails says more."""
ENDING = {"pager": {"NidanTwostageOff", "NidanTargetDown"}, "tickets": {"NidanBreakerOpen"}}
"""Whose end can be seen at once: the others look back 10 minutes or more."""
ALLOWED = {
    f"Nidan{slo}Burns{speed}" for slo in ("Success", "Success99", "Stage1", "Section") for speed in ("Fast", "Slowly")
} - PAGED
"""May fire beside them: the lessons of these two minutes are all that the windows of days know of."""
MAY_BE_EMPTY: dict[str, str] = {}
"""Panels that may show nothing here, each with the reason."""


@dataclass
class House:
    """The services: two of the gateways exist for one fault each."""

    gateway: Service
    off: Service
    """The flag is off until it is mended."""
    poor: Service
    """A day's limit that pays for no lesson."""
    content: Service
    enhancer: Service

    @property
    def all(self) -> tuple[Service, ...]:
        return (self.content, self.enhancer, self.gateway, self.off, self.poor)

    @property
    def targets(self) -> dict[str, list[str]]:
        return {
            "nidan-gateway": [one.target for one in (self.gateway, self.off, self.poor)],
            "nidan-content": [self.content.target],
            "nidan-enhancer": [self.enhancer.target],
        }


@asynccontextmanager
async def house(folder: Path, model: ModelServer) -> AsyncIterator[House]:
    env = {
        "OPENAI_BASE_URL": model.url,
        "OPENAI_API_KEY": "test-key",
        "CANDO_AI_STAGE1_MODEL": STAGE1,
        "CANDO_AI_STAGE1_FALLBACK_MODELS": DEARER,
        "CANDO_AI_STAGE2_MODEL": STAGE2,
        "CANDO_AI_STAGE2_FALLBACK_MODELS": STAGE2,
        "LESSON_COST_LIMIT_USD": "10",
    }
    content = service("content_service", "CONTENT", folder, env)
    enhancer = service("enhancer_service", "ENHANCER", folder, env)
    env |= {"CONTENT_ADDRESS": f"{LOOPBACK}:{content.port}", "ENHANCER_ADDRESS": f"{LOOPBACK}:{enhancer.port}"}
    # A model without a price is never too dear.
    poor = {"DAILY_COST_LIMIT_USD": "0.0001", "CANDO_AI_STAGE1_FALLBACK_MODELS": STAGE1}
    made = House(
        service("gateway", "GATEWAY", folder, env),
        service("gateway", "GATEWAY", folder, env | {"USE_TWOSTAGE_GENERATION": "false"}, "gateway-off"),
        service("gateway", "GATEWAY", folder, env | poor, "gateway-poor"),
        content,
        enhancer,
    )
    try:
        for one in made.all:
            await one.program.start()
        for one in made.all:
            await one.until_serving()
        yield made
    finally:
        for one in reversed(made.all):
            await one.program.end()


async def lesson(gateway: Service) -> str:
    """Asks for one; gives its outcome, or the code of the error."""
    async with grpc.aio.insecure_channel(f"{LOOPBACK}:{gateway.port}") as channel:
        stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)
        try:
            made = await stub.GenerateLesson(pb.GenerateLessonRequest(spec=SPEC), timeout=120)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
    return "MADE" if made.lesson.lesson_id else "EMPTY"


async def keep_asking(gateway: Service, missing: Callable[[], set[str]]) -> None:
    """A lesson now and then, until nothing is missing of what must come to pass."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while lacking := missing():
        assert time.monotonic() < deadline, f"did not come to pass: {sorted(lacking)}"
        await lesson(gateway)
        await asyncio.sleep(1)


def ends_in(days: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=days)).isoformat()


async def test_alerts_reach_their_receivers_and_every_panel_shows_something(
    tmp_path: Path, model: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    common: dict[str, Any] = {"object": "model", "created": 1, "owned_by": "x"}
    model.listed = [
        {"id": STAGE1, "shutdown_date": ends_in(30), **common},
        {"id": STAGE2, "shutdown_date": ends_in(3), **common},
    ]
    began = time.time()
    async with AsyncExitStack() as stack:
        told = await stack.enter_async_context(webhooks(tmp_path))
        made = await stack.enter_async_context(house(tmp_path, model))
        watch = await stack.enter_async_context(monitoring(tmp_path, made.targets, told.files))
        try:
            await _well(made, watch)
            await _faulty(made, model, told)
            firing = await watch.firing()
            await _mended(made, model, told)
        except (AssertionError, TimeoutError):
            _say(capsys, f"told: {_summary(told)}; firing: {sorted(await watch.firing())}")
            raise
        _right_ones_were_told(told, firing)
        assert await watch.unhealthy_rules() == []
        for one in made.all:
            _metrics_are_well_formed(await one.metrics())
        shown = await _every_panel(watch, began)
    _draw(shown, tmp_path)
    _say(capsys, f"{time.time() - began:.0f} s; {_summary(told)}; {sum(map(len, shown.values()))} panels drawn")


async def _well(made: House, watch: Monitoring) -> None:
    """Lessons are made; what an operator has set wrong is told apart."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        # What a process counts before it is read for the first time, no rate can see.
        while await watch.value("count(up == 1)") < len(made.all):  # noqa: ASYNC110 - Prometheus is asked
            await asyncio.sleep(0.2)
    for _ in range(6):
        assert await lesson(made.gateway) == "MADE"
    assert await lesson(made.off) == "UNIMPLEMENTED"
    assert await lesson(made.poor) == "RESOURCE_EXHAUSTED"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await watch.firing() >= {"NidanWatchdog", "NidanBudgetRefusals"}:  # noqa: ASYNC110 - Prometheus is asked
            await asyncio.sleep(0.5)
    assert not await watch.firing() & (INHIBITED | {"NidanStage1Fails", "NidanStage2Fails", "NidanBreakerOpen"})


async def _faulty(made: House, model: ModelServer, told: Webhooks) -> None:
    """Stage 2's model is down, for a while Stage 1's too, and a gateway is gone."""
    await made.poor.program.end()
    for name in SectionName:
        model.always[name.value] = DOWN
    for _ in range(12):
        assert await lesson(made.gateway) == "MADE"
    model.script["stage1"] = [DOWN, DOWN]  # the model without a price writes that one
    assert await lesson(made.gateway) == "MADE"
    model.always["stage1"] = DOWN
    for _ in range(2):
        assert await lesson(made.gateway) == "UNAVAILABLE"
    del model.always["stage1"]
    await keep_asking(
        made.gateway,
        lambda: (PAGED - told.names("pager", "firing")) | (TICKETS - told.names("tickets", "firing")),
    )


async def _mended(made: House, model: ModelServer, told: Webhooks) -> None:
    model.always.clear()
    await made.off.program.end()
    made.off.program.env = {**made.off.program.env, "USE_TWOSTAGE_GENERATION": "true"}
    for one in (made.off, made.poor):
        await one.program.start()
    for one in (made.off, made.poor):
        await one.until_serving()
    await keep_asking(
        made.gateway,
        lambda: set().union(*(names - told.names(who, "resolved") for who, names in ENDING.items())),
    )


def _right_ones_were_told(told: Webhooks, firing: set[str]) -> None:
    assert told.names("pager", "firing") - ALLOWED == PAGED
    assert told.names("tickets", "firing") - ALLOWED == TICKETS
    assert told.names("watchdog", "firing") == {"NidanWatchdog"}
    assert firing >= INHIBITED
    ended = {one["fingerprint"]: one for one in told.alerts("pager") if one["status"] == "resolved"}
    assert {one["labels"]["alertname"] for one in ended.values()} <= ENDING["pager"] | ALLOWED | PAGED
    retiring = {
        (one["labels"]["alertname"], one["labels"]["model"])
        for receiver in ("pager", "tickets")
        for one in told.alerts(receiver)
        if "Retires" in one["labels"]["alertname"]
    }
    # Both models end within 60 days; of the one that is paged for, the ticket is held back.
    assert retiring == {("NidanModelRetiresNow", STAGE2), ("NidanModelRetiresSoon", STAGE1)}
    for _, alert in told.told:
        words = alert["annotations"]["summary"] + alert["annotations"]["description"]
        assert "<no value>" not in words
        assert "<error" not in words


def _metrics_are_well_formed(text: str) -> None:
    checked = subprocess.run(
        [TOOLS / "promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stderr


# --- dashboards -------------------------------------------------------------------------------------------------------


async def _every_panel(watch: Monitoring, began: float) -> dict[str, dict[int, list[dict[str, Any]]]]:
    """What every query of every panel gives: an error, or nothing where something should be, fails."""
    end = time.time()
    shown: dict[str, dict[int, list[dict[str, Any]]]] = {}
    empty = []
    for name in BOARDS:
        shown[name] = {}
        for panel in panels(name):
            series = []
            for target in panel["targets"]:
                expr = target["expr"].replace("$__rate_interval", RATE_INTERVAL)
                found = await watch.query_range(expr, began, end, 1)
                if not any(value != "NaN" for one in found for _, value in one["values"]):
                    empty.append(f"{name}: {panel['title']}: {target['expr']}")
                for one in found:
                    legend = _legend(target["legendFormat"], one["metric"])
                    series.append({"legend": legend, "values": one["values"]})
            shown[name][panel["id"]] = series
    assert {told.split(": ")[1] for told in empty} <= set(MAY_BE_EMPTY), empty
    return shown


def _legend(form: str, labels: dict[str, str]) -> str:
    """As Grafana fills it in. A label that the result does not have is an error."""
    for name in [part.partition("}}")[0].strip() for part in form.split("{{")[1:]]:
        assert name in labels, f"{form}: {labels}"
        form = form.replace("{{" + name + "}}", labels[name])
    return form


def _draw(shown: dict[str, dict[int, list[dict[str, Any]]]], folder: Path) -> None:
    """The panels as pictures; into docs/images when WRITE_IMAGES is set, else only to see that they can be drawn."""
    out = ROOT / "docs" / "images" if os.environ.get("WRITE_IMAGES") else folder
    for name, results in shown.items():
        data = folder / f"{name}.results.json"
        data.write_text(json.dumps(results), encoding="utf-8")
        picture = out / f"dashboard-{name}.png"
        subprocess.run([DRAWING, ROOT / "tools" / "ops" / "draw.py", BOARDS[name], data, picture], check=True)
        assert picture.stat().st_size > 50_000


def _summary(told: Webhooks) -> str:
    return "; ".join(
        f"{receiver} {status}: {', '.join(sorted(told.names(receiver, status))) or 'none'}"
        for receiver in ("pager", "tickets")
        for status in ("firing", "resolved")
    )


def _say(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        print(f"\n  live: {text}", end="")

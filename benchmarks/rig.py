"""Runs the paced server and the real trio as processes on free loopback ports for the length of a block."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paced_model import HOST, STAGE1, Call
from nidan.services.plan import Plan, Providers, private_plan
from nidan.services.ports import free_ports
from nidan.services.service import Service
from nidan.services.supervisor import Trio, running

ROOT = Path(__file__).resolve().parent.parent
# The trio runs on its defaults: no setting of this machine may reach it.
_OURS = ("CANDO_", "AI_", "OPENAI_", "OFFLINE_", "LESSON_", "STAGE2_", "CONTENT_", "ENHANCER_", "GATEWAY_", "PACED_")
_OURS_WHOLE = ("USE_TWOSTAGE_GENERATION", "ROMAJI_STYLE", "BIND", "LOG_LEVEL")
_HTTP_SECONDS = 10.0


@dataclass(frozen=True)
class Rig:
    """The running servers."""

    gateway: str
    """HOST:PORT."""
    model_port: int

    @property
    def model_url(self) -> str:
        return f"http://{HOST}:{self.model_port}/v1"

    def calls(self) -> list[Call]:
        """Every call to the paced server so far, in order."""
        connection = http.client.HTTPConnection(HOST, self.model_port, timeout=_HTTP_SECONDS)
        try:
            connection.request("GET", "/calls")
            given: list[dict[str, Any]] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return [Call(**call) for call in given]


@contextlib.contextmanager
def rig(scale: float, logs: Path) -> Iterator[Rig]:
    """Starts all four; their logs go to `logs`. Raises nidan.services.supervisor.StartError."""
    model_port = free_ports(1)[0]
    plan = _plan(os.environ, model_port, scale)
    with running(Trio(plan, logs, print)) as trio:
        yield Rig(trio.plan.gateway.address, model_port)


def without_own_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without any setting of the services."""
    return {name: value for name, value in environment.items() if not name.startswith(_OURS + _OURS_WHOLE)}


def _plan(environment: Mapping[str, str], model_port: int, scale: float) -> Plan:
    """The plan of `nidan generate` with provider openai pointed at the paced server."""
    kept = without_own_settings(environment)
    overrides = {
        "OPENAI_BASE_URL": f"http://{HOST}:{model_port}/v1",
        "OPENAI_API_KEY": "bench",
        "PACED_MODEL_SCALE": str(scale),
        "PACED_MODEL_PORT": str(model_port),
        # Processes start with -P, which drops the current folder, and benchmarks is not an installed package.
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH", "")))),
    }
    trio = private_plan(kept | overrides, Providers("openai", "openai"))
    model = Service("benchmarks.paced_model", "", "PACED_MODEL", model_port)
    return Plan((model, *trio.services), trio.environment)


def stage1_call(calls: list[Call]) -> Call | None:
    """The Stage 1 call if there is exactly one and it has ended, else None."""
    found = [call for call in calls if call.kind == STAGE1]
    return found[0] if len(found) == 1 and found[0].ended is not None else None

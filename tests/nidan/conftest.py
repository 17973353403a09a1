"""The command line as people run it: a process of its own, with an environment that the test chooses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lesson.models import Lesson
from nidan.client import Completed, LessonClient, lesson_spec
from nidan.services.plan import Providers, private_plan
from nidan.services.supervisor import Trio, running

_OURS = ("CANDO_AI_", "OPENAI_", "NIDAN_", "GATEWAY_", "CONTENT_", "ENHANCER_", "OFFLINE_MODEL_", "TLS_")


def environment(**variables: str) -> dict[str, str]:
    """This one without what would decide for nidan, then with the variables given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return clean | variables


def nidan(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end."""
    command = [sys.executable, "-W", "error", "-m", "nidan", *arguments]
    return subprocess.run(
        command, env=environment(**variables), capture_output=True, text=True, timeout=60, check=False
    )


def services_of(parent: int) -> list[int]:
    """The processes that a process started and that are not gone."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.fixture(scope="session")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """One trio on the offline model for every test that only asks."""
    plan = private_plan(environment(), Providers.chosen({}, offline=True))
    with running(Trio(plan, tmp_path_factory.mktemp("logs"), print)) as serving:
        yield serving


@pytest.fixture(scope="session")
def completed(trio: Trio) -> Completed:
    """The sample lesson, made once."""
    with LessonClient(trio.plan.gateway.address) as client:
        *_, last = client.stream(lesson_spec(can_do_id="JF:349"))
    assert isinstance(last, Completed)
    return last


@pytest.fixture(scope="session")
def lesson(completed: Completed) -> Lesson:
    return completed.lesson

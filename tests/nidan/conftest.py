"""One trio on the offline model, and one lesson of it, for all tests that only ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lesson.models import Lesson
from nidan.client import Completed, LessonClient, lesson_spec
from nidan.services.plan import Providers, private_plan
from nidan.services.supervisor import Trio, running
from tests.nidan.command import environment


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

"""Checks the form of a request once, before any look-up: lengths, characters, numbers, tags."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.events import LessonSpec
from lesson import wire
from lesson.characters import character_problem
from lesson.limits import SPEC_CHARACTERS
from lesson.models import Level
from lesson.v1 import lesson_service_pb2 as pb
from servicekit.errors import FieldViolation, InvalidRequestError

_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


def read_spec(spec: pb.LessonSpec, deadline_seconds: float) -> LessonSpec:
    """The request after the check. Raises InvalidRequestError, which names every wrong field."""
    violations = list(_violations(spec, deadline_seconds))
    if violations:
        named = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        raise InvalidRequestError(f"The request cannot be served. {named}", violations=violations)
    return LessonSpec(
        can_do_id=spec.can_do_id.strip(),
        topic=spec.topic.strip(),
        level=wire.enum_from_number(Level, spec.level),
        can_do_text=spec.can_do_text.strip(),
        learner_language=spec.learner_language or "en",
        learner_level=spec.learner_level if spec.HasField("learner_level") else None,
        model=spec.model.strip(),
        timeout_seconds=spec.timeout_seconds if spec.HasField("timeout_seconds") else None,
    )


def _violations(spec: pb.LessonSpec, deadline_seconds: float) -> Iterator[FieldViolation]:
    for name, limit in SPEC_CHARACTERS.items():
        problem = _text_problem(getattr(spec, name), limit)
        if problem:
            yield FieldViolation(f"spec.{name}", problem)
    if spec.level and wire.enum_from_number(Level, spec.level) is None:
        yield FieldViolation("spec.level", "unknown level; one of A1, A2, B1, B2, C1, C2")
    if spec.learner_language and not _LANGUAGE_TAG.fullmatch(spec.learner_language):
        yield FieldViolation("spec.learner_language", "must be a BCP-47 tag such as en or pt-BR")
    if spec.HasField("learner_level") and not 1 <= spec.learner_level <= 6:
        yield FieldViolation("spec.learner_level", "must be 1 to 6")
    if spec.HasField("timeout_seconds") and not 0 < spec.timeout_seconds <= deadline_seconds:
        yield FieldViolation("spec.timeout_seconds", f"must be above 0 and at most {deadline_seconds:g}")
    if not spec.can_do_id.strip() and not spec.topic.strip():
        yield FieldViolation("spec.topic", "is empty; give a topic and a level, or a can_do_id")


def _text_problem(text: str, limit: int) -> str:
    if len(text) > limit:
        return f"has {len(text)} characters; at most {limit}"
    problem = character_problem(text)
    return f"holds {problem}; remove it" if problem else ""

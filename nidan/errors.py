"""What a command ends with: exit statuses, and the errors that carry a reason and the next step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class StartError(Exception):
    """The services could not be started; says which, why, and what to do."""


class MissingKeyError(StartError):
    """A provider without the key that it needs: names both ways on."""

    def __init__(self, provider: str, variable: str) -> None:
        super().__init__(
            f"{variable} is not set. Set it for real lessons by the models of {provider}, "
            "or add --offline for the built-in lessons, which need no key and cost nothing."
        )


@dataclass(frozen=True)
class Failure:
    """What went wrong. `fields` are the request's own, each with what would be right."""

    reason: str
    message: str
    next_step: str = ""
    stage: str = ""
    retryable: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)
    lesson_id: str = ""
    caller_fault: bool = False

    def as_json(self) -> str:
        """One line. `fields` and `lessonId` are there only when there is something to say."""
        told: dict[str, object] = {
            "outcome": "FAILED",
            "reason": self.reason,
            "stage": self.stage,
            "retryable": self.retryable,
            "message": self.message,
        }
        told |= {"fields": dict(self.fields)} if self.fields else {}
        told |= {"lessonId": self.lesson_id} if self.lesson_id else {}
        return json.dumps(told, ensure_ascii=False)

    def as_text(self, headline: str = "No lesson") -> str:
        """What, then each field, then the next step."""
        lines = [f"{headline} ({self.reason}): {self.message}"]
        lines += [f"  {name}: {problem}" for name, problem in self.fields.items()]
        return "\n".join([*lines, self.next_step] if self.next_step else lines)


class GivenUpError(Exception):
    """There will be no result; carries why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure

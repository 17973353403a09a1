"""What a command ends with: exit statuses, and the errors that carry a reason and the next step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from servicekit.safe_json import safe_dumps

EXIT_COMPLETE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
EXIT_INTERRUPTED = 130


class StartError(Exception):
    """A service did not start. The message says which, why, and what to do."""


class MissingKeyError(StartError):
    """A provider lacks the key that it needs. The message names both remedies."""

    def __init__(self, provider: str, variable: str) -> None:
        super().__init__(
            f"{variable} is not set. Set it for real lessons by the models of {provider}, "
            "or add --offline for the built-in lessons, which need no key and cost nothing."
        )


@dataclass(frozen=True)
class Failure:
    """What went wrong. `fields` names each wrong field of the request, with what would be right."""

    reason: str
    message: str
    next_step: str = ""
    stage: str = ""
    retryable: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)
    lesson_id: str = ""
    caller_fault: bool = False

    def as_json(self) -> str:
        """One line of JSON. `fields` and `lessonId` appear only when they are set."""
        values: dict[str, object] = {
            "outcome": "FAILED",
            "reason": self.reason,
            "stage": self.stage,
            "retryable": self.retryable,
            "message": self.message,
        }
        values |= {"fields": dict(self.fields)} if self.fields else {}
        values |= {"lessonId": self.lesson_id} if self.lesson_id else {}
        return safe_dumps(values)

    def as_text(self, headline: str = "No lesson") -> str:
        """The message, then each field, then the next step."""
        lines = [f"{headline} ({self.reason}): {self.message}"]
        lines += [f"  {name}: {problem}" for name, problem in self.fields.items()]
        return "\n".join([*lines, self.next_step] if self.next_step else lines)


class GivenUpError(Exception):
    """The command has no result; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure

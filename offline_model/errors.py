"""Error answers in the form of an OpenAI-compatible server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False)
class ApiError(Exception):
    """An HTTP error whose body is {"error": {"message", "type", "param", "code"}}."""

    status: int
    code: str | None
    message: str
    param: str | None = None
    type: str = "invalid_request_error"

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

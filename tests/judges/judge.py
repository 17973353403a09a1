"""What we ask of llmock: to break in a certain way, and what it thinks of those who called it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp

CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Request:
    """One chat request as llmock's journal has it; times are monotonic seconds of its process."""

    model: str
    status: int
    fault: str
    """What llmock did to it; empty: it was served."""
    started_at: float
    ended_at: float
    fingerprint: str
    """Of the body: a request that is sent again has the same."""


class Judge:
    """A running llmock. Its `/_llmock` routes are neither broken nor judged."""

    def __init__(self, address: str) -> None:
        self._address = address

    @property
    def url(self) -> str:
        """What OPENAI_BASE_URL is to be."""
        return f"{self._address}/v1"

    async def reset(self) -> None:
        await self._call("POST", "reset")

    async def will(self, *behaviors: dict[str, Any]) -> None:
        """What the next requests meet: of each type the first that matches, as often as its `times` (null: always)."""
        await self._call("POST", "scenario", {"behaviors": behaviors})

    async def requests(self) -> list[Request]:
        """All chats since the reset, in the order in which they came."""
        told = await self._call("GET", "requests")
        return [
            Request(
                model=str(record["model"]),
                status=int(record["status"]),
                fault=record["fault"] or "",
                started_at=float(record["started_at"]),
                ended_at=float(record["ended_at"]),
                fingerprint=str(record["fingerprint"]),
            )
            for record in told["requests"]
            if record["path"] == CHAT
        ]

    async def findings(self) -> list[str]:
        """All that llmock blames its callers for, errors and warnings, the code first; empty when there is nothing."""
        told = await self._call("GET", "verdict")
        return [f"{found['code']}: {found['title']}" for found in told["findings"]]

    async def report(self) -> str:
        """The verdict in llmock's own words."""
        async with aiohttp.ClientSession() as session, session.get(self._at("verdict?format=text")) as response:
            return " ".join((await response.text()).split())

    async def _call(self, method: str, route: str, body: Any = None) -> Any:
        async with aiohttp.ClientSession() as session, session.request(method, self._at(route), json=body) as response:
            answer = await response.json()
            assert response.status < 300, answer
            return answer

    def _at(self, route: str) -> str:
        return f"{self._address}/_llmock/{route}"


def fail(status: int, *, times: int | None = 1, streamed: bool | None = None, **more: Any) -> dict[str, Any]:
    """An HTTP error. `retry_after` seconds go into its headers; where one may retry, llmock asks for 1 unless told."""
    return {"type": "fail", "status": status, "times": times, "match": _chats(streamed)} | more


def delay(seconds: float) -> dict[str, Any]:
    """A whole answer that comes late."""
    return {"type": "delay", "seconds": seconds, "match": _chats(streamed=False)}


def slow_first_token(seconds: float) -> dict[str, Any]:
    """A streamed answer that begins late."""
    return {"type": "slow_first_token", "seconds": seconds}


def broken_stream(kind: str, after_chunks: int, **more: Any) -> dict[str, Any]:
    """`disconnect`, `truncate` (ends early as if all were well), `stall` or `malformed`, in one streamed answer."""
    return {"type": "stream_fault", "kind": kind, "after_chunks": after_chunks} | more


def reply(text: str, *, streamed: bool | None = None) -> dict[str, Any]:
    """What the model says, whenever it is well."""
    return {"type": "reply", "text": text, "times": None, "match": _chats(streamed)}


def _chats(streamed: bool | None) -> dict[str, Any]:
    """Other requests, as for the list of models, meet nothing."""
    return {"path": CHAT, "stream": streamed}

"""Model calls: one client per process and provider, for streamed and whole answers.

A failure of the model is data, never an exception: a `Reply` says how the call ended, with its usage and cost. No
exception leaves a call but its own cancellation (docs/adr/0016).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from servicekit.llm.answer import MAX_ANSWER_BYTES, Answer, api_payload
from servicekit.llm.calls import ModelRequest, Observer, Reply
from servicekit.llm.capabilities import Provider
from servicekit.llm.failures import StatusError, failure_of
from servicekit.llm.prices import cost_usd
from servicekit.llm.redaction import without_key
from servicekit.llm.request_body import affordable_tokens, chat_body, is_affordable
from servicekit.llm.transport import Response, Transport, TransportError
from servicekit.llm.usage import estimated_usd, is_plausible
from servicekit.llm.wait_timer import WaitTimer
from servicekit.safe_json import one_safe_line

ATTEMPT_HEADER: Final = "X-Client-Request-Id"
MAX_LIST_BYTES: Final = 4 * 1024 * 1024
"""The largest list of models that is read."""
_REST_SECONDS, _REST_BYTES = 0.25, 1024
"""How long and how much to read after [DONE], so that the connection can be used again. No caller waits for it."""
_GRACE_SECONDS: Final = 1.0
"""How long the usage may follow the end of the text."""


class ModelClient:
    """A pool of connections to one provider, shared by the process. Never retries: the gateway decides on attempts."""

    def __init__(
        self,
        provider: Provider,
        base_url: str,
        api_key: str,
        observe: Observer | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        service_tier: str = "",
    ) -> None:
        """`observe` sees every ended call. `now` gives the day whose list price counts.

        `service_tier` is asked of the models that have it (models.toml); empty: the standard one. Raises ProxyError.
        """
        self.provider = provider
        self.in_use = 0
        """Calls in progress; each has a connection or waits for one."""
        self._observe = observe
        self._now = now
        self._service_tier = service_tier
        self._key = api_key
        self._transport = Transport(base_url, api_key)
        self._leaving: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        await asyncio.gather(*self._leaving)
        await self._transport.close()

    async def models(self, timeout_seconds: float) -> dict[str, Any]:
        """The models that the server lists, each with its raw `shutdown_date` or None.

        Raises ConnectionError when the server gives no such list.
        """
        try:
            async with asyncio.timeout(timeout_seconds), self._transport.request("GET", "/models") as response:
                if not 200 <= response.status < 300:
                    raise await StatusError.read(response, self._now())
                body, broken = await response.read(MAX_LIST_BYTES)
            if broken is not None:
                raise broken
            return _listed(json.loads(body))
        except (TransportError, StatusError, TimeoutError, ValueError, RecursionError) as error:
            reason = one_safe_line(without_key(str(error), self._key), 400)
            raise ConnectionError(reason or "no answer in time") from error

    async def complete(self, request: ModelRequest) -> Reply:
        """The whole answer in one reply."""
        answer = self.begin(request)
        try:
            if not self.is_refused(answer):
                async with asyncio.timeout(request.timeout_seconds), self.opened(answer, stream=False) as response:
                    answer.begin_whole()
                    await _read_whole(response, answer)
        except asyncio.CancelledError:
            answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever a server does is an outcome
            self.fail(answer, error)
        finally:
            self.settle(answer)
        return answer.reply

    def stream(self, request: ModelRequest) -> ModelStream:
        """The answer piece by piece: `async with client.stream(r) as s: async for text in s: …`, then `s.reply`."""
        return ModelStream(self, request)

    # --- the steps of a call, for `complete` and ModelStream -----------------------------------------------------

    def begin(self, request: ModelRequest) -> Answer:
        """Counts the call as in progress; `settle` ends it."""
        self.in_use += 1
        return Answer(request, self._key)

    def is_refused(self, answer: Answer) -> bool:
        """Judges a call whose cost limit pays for no answer, so that nothing is sent."""
        request, at = answer.request, self._now()
        if is_affordable(self.provider, request, at):
            return False
        answer.refuse_cost(affordable_tokens(self.provider, request, at))
        return True

    @contextlib.asynccontextmanager
    async def opened(self, answer: Answer, *, stream: bool) -> AsyncIterator[Response]:
        """Sends the request, and at once again at the standard tier when its own has no capacity.

        The block gets an answer of success. Raises StatusError, TransportError.
        """
        body = chat_body(self.provider, answer.request, self._now(), self._service_tier)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        answer.sent_at(body.get("service_tier", ""))
        async with contextlib.AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(self._answered(answer.request, body))
            except StatusError as error:
                if "service_tier" not in body or not error.tier_has_no_capacity:
                    raise
                answer.tier_unavailable()
                del body["service_tier"]
                response = await stack.enter_async_context(self._answered(answer.request, body))
            yield response

    @contextlib.asynccontextmanager
    async def _answered(self, request: ModelRequest, body: dict[str, Any]) -> AsyncIterator[Response]:
        sent = self._transport.request(
            "POST",
            "/chat/completions",
            body=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
            headers={ATTEMPT_HEADER: request.attempt_id},
            connect_seconds=request.timeout_seconds,
        )
        async with sent as response:
            if not 200 <= response.status < 300:
                raise await StatusError.read(response, self._now())
            yield response

    def fail(self, answer: Answer, error: Exception) -> None:
        """Judges a call that raised."""
        answer.fail(failure_of(error, answer.request, text_came=answer.text_came, seconds=answer.seconds))

    def leave(self, rest: AsyncIterator[bytes], opened: contextlib.AsyncExitStack) -> None:
        """Closes an answer whose last event was read, in the background."""
        task = asyncio.create_task(_read_rest(rest, opened))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def settle(self, answer: Answer) -> None:
        """Ends the call: prices a plausible usage, or estimates a whole answer's, and calls the observer."""
        self.in_use -= 1
        reply, request, at = answer.settle(), answer.request, self._now()
        if reply.usage is not None and not is_plausible(self.provider, request, reply.usage, reply.text, at):
            reply.usage = None
        if reply.usage is not None:
            reply.cost_usd = cost_usd(self.provider, request.model, reply.usage, at, reply.service_tier)
        elif answer.finish_came and reply.text:
            reply.cost_usd = estimated_usd(self.provider, request, reply.text, at, reply.service_tier)
        if self._observe is not None:
            self._observe(request, reply)


class ModelStream:
    """One streamed call. Iterating yields text deltas until the call ends, however it ends; `reply` then says how."""

    def __init__(self, client: ModelClient, request: ModelRequest) -> None:
        self._client = client
        self._request = request
        self._answer: Answer | None = None
        self._stack = contextlib.AsyncExitStack()
        self._pieces: AsyncIterator[bytes] | None = None

    @property
    def reply(self) -> Reply:
        """How the call ended; complete once the block is left."""
        return self._begun.reply

    @property
    def _begun(self) -> Answer:
        if self._answer is None:
            raise RuntimeError("the stream's block was never entered")
        return self._answer

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        self._answer = self._client.begin(self._request)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError | GeneratorExit):
            self._begun.cancel()
        try:
            if self._pieces is not None and self._begun.complete:
                self._client.leave(self._pieces, self._stack.pop_all())
            await self._stack.aclose()
        finally:
            self._client.settle(self._begun)

    async def __aiter__(self) -> AsyncIterator[str]:
        answer, request = self._begun, self._request
        now, timer = asyncio.get_running_loop().time, WaitTimer()
        self._stack.callback(timer.close)
        deadline = now() + request.timeout_seconds
        try:
            if self._client.is_refused(answer):
                return
            # The limit covers each wait but no yield: what the reader does meanwhile is not ours to cancel.
            timer.until = min(deadline, now() + request.first_token_seconds)
            with timer:
                response = await self._stack.enter_async_context(self._client.opened(answer, stream=True))
            self._pieces = chunks = _chunks(response)
            while not answer.done:
                with timer:
                    chunk = await anext(chunks, None)
                ended = answer.finish_came
                deltas = answer.read_last() if chunk is None else answer.read_chunk(chunk)
                for delta in deltas:
                    yield delta
                if chunk is None:
                    break
                if answer.finish_came and not ended:
                    timer.until = min(deadline, now() + _GRACE_SECONDS)
                elif deltas:
                    timer.until = min(deadline, now() + request.stall_seconds)
            answer.end()
        except Exception as error:  # noqa: BLE001 - whatever a server does is an outcome
            self._client.fail(answer, error)


async def _chunks(response: Response) -> AsyncIterator[bytes]:
    """The body of a streamed answer. A server that does not stream sends one JSON, which becomes one event."""
    if response.content_type != "application/json":
        async for chunk in response.body():
            yield chunk
        return
    body, broken = await response.read(MAX_ANSWER_BYTES)
    yield body if broken or api_payload(body) is None else b"data: " + b" ".join(body.splitlines()) + b"\n\n"
    if broken:
        raise broken


async def _read_whole(response: Response, answer: Answer) -> None:
    """Reads an answer that was not to be streamed. Some servers stream it all the same."""
    body, broken = await response.read(MAX_ANSWER_BYTES)
    if response.content_type == "text/event-stream":
        answer.read_chunk(body)
        answer.read_last()
        if broken is not None and not answer.finish_came:
            raise broken
        answer.end()
    elif not answer.read_whole(body):
        if broken is not None:
            raise broken
        answer.not_the_api(body)


async def _read_rest(rest: AsyncIterator[bytes], opened: contextlib.AsyncExitStack) -> None:
    """Reads the end of a body if it comes soon: a connection whose answer has not ended is closed."""
    with contextlib.suppress(TransportError, TimeoutError):
        async with opened, asyncio.timeout(_REST_SECONDS):
            size = 0
            async for piece in rest:
                size += len(piece)
                if size > _REST_BYTES:
                    break


def _listed(payload: object) -> dict[str, Any]:
    """The ids of a list of models, in the shapes that servers give it. Raises ValueError."""
    entries = payload.get("data", payload.get("models")) if isinstance(payload, dict) else payload
    if entries is not None and not isinstance(entries, list):
        raise ValueError("the server gives no list of models")
    named = [entry for entry in entries or () if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    return {entry["id"]: entry.get("shutdown_date") for entry in named}

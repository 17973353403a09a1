"""The HTTP side of model calls: one client per process and provider, for streamed and whole answers.

A failure of the model is data, never an exception: a `Reply` says how the call ended, with its usage and cost. The SDK
handles authentication, headers and errors; this module reads the bodies itself (docs/adr/0005), because a typed object
for each of a streamed lesson's 1,300 chunks would cost more than everything else together.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable
from datetime import UTC, datetime
from functools import cache
from types import TracebackType
from typing import Any, Self, cast

import httpx2
from openai import AsyncOpenAI, AsyncStream, DefaultAioHttpClient

from servicekit.llm.answer import MAX_ANSWER_BYTES, Answer, one_line
from servicekit.llm.calls import ModelRequest, Observer, Reply
from servicekit.llm.capabilities import Provider
from servicekit.llm.failures import CALL_ERRORS, failure_of, tier_has_no_capacity
from servicekit.llm.prices import cost_usd
from servicekit.llm.redaction import without_key
from servicekit.llm.request_body import affordable_tokens, chat_body, is_affordable, is_plausible
from servicekit.llm.wait_timer import WaitTimer

ATTEMPT_HEADER = "X-Client-Request-Id"
_CONNECT_SECONDS = 10.0
_REST_SECONDS, _REST_BYTES = 0.25, 1024
"""How long and how much to read after [DONE], so that the connection can be used again. No caller waits for it."""


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

        `service_tier` is asked of the models that have it (models.toml); empty: the standard one.
        """
        self.provider = provider
        self.in_use = 0
        """Calls in progress; each has a connection or waits for one."""
        self._observe = observe
        self._now = now
        self._service_tier = service_tier
        self._key = api_key
        self._openai = AsyncOpenAI(
            api_key=api_key or "none-needed",
            base_url=base_url,
            max_retries=0,
            http_client=DefaultAioHttpClient(verify=_trusted()),
        )
        self._leaving: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        await asyncio.gather(*self._leaving)
        await self._openai.close()

    async def models(self, timeout_seconds: float) -> dict[str, Any]:
        """The models that the server lists, each with its raw `shutdown_date` or None.

        Raises ConnectionError when the server gives no such list.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                page = await self._openai.models.list(timeout=timeout_seconds)
        except (*CALL_ERRORS, ValueError) as error:
            raise ConnectionError(one_line(without_key(str(error), self._key)) or "no answer in time") from error
        return {model.id: getattr(model, "shutdown_date", None) for model in page.data or ()}

    async def complete(self, request: ModelRequest) -> Reply:
        """The whole answer in one reply."""
        answer = self.begin(request)
        if self.is_refused(answer):
            self.settle(answer)
            return answer.reply
        try:
            async with asyncio.timeout(request.timeout_seconds):
                async with await self.open(answer, stream=False) as opened:
                    answer.begin_whole()
                    answer.read_whole(await _bounded(opened.response))
        except CALL_ERRORS as error:
            self.fail(answer, error)
        except asyncio.CancelledError:
            answer.cancel()
            raise
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

    async def open(self, answer: Answer, *, stream: bool) -> AsyncStream[object]:
        """Sends the request, and at once again at the standard tier when its own has no capacity. Raises CALL_ERRORS.

        Returns a block whose `response` is read here, not by the SDK.
        """
        body = chat_body(self.provider, answer.request, self._now(), self._service_tier)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        answer.sent_at(body.get("service_tier", ""))
        try:
            return await self._post(answer.request, body)
        except CALL_ERRORS as error:
            if "service_tier" not in body or not tier_has_no_capacity(error):
                raise
        answer.tier_unavailable()
        del body["service_tier"]
        return await self._post(answer.request, body)

    async def _post(self, request: ModelRequest, body: dict[str, Any]) -> AsyncStream[object]:
        """`chat.completions.create` ends in the same `post` 0.5 ms later, because it inspects a body that is right."""
        return await self._openai.post(
            "/chat/completions",
            body=body,
            options={
                "headers": {ATTEMPT_HEADER: request.attempt_id},
                "timeout": _timeout(request),
                "security": {"bearer_auth": True},
            },
            cast_to=object,
            stream=True,  # keeps the SDK from reading the body
            stream_cls=AsyncStream[object],
        )

    def fail(self, answer: Answer, error: Exception) -> None:
        """Judges a call that raised one of CALL_ERRORS."""
        failure = failure_of(error, answer.request, text_came=answer.text_came, seconds=answer.seconds, now=self._now())
        answer.fail(failure)

    def leave(self, rest: AsyncIterator[bytes], opened: contextlib.AsyncExitStack) -> None:
        """Closes an answer whose last event was read, in the background."""
        task = asyncio.create_task(_read_rest(rest, opened))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def settle(self, answer: Answer) -> None:
        """Ends the call: prices a plausible usage and calls the observer."""
        self.in_use -= 1
        reply, request, at = answer.settle(), answer.request, self._now()
        if reply.usage is not None and not is_plausible(self.provider, request, reply.usage, at):
            reply.usage = None
        if reply.usage is not None:
            reply.cost_usd = cost_usd(self.provider, request.model, reply.usage, at, reply.service_tier)
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
        if self._client.is_refused(answer):
            return
        now, timer = asyncio.get_running_loop().time, WaitTimer()
        self._stack.callback(timer.close)
        deadline = now() + request.timeout_seconds
        try:
            # The limit covers each wait but no yield: what the reader does meanwhile is not ours to cancel.
            timer.until = min(deadline, now() + request.first_token_seconds)
            with timer:
                opened = await self._client.open(answer, stream=True)
            self._pieces = chunks = _pieces((await self._stack.enter_async_context(opened)).response)
            while not answer.done:
                with timer:
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                deltas = answer.read_chunk(chunk)
                for delta in deltas:
                    yield delta
                if deltas:
                    timer.until = min(deadline, now() + request.stall_seconds)
            answer.end()
        except CALL_ERRORS as error:
            self._client.fail(answer, error)


@cache
def _trusted() -> ssl.SSLContext:
    """The certificate authorities of this machine. Reading them takes 60 ms, so all clients of a process share them."""
    return httpx2.create_ssl_context()


def _timeout(request: ModelRequest) -> httpx2.Timeout:
    """Limits the connect alone. The client limits the rest itself: the backend would set a timer for each read."""
    return httpx2.Timeout(None, connect=min(_CONNECT_SECONDS, request.timeout_seconds))


def _pieces(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The body as it comes. Bypasses two generators of httpx2's unless there is something to decode."""
    coded = response.headers.get("content-encoding", "identity") != "identity"
    return response.aiter_bytes() if coded else aiter(cast("AsyncIterable[bytes]", response.stream))


async def _read_rest(rest: AsyncIterator[bytes], opened: contextlib.AsyncExitStack) -> None:
    """Reads the end of a body if it comes soon: the backend closes a connection whose answer it has not seen end."""
    with contextlib.suppress(httpx2.HTTPError, TimeoutError):
        async with opened, asyncio.timeout(_REST_SECONDS):
            size = 0
            async for piece in rest:
                size += len(piece)
                if size > _REST_BYTES:
                    break


async def _bounded(response: httpx2.Response) -> bytes:
    """The body; of a body larger than any answer just enough to see that."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            break
    return bytes(body)

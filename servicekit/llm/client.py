"""One client of an OpenAI-compatible model server, for streamed and whole answers.

A failure of the model is data, never an exception: a `Reply` says how the call ended, with what it used and cost. The
SDK keeps authentication, headers and the mapping of errors; bodies are read the cheap way (docs/adr/0005): a streamed
lesson is some 1,300 chunks, and a typed object for each of them would cost more than everything else together.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import math
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from types import TracebackType
from typing import Any, Self, cast

import httpx2
import jiter
import openai
from openai import AsyncOpenAI, AsyncStream, DefaultAioHttpClient

from servicekit.llm.capabilities import Provider, capabilities
from servicekit.llm.prices import TokenUsage, cost_usd
from servicekit.llm.redaction import without_key
from servicekit.llm.wait_timer import Patience

ATTEMPT_HEADER = "X-Client-Request-Id"
MAX_ANSWER_BYTES = 2 * 1024 * 1024
"""A lesson is some 20 KB. More than this is not an answer."""
_MISCOUNT = 2
_OVERHEAD = 2000
"""A told usage above twice what was allowed, or twice the prompt and what a provider adds to it, is not believed."""
LEAST_OUTPUT_TOKENS = 256
"""With a grant for fewer no call is made."""
_CONNECT_SECONDS = 10.0
_DONE = b"[DONE]"
_REST_SECONDS, _REST_BYTES = 0.25, 1024
"""What may come after it, so that the connection can be used again; nobody waits for that."""
_REASON_CHARACTERS = 400


class CallOutcome(enum.StrEnum):
    """How a call ended, as far as the call can tell."""

    OK = "ok"
    EMPTY = "empty"
    LENGTH = "length"
    REASONING_EXHAUSTED = "reasoning_exhausted"
    REFUSED = "refused"
    CONTENT_FILTER = "content_filter"
    TIMEOUT = "timeout"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105 - a token of text, not a secret
    STALLED = "stalled"
    BROKEN_STREAM = "broken_stream"
    CONNECTION = "connection"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    SERVER_ERROR = "server_error"
    BAD_REQUEST = "bad_request"
    AUTH = "auth"
    UNKNOWN_MODEL = "unknown_model"
    CANCELLED = "cancelled"
    BUDGET_TOO_SMALL = "budget_too_small"


@dataclass(frozen=True)
class JsonSchema:
    """The shape asked for, where the model can be held to one: a name and a strict schema."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class ModelRequest:
    """One call. What the model does not take (models.toml) is left out of it."""

    model: str
    system: str
    user: str
    attempt_id: str
    max_output_tokens: int
    timeout_seconds: float
    """For the whole call."""
    schema: JsonSchema | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None
    first_token_seconds: float = math.inf
    """For the first text of a streamed answer."""
    stall_seconds: float = math.inf
    """For any silence after it; comments that only keep the connection alive are silence too."""
    max_cost_usd: float | None = None
    """What the call may cost at the most; the limit of output follows from it. None: no grant."""

    @property
    def prompt_tokens(self) -> int:
        """No fewer than a tokenizer makes of prompt and schema: one for a kana or kanji, one for three letters else."""
        shape = json.dumps(self.schema.schema) if self.schema else ""
        return -(-len((self.system + self.user + shape).encode("utf-8", "replace")) // 3)


@dataclass
class Reply:
    """How a call ended. `text` is all that came, whatever the outcome."""

    outcome: CallOutcome = CallOutcome.BROKEN_STREAM
    reason: str = ""
    text: str = ""
    finish_reason: str = ""
    usage: TokenUsage | None = None
    cost_usd: float | None = None
    retry_after_seconds: float | None = None
    first_token_seconds: float | None = None
    duration_seconds: float = 0.0
    fingerprint: str = ""
    """The server's `system_fingerprint`: what stands behind the answer."""
    model: str = ""
    """The model that answered, as the server names it."""


Observer = Callable[[ModelRequest, Reply], None]


class ModelClient:
    """A process's one client: a pool of connections to one provider. No retries here; the gateway owns them."""

    def __init__(
        self,
        provider: Provider,
        base_url: str,
        api_key: str,
        observe: Observer | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`observe` hears of every ended call. `now` is the day whose list price counts."""
        self.provider = provider
        self.in_use = 0
        """Calls under way, each of which has a connection or waits for one."""
        self._observe = observe
        self._now = now
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
        """The models that the server says it has, each with its `shutdown_date` as it stands, or None.

        Raises ConnectionError when it does not answer so.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                page = await self._openai.models.list(timeout=timeout_seconds)
        except (openai.OpenAIError, httpx2.HTTPError, TimeoutError, ValueError) as error:
            raise ConnectionError(_one_line(without_key(str(error), self._key)) or "no answer in time") from error
        return {model.id: getattr(model, "shutdown_date", None) for model in page.data or ()}

    async def complete(self, request: ModelRequest) -> Reply:
        """The whole answer in one reply."""
        call = _Call(request, self._now, self._key)
        self.in_use += 1
        if self._too_dear(call):
            self._settle(call)
            return call.reply
        try:
            async with asyncio.timeout(request.timeout_seconds):
                async with await self._open(request, stream=False) as opened:
                    call.answered()
                    call.read_whole(await _bounded(opened.response))
        except (openai.OpenAIError, httpx2.HTTPError, TimeoutError) as error:
            call.failed(error)
        except asyncio.CancelledError:
            call.cancelled()
            raise
        finally:
            self._settle(call)
        return call.reply

    def stream(self, request: ModelRequest) -> ModelStream:
        """The answer piece by piece: `async with client.stream(r) as s: async for text in s: …`, then `s.reply`."""
        return ModelStream(self, request)

    async def _open(self, request: ModelRequest, *, stream: bool) -> AsyncStream[object]:
        """The answer as it comes, a block to be left; of it only `response` is used, whose body is read by us.

        `chat.completions.create` ends in the same `post`, 0.5 ms later: it looks through a body that is right.
        """
        body = self._body(request)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return await self._openai.post(
            "/chat/completions",
            body=body,
            options={
                "headers": {ATTEMPT_HEADER: request.attempt_id},
                "timeout": _timeout(request),
                "security": {"bearer_auth": True},
            },
            cast_to=object,
            stream=True,  # for the SDK: not to read the body
            stream_cls=AsyncStream[object],
        )

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        able = capabilities(self.provider, request.model)
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [
                {"role": "system", "content": request.system},
                {"role": "user", "content": request.user},
            ],
            able.max_tokens: self._output_tokens(request),
        }
        if able.temperature and request.temperature is not None:
            body["temperature"] = request.temperature
        if able.reasoning_effort and request.reasoning_effort:
            body["reasoning_effort"] = request.reasoning_effort
        if request.schema and able.structured == "json_schema":
            shape = {"name": request.schema.name, "schema": request.schema.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        elif request.schema and able.structured == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def _output_tokens(self, request: ModelRequest) -> int:
        """The most that the answer may have: what is asked for, what the model can, and what the grant pays for."""
        limits = [request.max_output_tokens, capabilities(self.provider, request.model).output_tokens]
        limits.append(self._paid_for(request))
        return min(limit for limit in limits if limit is not None)

    def _paid_for(self, request: ModelRequest) -> int | None:
        """Output tokens that the grant leaves once the prompt is paid; None: nobody prices it, or there is no grant."""
        if request.max_cost_usd is None:
            return None
        asked, at = request.prompt_tokens, self._now()
        prompt = cost_usd(self.provider, request.model, TokenUsage(asked, 0, 0, 0), at)
        thousand = cost_usd(self.provider, request.model, TokenUsage(asked, 0, 1000, 0), at)
        if prompt is None or thousand is None or thousand == prompt:
            return None
        return max(0, int((request.max_cost_usd - prompt) / (thousand - prompt) * 1000))

    def _too_dear(self, call: _Call) -> bool:
        """Whether the grant leaves too little for any answer; nothing is sent then."""
        paid_for = self._paid_for(call.request)
        if paid_for is None or paid_for >= min(LEAST_OUTPUT_TOKENS, call.request.max_output_tokens):
            return False
        call.too_dear(paid_for)
        return True

    def _can_be(self, request: ModelRequest, usage: TokenUsage) -> bool:
        """Whether a call can have used so much: a server that miscounts must not cost a lesson its money."""
        output, prompt = self._output_tokens(request), request.prompt_tokens
        return usage.output_tokens <= _MISCOUNT * output and usage.input_tokens <= _MISCOUNT * prompt + _OVERHEAD

    def _leave(self, rest: AsyncIterator[bytes], opened: contextlib.AsyncExitStack) -> None:
        """Leaves an answer whose last event was read: beside whoever has it."""
        task = asyncio.create_task(_read_out(rest, opened))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _settle(self, call: _Call) -> None:
        self.in_use -= 1
        reply = call.ended()
        if reply.usage is not None and not self._can_be(call.request, reply.usage):
            reply.usage = None
        if reply.usage is not None:
            reply.cost_usd = cost_usd(self.provider, call.request.model, reply.usage, self._now())
        if self._observe is not None:
            self._observe(call.request, reply)


class ModelStream:
    """One streamed call. Iterating gives text deltas and ends, however the call ended; `reply` then says how."""

    def __init__(self, client: ModelClient, request: ModelRequest) -> None:
        self._client = client
        self._call = _Call(request, client._now, client._key)  # noqa: SLF001 - the stream is the client's other half
        self._stack = contextlib.AsyncExitStack()
        self._pieces: AsyncIterator[bytes] | None = None

    @property
    def reply(self) -> Reply:
        """How the call ended; complete once the block is left."""
        return self._call.reply

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        self._client.in_use += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError | GeneratorExit):
            self._call.cancelled()
        try:
            if self._pieces is not None and self._call.whole:
                self._client._leave(self._pieces, self._stack.pop_all())  # noqa: SLF001
            await self._stack.aclose()
        finally:
            self._client._settle(self._call)  # noqa: SLF001 - the stream is the client's other half

    async def __aiter__(self) -> AsyncIterator[str]:
        if self._client._too_dear(self._call):  # noqa: SLF001
            return
        request, now, patience = self._call.request, asyncio.get_running_loop().time, Patience()
        self._stack.callback(patience.close)
        deadline = now() + request.timeout_seconds
        try:
            # A limit around each wait and none around a yield: what the reader does meanwhile is not ours to cancel.
            patience.until = min(deadline, now() + request.first_token_seconds)
            with patience:
                opened = await self._client._open(request, stream=True)  # noqa: SLF001
            self._pieces = chunks = _pieces((await self._stack.enter_async_context(opened)).response)
            while not self._call.done:
                with patience:
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                deltas = self._call.read_chunk(chunk)
                for delta in deltas:
                    yield delta
                if deltas:
                    patience.until = min(deadline, now() + request.stall_seconds)
            self._call.stream_ended()
        except (openai.OpenAIError, httpx2.HTTPError, TimeoutError) as error:
            self._call.failed(error)


@dataclass
class _Call:
    """The state of one call: what came so far, and what that amounts to."""

    request: ModelRequest
    now: Callable[[], datetime]
    key: str = field(repr=False)
    reply: Reply = field(default_factory=Reply)
    done: bool = False
    """No more events are wanted."""
    whole: bool = False
    """The last event was read, [DONE]."""
    _started: float = field(default_factory=time.monotonic)
    _parts: list[str] = field(default_factory=list)
    _refusal: list[str] = field(default_factory=list)
    _rest: bytes = b""
    _bytes: int = 0
    _judged: bool = False

    def read_chunk(self, chunk: bytes) -> list[str]:
        """The text deltas in the server-sent events that end in this chunk."""
        self._bytes += len(chunk)
        if self._bytes > 64 * MAX_ANSWER_BYTES:
            # Each delta travels in an envelope many times its size; comments for ever must end somewhere too.
            self._judge(CallOutcome.BROKEN_STREAM, "the stream is far larger than any answer")
            self.done = True
            return []
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        deltas: list[str] = []
        for line in lines:
            if line.startswith(b"data:") and not self.done:
                try:
                    event = jiter.from_json(line[5:])
                except ValueError:
                    event = line[5:].strip()
                text = _only_text(event, self.reply.fingerprint)
                if text and self._parts:
                    self._parts.append(text)
                    deltas.append(text)
                else:
                    deltas += self._read_event(event)
        return deltas

    def _read_event(self, event: object) -> list[str]:
        """`event`: the JSON of one, or the bytes that are none."""
        if event == _DONE:
            self.done = self.whole = True
            return []
        if not isinstance(event, dict):
            self._judge(CallOutcome.BROKEN_STREAM, "an event of the stream is not JSON")
            self.done = True
            return []
        if isinstance(event.get("error"), dict):
            self._judge(CallOutcome.SERVER_ERROR, str(event["error"].get("message", "error in the stream")))
            self.done = True
            return []
        return self._read_payload(event, "delta")

    def _read_payload(self, payload: dict[str, Any], key: str) -> list[str]:
        if isinstance(payload.get("usage"), dict):
            self.reply.usage = _usage(payload["usage"])
        if isinstance(payload.get("system_fingerprint"), str):
            self.reply.fingerprint = payload["system_fingerprint"]
        if isinstance(payload.get("model"), str):
            self.reply.model = payload["model"]
        choices = payload.get("choices") or [{}]
        choice = choices[0] if isinstance(choices, list) and isinstance(choices[0], dict) else {}
        message = choice.get(key) or {}
        if choice.get("finish_reason"):
            self.reply.finish_reason = str(choice["finish_reason"])
        if isinstance(message.get("refusal"), str):
            self._refusal.append(message["refusal"])
        text = message.get("content")
        if not isinstance(text, str) or not text:
            return []
        if self.reply.first_token_seconds is None and key == "delta":
            self.reply.first_token_seconds = time.monotonic() - self._started
        self._parts.append(text)
        return [text]

    def answered(self) -> None:
        """An unstreamed answer has begun: from here on it may be paid for."""
        self.reply.first_token_seconds = time.monotonic() - self._started

    def read_whole(self, body: bytes) -> None:
        """The answer of an unstreamed call."""
        try:
            payload = jiter.from_json(body) if len(body) <= MAX_ANSWER_BYTES else None
        except ValueError:
            payload = None
        if not isinstance(payload, dict):
            self._judge(CallOutcome.SERVER_ERROR, "the server's answer is not the API's JSON")
            return
        self._read_payload(payload, "message")
        self.stream_ended()

    def stream_ended(self) -> None:
        """No more will come: what came is judged by how the server says it ended, never by how whole it looks."""
        if self._judged:
            return
        text, refusal = "".join(self._parts), "".join(self._refusal)
        finish = self.reply.finish_reason
        if refusal or finish == "refusal":
            self._judge(CallOutcome.REFUSED, refusal or "the model refused")
        elif finish == "content_filter":
            self._judge(CallOutcome.CONTENT_FILTER, "the provider's content filter ended the answer")
        elif finish == "length":
            self._judge(*self._cut(text))
        elif finish != "stop":
            self._judge(CallOutcome.BROKEN_STREAM, f"the answer ended without its end (finish_reason {finish!r})")
        elif not text.strip():
            self._judge(CallOutcome.EMPTY, "the answer is empty")
        else:
            self._judge(CallOutcome.OK, "")

    def _cut(self, text: str) -> tuple[CallOutcome, str]:
        limit = self.request.max_output_tokens
        if text.strip():
            return CallOutcome.LENGTH, f"the answer was cut at {limit} output tokens"
        return CallOutcome.REASONING_EXHAUSTED, f"reasoning used all {limit} output tokens before any text"

    def failed(self, error: Exception) -> None:
        """A transport or status error of the SDK."""
        if self._judged:
            return
        came = bool(self._parts) or self.reply.first_token_seconds is not None
        self._judge(*_classify(error, came, self.request, time.monotonic() - self._started))
        if isinstance(error, openai.APIStatusError):
            self.reply.retry_after_seconds = retry_after_seconds(error.response.headers, self.now())

    def too_dear(self, output_tokens: int) -> None:
        """Nothing was sent: the grant pays for too few tokens."""
        grant = f"${self.request.max_cost_usd or 0:.4f}"
        reason = f"the grant of {grant} pays for the prompt and {output_tokens} tokens of answer"
        self._judge(CallOutcome.BUDGET_TOO_SMALL, reason)

    def cancelled(self) -> None:
        self._judge(CallOutcome.CANCELLED, "nobody waits for the answer any more")

    def ended(self) -> Reply:
        """The reply, complete."""
        if not self._judged:
            self._judge(CallOutcome.CANCELLED, "the answer was not read to its end")
        self.reply.text = "".join(self._parts)
        self.reply.model = without_key(self.reply.model, self.key)
        self.reply.duration_seconds = time.monotonic() - self._started
        return self.reply

    def _judge(self, outcome: CallOutcome, reason: str) -> None:
        self._judged = True
        self.reply.outcome, self.reply.reason = outcome, _one_line(without_key(reason, self.key))


def _only_text(event: Any, fingerprint: str) -> str:
    """The text of an event that says nothing new else; empty for any other. Nearly all are so: the short way."""
    try:
        (choice,) = event["choices"]
        delta = choice["delta"]
        text = delta["content"]
        more = (
            choice["finish_reason"]
            or len(delta) > 1
            or event.get("usage") is not None
            or (event.get("system_fingerprint") or fingerprint) != fingerprint
            or "error" in event
        )
    except (KeyError, TypeError, ValueError):
        return ""
    return text if isinstance(text, str) and not more else ""


@cache
def _trusted() -> ssl.SSLContext:
    """The certificate authorities of this machine. Reading them takes 60 ms, so all clients of a process share them."""
    return httpx2.create_ssl_context()


def _timeout(request: ModelRequest) -> httpx2.Timeout:
    """How long a connection may take. All else is bounded by us: the backend would set a timer for each read, too."""
    return httpx2.Timeout(None, connect=min(_CONNECT_SECONDS, request.timeout_seconds))


def _pieces(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The body as it comes: past two generators of httpx2's, unless there is something to decode."""
    coded = response.headers.get("content-encoding", "identity") != "identity"
    return response.aiter_bytes() if coded else aiter(cast("AsyncIterable[bytes]", response.stream))


async def _read_out(rest: AsyncIterator[bytes], opened: contextlib.AsyncExitStack) -> None:
    """The end of a body, if it comes soon: the backend closes a connection whose answer it has not seen end."""
    with contextlib.suppress(httpx2.HTTPError, TimeoutError):
        async with opened, asyncio.timeout(_REST_SECONDS):
            size = 0
            async for piece in rest:
                size += len(piece)
                if size > _REST_BYTES:
                    break


async def _bounded(response: httpx2.Response) -> bytes:
    """The body, or of one that is larger than any answer just so much that it shows."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            break
    return bytes(body)


_BY_STATUS = {
    401: CallOutcome.AUTH,
    403: CallOutcome.AUTH,
    408: CallOutcome.SERVER_ERROR,
    409: CallOutcome.SERVER_ERROR,
    429: CallOutcome.RATE_LIMITED,
}
_BY_CODE = {
    "insufficient_quota": CallOutcome.QUOTA,
    "model_not_found": CallOutcome.UNKNOWN_MODEL,
    "content_filter": CallOutcome.CONTENT_FILTER,
}


def _classify(error: Exception, text_came: bool, request: ModelRequest, took: float) -> tuple[CallOutcome, str]:
    # The aiohttp backend tells a refused connection as one that timed out.
    if isinstance(error.__cause__, httpx2.ConnectTimeout):
        return CallOutcome.CONNECTION, f"no connection to the model server: {error.__cause__}"
    if isinstance(error, TimeoutError | openai.APITimeoutError | httpx2.TimeoutException):
        return _too_slow(text_came, request, took)
    if isinstance(error, openai.APIStatusError):
        default = CallOutcome.SERVER_ERROR if error.status_code >= 500 else CallOutcome.BAD_REQUEST
        outcome = _BY_CODE.get(str(error.code)) or _BY_STATUS.get(error.status_code, default)
        return outcome, f"HTTP {error.status_code}: {_body_message(error)}"
    if text_came:
        return CallOutcome.BROKEN_STREAM, "the connection broke in mid-answer"
    return CallOutcome.CONNECTION, f"no answer from the model server: {error.__cause__ or error}"


def _too_slow(text_came: bool, request: ModelRequest, took: float) -> tuple[CallOutcome, str]:
    """Which of the three limits it was. A timer may fire a hair early: one that was not set cannot have been it."""
    silence = request.stall_seconds if text_came else request.first_token_seconds
    if took >= request.timeout_seconds or math.isinf(silence):
        return CallOutcome.TIMEOUT, f"no end within {request.timeout_seconds:g} s"
    if text_came:
        return CallOutcome.STALLED, f"no more text within {silence:g} s"
    return CallOutcome.FIRST_TOKEN_TIMEOUT, f"no text within {silence:g} s"


def _body_message(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return str(body["message"])
    return error.message


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long the server asks to wait: milliseconds, seconds or an HTTP date, in this order; None when it says nothing
    that can be read. Source: RFC 9110, 10.2.3, and the header that OpenAI's servers add."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    told = headers.get("retry-after", "")
    seconds = _number(told)
    return _until(told, now) if seconds is None else seconds


def _number(told: str | None) -> float | None:
    try:
        number = float(told or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _until(told: str, now: datetime) -> float | None:
    try:
        at = parsedate_to_datetime(told)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def _usage(raw: dict[str, Any]) -> TokenUsage | None:
    details_in, details_out = raw.get("prompt_tokens_details") or {}, raw.get("completion_tokens_details") or {}
    counts = (
        raw.get("prompt_tokens"),
        details_in.get("cached_tokens") or 0,
        raw.get("completion_tokens"),
        details_out.get("reasoning_tokens") or 0,
    )
    told = [count for count in counts if isinstance(count, int) and count >= 0]
    return TokenUsage(*told) if len(told) == len(counts) else None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_REASON_CHARACTERS]

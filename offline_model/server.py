"""The HTTP side: chat completions as OpenAI serves them, streamed or whole."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from offline_model import tokens
from offline_model.answer import answer
from offline_model.bank import Bank
from offline_model.errors import ApiError
from offline_model.logs import log
from offline_model.request import ChatRequest, read_data, read_request

MODEL = "nidan-offline"
MAX_BODY_BYTES = 2 * 1024 * 1024
CHUNK_CHARACTERS = 6
# At full speed chunks leave in batches: one system call per chunk would cost more than everything else.
_BATCH = 64

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(bank: Bank, chunk_delay_seconds: float = 0.0) -> web.Application:
    """The application: POST /v1/chat/completions, GET /v1/models, /v1/models/{id} and /healthz."""
    model = _OfflineModel(bank, chunk_delay_seconds)
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_errors_as_json])
    app.router.add_post("/v1/chat/completions", model.chat)
    app.router.add_get("/v1/models", model.models)
    app.router.add_get("/v1/models/{id}", model.model)
    app.router.add_get("/healthz", model.health)
    return app


@dataclass(frozen=True)
class _Completion:
    """One answer, cut at the token limit."""

    content: str
    finish_reason: str
    prompt_tokens: int
    system_fingerprint: str | None
    """The origin of the answer: the bank lesson's label."""
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def usage(self) -> dict[str, Any]:
        completion_tokens = tokens.count(self.content)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }

    def whole(self) -> dict[str, Any]:
        message = {"role": "assistant", "content": self.content, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self.usage}

    def events(self, include_usage: bool) -> Iterator[bytes]:
        """Server-sent events: the role, the content in pieces, the finish reason, the usage if asked for, [DONE]."""
        head = self._head("chat.completion.chunk") | ({"usage": None} if include_usage else {})
        yield _event(head | {"choices": [_delta({"role": "assistant", "content": ""})]})
        for start in range(0, len(self.content), CHUNK_CHARACTERS):
            piece = self.content[start : start + CHUNK_CHARACTERS]
            yield _event(head | {"choices": [_delta({"content": piece})]})
        yield _event(head | {"choices": [_delta({}, self.finish_reason)]})
        if include_usage:
            yield _event(head | {"choices": [], "usage": self.usage})
        yield b"data: [DONE]\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        head = {"id": self.id, "object": kind, "created": self.created, "model": MODEL}
        return {**head, "system_fingerprint": self.system_fingerprint}


def _delta(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _json(value: object) -> bytes:
    # An id may contain half a surrogate pair, which UTF-8 cannot encode; escaped, it returns unchanged.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


class _OfflineModel:
    def __init__(self, bank: Bank, chunk_delay_seconds: float) -> None:
        self._bank = bank
        self._delay = chunk_delay_seconds
        self._model_entry = {"id": MODEL, "object": "model", "created": int(time.time()), "owned_by": "nidan"}

    async def health(self, _request: web.Request) -> web.Response:
        return _json_response({"status": "ok", "lessons": len(self._bank.lessons)})

    async def models(self, _request: web.Request) -> web.Response:
        return _json_response({"object": "list", "data": [self._model_entry]})

    async def model(self, request: web.Request) -> web.Response:
        _check_model(request.match_info["id"])
        return _json_response(self._model_entry)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        chat_request = read_request(await request.read())
        completion = self._complete(chat_request)
        if chat_request.stream:
            return await self._stream(request, completion.events(chat_request.include_usage))
        return _json_response(completion.whole())

    def _complete(self, request: ChatRequest) -> _Completion:
        _check_model(request.model)
        content, origin = answer(self._bank, read_data(request), request.properties)
        limit = request.token_limit
        kept = content if limit is None else tokens.cut(content, limit)
        reason = "stop" if kept == content else "length"
        return _Completion(kept, reason, tokens.count(request.prompt), origin or None)

    async def _stream(self, request: web.Request, events: Iterator[bytes]) -> web.StreamResponse:
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        while batch := list(itertools.islice(events, 1 if self._delay else _BATCH)):
            await asyncio.sleep(self._delay)  # at 0 this gives other streams a turn
            await response.write(b"".join(batch))
        await response.write_eof()
        return response


def _check_model(name: str) -> None:
    if name != MODEL:
        message = f"The model {name[:80]!r} does not exist here. This server has only {MODEL!r}."
        raise ApiError(404, "model_not_found", message, "model")


def _json_response(value: object, status: int = 200) -> web.Response:
    return web.Response(body=_json(value), status=status, content_type="application/json")


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives every error OpenAI's error body, including aiohttp's own errors."""
    try:
        return await handler(request)
    except ApiError as error:
        return _json_response(error.body, error.status)
    except web.HTTPException as error:
        response = _json_response(_http_error(request, error).body, error.status)
        if isinstance(error, web.HTTPMethodNotAllowed):
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except (HttpProcessingError, web.RequestPayloadError) as error:
        message = f"Cannot read the request body: {error}"
        return _json_response(ApiError(400, None, message).body, 400)
    except ConnectionError:
        raise  # the caller disconnected
    except Exception as error:  # noqa: BLE001 - a caller gets JSON even for an unexpected error
        log("offline_model_failed", level="error", error=repr(error), path=request.path)
        return _json_response(ApiError(500, None, "The offline model failed.", type="server_error").body, 500)


def _http_error(request: web.Request, error: web.HTTPException) -> ApiError:
    target = f"{request.method} {request.path}"
    match error.status:
        case 404:
            return ApiError(404, "unknown_url", f"Unknown request URL: {target}. Chat is at POST /v1/chat/completions.")
        case 405:
            allowed = error.headers["Allow"]
            return ApiError(405, "method_not_supported", f"Not allowed: {target}. Allowed here: {allowed}.")
        case 413:
            return ApiError(413, "request_too_large", f"The body is larger than {MAX_BODY_BYTES} bytes.")
        case status:
            return ApiError(status, None, error.reason)

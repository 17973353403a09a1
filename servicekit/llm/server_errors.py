"""Reads what a server says of an error: in the body of a status, in an answer of 200, in an event of a stream.

Providers and proxies say it in many shapes: an object, a list, a text, HTML; under `error`, `errors`, `detail` or
`message`. The server's words and codes are all that counts here.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from servicekit.llm.calls import CallOutcome
from servicekit.safe_json import one_safe_line

_DEPTH: Final = 6
_CODE_KEYS: Final = ("code", "type", "status", "error_type", "reason", "error_code")
_WORD_KEYS: Final = ("message", "msg", "detail", "error_message", "error_description", "description", "title")
_NESTED_KEYS: Final = ("error", "errors", "detail", "message", "details")
_BY_CODE: Final = {
    **dict.fromkeys(
        (
            "insufficient_quota", "billing_not_active", "billing_hard_limit_reached", "insufficient_balance",
            "insufficient_credits", "insufficient_funds", "payment_required", "account_deactivated",
        ),
        CallOutcome.QUOTA,
    ),
    **dict.fromkeys(("model_not_found", "model_not_available", "unknown_model"), CallOutcome.UNKNOWN_MODEL),
    **dict.fromkeys(("content_filter", "content_policy_violation"), CallOutcome.CONTENT_FILTER),
    **dict.fromkeys(
        (
            "invalid_api_key", "api_key_invalid", "incorrect_api_key", "authentication_error", "unauthenticated",
            "unauthorized", "permission_denied", "permission_error", "invalid_authentication",
        ),
        CallOutcome.AUTH,
    ),
    **dict.fromkeys(
        ("rate_limit_exceeded", "rate_limit_error", "rate_limited", "too_many_requests", "resource_exhausted"),
        CallOutcome.RATE_LIMITED,
    ),
}  # fmt: skip
_BY_STATUS: Final = {
    401: CallOutcome.AUTH,
    402: CallOutcome.QUOTA,
    403: CallOutcome.AUTH,
    408: CallOutcome.SERVER_ERROR,
    409: CallOutcome.SERVER_ERROR,
    429: CallOutcome.RATE_LIMITED,
}
_KEY_WORDS: Final = re.compile(r"\b(?:api[ _-]?key)\b.{0,40}\b(?:not valid|invalid|incorrect|expired)\b|"
                               r"\b(?:invalid|incorrect) api[ _-]?key\b", re.IGNORECASE)  # fmt: skip
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_UNSEEN: Final = re.compile(r"<(script|style)\b.*?</\1>", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class ServerError:
    """The words of an error, and all its codes in lower case."""

    words: str
    codes: tuple[str, ...] = ()

    def outcome(self, status: int | None = None) -> CallOutcome:
        """The class of the error. `status` is the HTTP status that came with it, unless that was 200."""
        named = next((_BY_CODE[code] for code in self.codes if code in _BY_CODE), None)
        if named is not None:
            return named
        statuses = [int(code) for code in self.codes if code.isascii() and code.isdigit() and len(code) == 3]
        seen = status or next((code for code in statuses if 400 <= code < 600), None)
        if seen is not None and seen in _BY_STATUS:
            return _BY_STATUS[seen]
        if _KEY_WORDS.search(self.words) and (seen is None or seen < 500):
            return CallOutcome.AUTH
        return CallOutcome.BAD_REQUEST if seen is not None and seen < 500 else CallOutcome.SERVER_ERROR


def error_of_body(body: bytes, status: int) -> ServerError:
    """What the body of an error status says: JSON of any shape, a page, or plain text."""
    text = body.decode("utf-8", "replace")
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        payload = _page_words(text) if "<" in text else text
    error = error_of_json(payload)
    if one_safe_line(error.words, 1):
        return error
    return ServerError(f"the server says nothing more than {status}", error.codes)


def error_of_json(payload: object) -> ServerError:
    """What a JSON value says of an error."""
    words = next((text for text in _words(payload, _DEPTH) if text.strip()), "")
    return ServerError(words, tuple(dict.fromkeys(_codes(payload, _DEPTH))))


def error_in_answer(payload: object) -> ServerError | None:
    """The error in a payload that came with status 200; None when it holds none."""
    if isinstance(payload, list):
        return error_in_answer(payload[0]) if payload else None
    if not isinstance(payload, dict):
        return None
    if payload.get("error") or payload.get("object") == "error":
        return _or_unnamed(error_of_json(payload))
    choices = payload.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, dict) and first.get("error"):
        return _or_unnamed(error_of_json(first["error"]))
    return None


def _or_unnamed(error: ServerError) -> ServerError:
    return error if error.words.strip() else ServerError("the server reports an error without a word", error.codes)


def _words(value: object, depth: int) -> Iterator[str]:
    """Texts that may be the message, the likeliest first."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and depth:
        for entry in value[:3]:
            yield from _words(entry, depth - 1)
    elif isinstance(value, Mapping) and depth:
        yield from _words(value.get("error"), depth - 1)
        yield from (str(value[key]) for key in _WORD_KEYS if isinstance(value.get(key), str))
        for key in _NESTED_KEYS:
            if key != "error" and not isinstance(value.get(key), str):
                yield from _words(value.get(key), depth - 1)


def _codes(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, list) and depth:
        for entry in value[:3]:
            yield from _codes(entry, depth - 1)
    elif isinstance(value, Mapping) and depth:
        for key in _CODE_KEYS:
            code: Any = value.get(key)
            if isinstance(code, str | int) and not isinstance(code, bool):
                yield str(code).strip().lower()[:60]
        for key in _NESTED_KEYS:
            yield from _codes(value.get(key), depth - 1)


def _page_words(text: str) -> str:
    """The title of a page, or else its first words."""
    title = _TITLE.search(text)
    return html.unescape(_TAG.sub(" ", title[1] if title and title[1].strip() else _UNSEEN.sub(" ", text)))

"""Reads one answer of the chat API, streamed or whole, and judges how it ended."""

from __future__ import annotations

import json
import time
from typing import Any

import jiter

from servicekit.llm.calls import CallOutcome, Failure, ModelRequest, Reply
from servicekit.llm.event_stream import DONE, ErrorEvent, EventStream, StreamTooLargeError
from servicekit.llm.finish import finish_reason
from servicekit.llm.message_text import MessageText, message_text
from servicekit.llm.redaction import without_key
from servicekit.llm.server_errors import ServerError, error_in_answer, error_of_body, error_of_json
from servicekit.llm.usage import read_usage
from servicekit.safe_json import one_safe_line

MAX_ANSWER_BYTES = 2 * 1024 * 1024
"""A lesson is some 20 KB; anything larger than this is not an answer."""
MAX_ANSWER_CHARACTERS = 500_000
"""More than this is not read: `servicekit.llm.extraction` refuses a text of this length."""
_ENVELOPE_FACTOR = 64
"""Each delta travels in an envelope many times its size."""
_REASON_CHARACTERS = 400
_NAME_CHARACTERS = 200


class Answer:
    """What has arrived so far. `reply` is complete after `settle`."""

    def __init__(self, request: ModelRequest, key: str) -> None:
        """`key` is the caller's API key, which must not appear in the reply."""
        self.request = request
        self.reply = Reply()
        self.done = False
        """The reader wants no more events."""
        self.complete = False
        """The last event that counts was read: [DONE], or finish reason and usage."""
        self._key = key
        self._started = time.monotonic()
        self._events = EventStream(_ENVELOPE_FACTOR * MAX_ANSWER_BYTES)
        self._text = MessageText()
        self._refusal: list[str] = []
        self._reasoned = False
        """Some text came in the field of the model's thoughts."""
        self._judged = False

    @property
    def seconds(self) -> float:
        """Since the call began."""
        return time.monotonic() - self._started

    @property
    def text_came(self) -> bool:
        return bool(self._text) or self.reply.first_token_seconds is not None

    @property
    def finish_came(self) -> bool:
        """The server has said how the answer ended: whatever the connection does now, the text is whole."""
        return bool(self.reply.finish_reason)

    def sent_at(self, tier: str) -> None:
        """The request asks for this service tier; empty: the standard one."""
        self.reply.service_tier = tier

    def tier_unavailable(self) -> None:
        """The tier has no capacity; the request is sent once more at the standard one."""
        self.reply.unavailable_tier, self.reply.service_tier = self.reply.service_tier, ""

    # --- reading -------------------------------------------------------------------------------------------------

    def read_chunk(self, chunk: bytes) -> list[str]:
        """The text deltas in the events that end in this chunk."""
        try:
            return self._read_events(self._events.feed(chunk))
        except StreamTooLargeError as error:
            return self._break(CallOutcome.BROKEN_STREAM, str(error))

    def read_last(self) -> list[str]:
        """The text in an event that the end of the stream cut short of its empty line."""
        return [] if self.done else self._read_events(self._events.end())

    def _read_events(self, events: list[bytes]) -> list[str]:
        deltas: list[str] = []
        for data in events:
            if self.done:
                break
            try:
                event = jiter.from_json(data)
            except ValueError:
                deltas += self._read_odd_event(data)
                continue
            text = _only_text(event, self.reply.fingerprint)
            if text and self._text:
                deltas += self._add(text)
            else:
                deltas += self._read_event(event, data)
        return deltas

    def _add(self, text: str) -> list[str]:
        new = self._text.add(text)
        if self._text.characters > MAX_ANSWER_CHARACTERS:
            # Nothing will be done with so long a text, and the extraction says so.
            self.reply.finish_reason = "stop"
            self.done = True
        return [new] if new else []

    def _read_odd_event(self, data: bytes) -> list[str]:
        """An event that the strict parser refuses: [DONE], half a surrogate pair, events without empty lines."""
        if data.strip() == DONE:
            self.done = self.complete = True
            return []
        text = data.decode("utf-8", "replace")
        try:
            return self._read_event(json.loads(text), data)
        except (ValueError, RecursionError):
            pass
        if isinstance(data, ErrorEvent):
            return self._fail_with(error_of_body(data, 200))
        lines = data.split(b"\n")
        if len(lines) > 1 and all(_is_json(line) for line in lines):
            return self._read_events(lines)
        return self._break(CallOutcome.BROKEN_STREAM, "an event of the stream is not JSON")

    def _read_event(self, event: object, data: bytes) -> list[str]:
        """`event` is parsed JSON, `data` the bytes that it was parsed from."""
        if isinstance(data, ErrorEvent):
            return self._fail_with(error_of_json(event))
        if event is None:
            return []  # a sign of life
        error = error_in_answer(event)
        if error is not None:
            return self._fail_with(error)
        if not isinstance(event, dict):
            return self._break(CallOutcome.BROKEN_STREAM, "an event of the stream is not JSON of the API")
        deltas = self._read_payload(event, "delta")
        # Usage that comes with the end, or after it, is the last of the answer.
        if self.finish_came and event.get("usage") and self.reply.usage is not None:
            self.done = self.complete = True
        return deltas

    def _fail_with(self, error: ServerError) -> list[str]:
        return self._break(error.outcome(), error.words)

    def _break(self, outcome: CallOutcome, reason: str) -> list[str]:
        self._judge(outcome, reason)
        self.done = True
        return []

    def begin_whole(self) -> None:
        """An unstreamed answer has begun: from here on it may have to be paid for."""
        self.reply.first_token_seconds = self.seconds

    def read_whole(self, body: bytes) -> bool:
        """Reads an unstreamed answer, and judges it by its own words. False: the body is no JSON of the API."""
        payload = api_payload(body)
        if payload is None:
            return False
        error = error_in_answer(payload)
        if error is not None:
            self._fail_with(error)
        elif isinstance(payload, dict):
            self._read_payload(payload, "message")
            self.end()
        return True

    def not_the_api(self, body: bytes) -> None:
        """The body of an unstreamed answer is no JSON of the API."""
        said = error_of_body(body[:4096], 200).words[:100] if body.strip() else "nothing"
        self._judge(CallOutcome.SERVER_ERROR, f"the server's answer is not the API's JSON; it says: {said}")

    def _read_payload(self, payload: dict[str, Any], key: str) -> list[str]:
        """Takes everything from one event or body; `key` holds the message. Returns the new text."""
        self._read_metadata(payload)
        choices = payload.get("choices") or [{}]
        choice = next((one for one in choices if isinstance(one, dict)), {}) if isinstance(choices, list) else {}
        if choice.get("index"):
            return []  # a second choice was not asked for
        finish = finish_reason(choice.get("finish_reason"))
        if finish:
            self.reply.finish_reason = finish
        message = choice.get(key) or choice.get("message") or {}
        if not isinstance(message, dict):
            return []
        if isinstance(message.get("refusal"), str):
            self._refusal.append(message["refusal"])
        self._reasoned = self._reasoned or any(message.get(name) for name in ("reasoning_content", "reasoning"))
        text = message_text(message.get("content"))
        if not text or (key == "delta" and "delta" not in choice and self._text):
            return []  # some streams end with the whole message once more
        if self.reply.first_token_seconds is None and key == "delta":
            self.reply.first_token_seconds = self.seconds
        return self._add(text)

    def _read_metadata(self, payload: dict[str, Any]) -> None:
        usage = read_usage(payload.get("usage"))
        if usage is not None:
            self.reply.usage = usage
        if isinstance(payload.get("system_fingerprint"), str):
            self.reply.fingerprint = payload["system_fingerprint"]
        if isinstance(payload.get("model"), str):
            self.reply.model = payload["model"]
        if isinstance(payload.get("service_tier"), str):
            self.reply.service_tier = payload["service_tier"]

    # --- judging -------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """No more will come. Judges by how the server says the answer ended, never by how complete the text looks."""
        if self._judged:
            return
        text, refusal = self._text.whole(), "".join(self._refusal)
        finish = self.reply.finish_reason
        if refusal or finish == "refusal":
            self._judge(CallOutcome.REFUSED, refusal or "the model refused")
        elif finish == "content_filter":
            self._judge(CallOutcome.CONTENT_FILTER, "the provider's content filter ended the answer")
        elif finish == "length":
            self._judge(*self._at_limit(text))
        elif finish != "stop":
            self._judge(CallOutcome.BROKEN_STREAM, f"the answer ended without its end (finish_reason {finish!r})")
        elif not text.strip():
            where = ": all of its text is in the field of the model's thoughts" if self._reasoned else ""
            self._judge(CallOutcome.EMPTY, f"the answer is empty{where}")
        else:
            self._judge(CallOutcome.OK, "")

    def _at_limit(self, text: str) -> tuple[CallOutcome, str]:
        limit = self.request.max_output_tokens
        if text.strip():
            return CallOutcome.LENGTH, f"the answer was cut at {limit} output tokens"
        return CallOutcome.REASONING_EXHAUSTED, f"reasoning used all {limit} output tokens before any text"

    def fail(self, failure: Failure) -> None:
        """The call failed. An answer that is judged already, or told whole, stays as it is."""
        if self._judged or self.finish_came:
            self.end()
            return
        tier = self.reply.unavailable_tier
        self._judge(failure.outcome, failure.reason + (f" (after tier {tier} had no capacity)" if tier else ""))
        self.reply.retry_after_seconds = failure.retry_after_seconds

    def refuse_cost(self, affordable_tokens: int | None) -> None:
        """Nothing was sent: the cost limit pays for too few tokens."""
        grant = f"${self.request.max_cost_usd or 0:.4f}"
        reason = f"the grant of {grant} pays for the prompt and {affordable_tokens} tokens of answer"
        self._judge(CallOutcome.BUDGET_TOO_SMALL, reason)

    def cancel(self) -> None:
        """The caller waits no longer."""
        self._judge(CallOutcome.CANCELLED, "nobody waits for the answer any more")

    def settle(self) -> Reply:
        """Completes the reply, without its cost."""
        if not self._judged:
            self._judge(CallOutcome.CANCELLED, "the answer was not read to its end")
        self.reply.text = self._text.whole()
        for name in ("model", "service_tier", "fingerprint"):
            setattr(
                self.reply, name, one_safe_line(without_key(getattr(self.reply, name), self._key), _NAME_CHARACTERS)
            )
        self.reply.duration_seconds = self.seconds
        return self.reply

    def _judge(self, outcome: CallOutcome, reason: str) -> None:
        self._judged = True
        words = one_safe_line(without_key(reason, self._key), _REASON_CHARACTERS)
        self.reply.outcome, self.reply.reason = outcome, words


def _only_text(event: Any, fingerprint: str) -> str:
    """The text of an event that holds nothing else that is new; empty for any other. The short way of most events."""
    try:
        (choice,) = event["choices"]
        delta = choice["delta"]
        text = delta["content"]
        more = (
            choice["finish_reason"]
            or len(delta) > 1
            or event.get("usage") is not None
            or (event.get("system_fingerprint") or fingerprint) != fingerprint
            or choice.get("index")
            or "error" in event
        )
    except (KeyError, TypeError, ValueError):
        return ""
    return text if isinstance(text, str) and not more else ""


def api_payload(body: bytes) -> object | None:
    """The JSON of an unstreamed answer, or of an error; None for anything else."""
    try:
        payload = json.loads(body.decode("utf-8", "replace")) if len(body) <= MAX_ANSWER_BYTES else None
    except (ValueError, RecursionError):
        return None
    known = isinstance(payload, dict) and "choices" in payload
    return payload if known or error_in_answer(payload) is not None else None


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return line.strip() == DONE
    return True

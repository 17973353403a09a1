"""Reads one answer of the chat API, streamed or whole, and judges how it ended."""

from __future__ import annotations

import time
from typing import Any

import jiter

from servicekit.llm.calls import CallOutcome, Failure, ModelRequest, Reply
from servicekit.llm.event_stream import DONE, EventStream, StreamTooLargeError
from servicekit.llm.prices import TokenUsage
from servicekit.llm.redaction import without_key

MAX_ANSWER_BYTES = 2 * 1024 * 1024
"""A lesson is some 20 KB; anything larger than this is not an answer."""
_ENVELOPE_FACTOR = 64
"""Each delta travels in an envelope many times its size."""
_REASON_CHARACTERS = 400


class Answer:
    """What has arrived so far. `reply` is complete after `settle`."""

    def __init__(self, request: ModelRequest, key: str) -> None:
        """`key` is the caller's API key, which must not appear in the reply."""
        self.request = request
        self.reply = Reply()
        self.done = False
        """The reader wants no more events."""
        self.complete = False
        """The stream's last event, [DONE], was read."""
        self._key = key
        self._started = time.monotonic()
        self._events = EventStream(_ENVELOPE_FACTOR * MAX_ANSWER_BYTES)
        self._parts: list[str] = []
        self._refusal: list[str] = []
        self._judged = False

    @property
    def seconds(self) -> float:
        """Since the call began."""
        return time.monotonic() - self._started

    @property
    def text_came(self) -> bool:
        return bool(self._parts) or self.reply.first_token_seconds is not None

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
            lines = self._events.feed(chunk)
        except StreamTooLargeError as error:
            return self._break(CallOutcome.BROKEN_STREAM, str(error))
        deltas: list[str] = []
        for line in lines:
            if self.done:
                break
            try:
                event = jiter.from_json(line)
            except ValueError:
                event = line.strip()
            text = _only_text(event, self.reply.fingerprint)
            if text and self._parts:
                self._parts.append(text)
                deltas.append(text)
            else:
                deltas += self._read_event(event)
        return deltas

    def _read_event(self, event: object) -> list[str]:
        """`event` is parsed JSON, or bytes that are not JSON."""
        if event == DONE:
            self.done = self.complete = True
            return []
        if not isinstance(event, dict):
            return self._break(CallOutcome.BROKEN_STREAM, "an event of the stream is not JSON")
        if isinstance(event.get("error"), dict):
            return self._break(CallOutcome.SERVER_ERROR, str(event["error"].get("message", "error in the stream")))
        return self._read_payload(event, "delta")

    def _break(self, outcome: CallOutcome, reason: str) -> list[str]:
        self._judge(outcome, reason)
        self.done = True
        return []

    def begin_whole(self) -> None:
        """An unstreamed answer has begun: from here on it may have to be paid for."""
        self.reply.first_token_seconds = self.seconds

    def read_whole(self, body: bytes) -> None:
        """Reads and judges an unstreamed answer."""
        try:
            payload = jiter.from_json(body) if len(body) <= MAX_ANSWER_BYTES else None
        except ValueError:
            payload = None
        if not isinstance(payload, dict):
            self._judge(CallOutcome.SERVER_ERROR, "the server's answer is not the API's JSON")
            return
        self._read_payload(payload, "message")
        self.end()

    def _read_payload(self, payload: dict[str, Any], key: str) -> list[str]:
        """Takes everything from one event or body; `key` holds the message. Returns the new text."""
        self._read_metadata(payload)
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
            self.reply.first_token_seconds = self.seconds
        self._parts.append(text)
        return [text]

    def _read_metadata(self, payload: dict[str, Any]) -> None:
        if isinstance(payload.get("usage"), dict):
            self.reply.usage = _usage(payload["usage"])
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
        text, refusal = "".join(self._parts), "".join(self._refusal)
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
            self._judge(CallOutcome.EMPTY, "the answer is empty")
        else:
            self._judge(CallOutcome.OK, "")

    def _at_limit(self, text: str) -> tuple[CallOutcome, str]:
        limit = self.request.max_output_tokens
        if text.strip():
            return CallOutcome.LENGTH, f"the answer was cut at {limit} output tokens"
        return CallOutcome.REASONING_EXHAUSTED, f"reasoning used all {limit} output tokens before any text"

    def fail(self, failure: Failure) -> None:
        """The call failed. An answer that is judged already stays as it is."""
        if self._judged:
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
        self.reply.text = "".join(self._parts)
        self.reply.model = without_key(self.reply.model, self._key)
        self.reply.service_tier = without_key(self.reply.service_tier, self._key)
        self.reply.duration_seconds = self.seconds
        return self.reply

    def _judge(self, outcome: CallOutcome, reason: str) -> None:
        self._judged = True
        self.reply.outcome, self.reply.reason = outcome, one_line(without_key(reason, self._key))


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
            or "error" in event
        )
    except (KeyError, TypeError, ValueError):
        return ""
    return text if isinstance(text, str) and not more else ""


def _usage(raw: dict[str, Any]) -> TokenUsage | None:
    details_in, details_out = raw.get("prompt_tokens_details") or {}, raw.get("completion_tokens_details") or {}
    counts = (
        raw.get("prompt_tokens"),
        details_in.get("cached_tokens") or 0,
        raw.get("completion_tokens"),
        details_out.get("reasoning_tokens") or 0,
    )
    valid = [count for count in counts if isinstance(count, int) and count >= 0]
    return TokenUsage(*valid) if len(valid) == len(counts) else None


def one_line(text: str) -> str:
    """The text in one line, cut for a reason."""
    return " ".join(text.split())[:_REASON_CHARACTERS]

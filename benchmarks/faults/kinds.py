"""The faults, by the names of wanted.tsv. A fault answers one call; `at` is the section in which it happens."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from itertools import count
from typing import Any, Final, Literal

from benchmarks.faults.reported import REPORTED
from benchmarks.faults.server import Call, Fault, Good, Line, answer_well, answer_with, completion, counted
from lesson.models import SectionName
from offline_model.brackets import plain

END: Final = "end"
"""The position after all sections."""
_HUGE_CHARACTERS: Final = 3_000_000
_WAIT_SECONDS: Final = 1.0
_WAIT_MS: Final = 700
_REQUESTS = count(1)
"""Providers put a new request id into each message; the fault stays the same one."""

Place = Literal["before", "inside", "after"]


# --- transport ----------------------------------------------------------------------------------------------------


async def no_response(line: Line, _call: Call, _good: Good) -> None:
    await line.silence()


async def slow_first_token(line: Line, call: Call, _good: Good) -> None:
    """Sends the head at once and the text after every limit."""
    await line.begin("text/event-stream" if call.streamed else "application/json")
    if call.streamed:
        await line.event({"role": "assistant", "content": ""})
    await line.silence()


async def comments_for_ever(line: Line, call: Call, _good: Good) -> None:
    """Keeps the connection alive without an answer: comments in a stream, white space before a body."""
    await line.begin("text/event-stream" if call.streamed else "application/json")
    while line.open:
        await line.chunk(b": still here\n\n" if call.streamed else b"  \n")
        await asyncio.sleep(0.05)


async def cut_at_the_start(line: Line, _call: Call, _good: Good) -> None:
    line.cut()


async def reset_at_the_start(line: Line, _call: Call, _good: Good) -> None:
    await line.reset()


async def stall(line: Line, call: Call, good: Good, at: str) -> None:
    await _beginning(line, call, good, at, "inside")
    await line.silence()


async def cut(line: Line, call: Call, good: Good, at: str, place: Place) -> None:
    if not call.streamed and place == "before":
        line.cut()
        return
    await _beginning(line, call, good, at, place)
    line.cut()


async def no_end(line: Line, call: Call, good: Good, at: str) -> None:
    """Ends the HTTP response without finish reason and [DONE]."""
    await _beginning(line, call, good, at, "inside")
    await line.end()


async def reset(line: Line, call: Call, good: Good, at: str) -> None:
    await _beginning(line, call, good, at, "inside")
    await line.reset()


async def length(line: Line, call: Call, good: Good, at: str) -> None:
    text = good.text
    await answer_with(
        line, call, text[: _offset(text, good, at, "inside")] if call.streamed else text[: len(text) // 2], "length"
    )


async def _beginning(line: Line, call: Call, good: Good, at: str, place: Place) -> None:
    """The answer as far as that place."""
    await line.begin("text/event-stream" if call.streamed else "application/json")
    if call.streamed:
        await line.event({"role": "assistant", "content": ""})
        await line.pieces(good.text[: _offset(good.text, good, at, place)])
        return
    body = completion(call, good.text)
    await line.chunk(body if place == "after" else body[: len(body) // 2])


def _early(good: Good) -> str:
    """The section where a fault in the middle of a Stage 1 answer happens: the reading, so that a part precedes it."""
    return "reading" if "reading" in good.value else next(iter(good.value))


def _offset(text: str, good: Good, at: str, place: Place) -> int:
    """The offset of a place in a Stage 1 answer: after the quote that opens the section's key, in the middle of its
    value, or right after the value."""
    if at == END:
        return len(text)
    value = json.dumps(good.value[at], ensure_ascii=False)
    start = text.index(f'"{at}": {value}')
    end = start + len(f'"{at}": {value}')
    return {"before": start + 1, "inside": end - len(value) // 2, "after": end}[place]


# --- error answers -------------------------------------------------------------------------------------------------


async def refused_by(
    line: Line,
    call: Call,
    _good: Good,
    *,
    status: int,
    message: str,
    code: str | None = None,
    headers: Callable[[Call], dict[str, str]] = lambda _call: {},
) -> None:
    """An error body as OpenAI's."""
    text = message.format(request=next(_REQUESTS))
    body = json.dumps({"error": {"message": text, "type": "error", "param": None, "code": code}}).encode()
    await line.whole(body, status, headers=headers(call))


def _in_seconds(call: Call) -> dict[str, str]:
    call.not_before = time.time() + _WAIT_SECONDS
    return {"Retry-After": f"{_WAIT_SECONDS:g}"}


def _by_date(call: Call) -> dict[str, str]:
    until = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    call.not_before = until.timestamp()
    return {"Retry-After": format_datetime(until, usegmt=True)}


def _in_milliseconds(call: Call) -> dict[str, str]:
    # Both, as OpenAI's servers send them: the finer one counts.
    call.not_before = time.time() + _WAIT_MS / 1000
    return {"retry-after-ms": str(_WAIT_MS), "Retry-After": "1"}


def _in_an_hour(call: Call) -> dict[str, str]:
    call.not_before = time.time() + 3600
    return {"Retry-After": "3600"}


async def bad_gateway(line: Line, _call: Call, _good: Good) -> None:
    await line.whole(b"<html><h1>502 Bad Gateway</h1></html>", 502, "text/html")


async def html_page(line: Line, _call: Call, _good: Good) -> None:
    """A sign-in page in place of the provider."""
    await line.whole(b"<!doctype html><title>Sign in</title><p>Sign in to the network.", 200, "text/html")


async def then_fine(line: Line, call: Call, good: Good) -> None:
    if call.number == 1:
        await refused_by(line, call, good, status=503, message="The server is overloaded, request {request}.")
    else:
        await answer_well(line, call, good)


# --- answers that are wrong as a whole ----------------------------------------------------------------------------


async def empty(line: Line, call: Call, _good: Good) -> None:
    await answer_with(line, call, "")


async def reasoning_ate_it(line: Line, call: Call, _good: Good) -> None:
    spent = {"completion_tokens": call.limit, "completion_tokens_details": {"reasoning_tokens": call.limit}}
    used = counted(call, "") | spent
    await answer_with(line, call, "", "length", used)


async def prose(line: Line, call: Call, _good: Good) -> None:
    await answer_with(line, call, "Here is your lesson! I hope that your students enjoy it.")


async def fenced(line: Line, call: Call, good: Good) -> None:
    await answer_with(line, call, f"Sure, here it is:\n\n```json\n{good.text}\n```\n\nTell me if you need another one.")


async def duplicate_keys(line: Line, call: Call, good: Good) -> None:
    """The first key a second time, with another value."""
    key = next(iter(good.value))
    other = json.dumps(_altered(good.value[key]), ensure_ascii=False)
    await answer_with(line, call, f'{good.text[:-1]}, "{key}": {other}}}')


async def two_objects(line: Line, call: Call, good: Good) -> None:
    other = json.dumps(_altered(good.value), ensure_ascii=False)
    await answer_with(line, call, f"{good.text}\n\nOn second thoughts:\n\n{other}")


async def extra_items(line: Line, call: Call, good: Good) -> None:
    if call.streamed:
        await answer_with(line, call, json.dumps({"bonus": {"text": "犬"}, **good.value}, ensure_ascii=False))
        return
    items = [{"id": "999", "furigana": "猫[ねこ]", "translation": "A cat."}, *good.value["items"]]
    await _with(line, call, good, items=items)


async def huge(line: Line, call: Call, good: Good) -> None:
    """About a hundred times the longest possible answer."""
    value = deepcopy(good.value)
    key = _early(good)
    value[key] = {"text": "あ" * _HUGE_CHARACTERS}
    text = json.dumps(value, ensure_ascii=False)
    if not call.streamed:
        await answer_with(line, call, text, usage=None)
        return
    await line.begin()
    for start in range(0, len(text), 20_000):
        await line.event({"content": text[start : start + 20_000]})
    await line.finish(text, usage=None)


async def invalid_utf8(line: Line, call: Call, good: Good) -> None:
    """A byte that is invalid in UTF-8, in the middle of the answer."""
    if not call.streamed:
        body = completion(call, good.text)
        await line.whole(body[: len(body) // 2] + b"\xff" + body[len(body) // 2 :])
        return
    key = _early(good)
    await line.begin()
    await line.pieces(good.text[: _offset(good.text, good, key, "inside")])
    await line.chunk(b'data: {"choices": [{"index": 0, "delta": {"content": "\xff\xfe"}, "finish_reason": null}]}\n\n')
    await line.pieces(good.text[_offset(good.text, good, key, "inside") :])
    await line.finish(good.text)


async def wrong_content_type(line: Line, call: Call, good: Good) -> None:
    """Only the Content-Type is wrong."""
    if not call.streamed:
        await line.whole(completion(call, good.text), kind="text/plain")
        return
    await line.begin("application/json")
    await line.pieces(good.text)
    await line.finish(good.text)


async def error_event(line: Line, _call: Call, good: Good) -> None:
    """After status 200 the provider fails: an error arrives as an event of the stream."""
    await line.begin()
    await line.pieces(good.text[: _offset(good.text, good, _early(good), "inside")])
    error = {"message": f"The server had an error, request {next(_REQUESTS)}.", "type": "server_error", "code": None}
    await line.chunk(b"data: " + json.dumps({"error": error}).encode() + b"\n\n")
    await line.end()


async def refusal(line: Line, call: Call, _good: Good) -> None:
    await answer_with(line, call, "", refusal="I'm sorry, I can't help with that.")


async def content_filter(line: Line, call: Call, good: Good) -> None:
    at = _offset(good.text, good, _early(good), "inside") if call.streamed else len(good.text) // 2
    await answer_with(line, call, good.text[:at], "content_filter")


async def usage(line: Line, call: Call, good: Good, reported: object) -> None:
    await answer_with(line, call, good.text, usage=reported)


# --- answers with a fault inside -------------------------------------------------------------------------------------


async def wrong_schema(line: Line, call: Call, good: Good, at: str) -> None:
    """A number where a section belongs; an object where the items belong."""
    if call.streamed:
        await _with(line, call, good, **{at: 7})
    else:
        await _with(line, call, good, items={entry["id"]: entry["translation"] for entry in good.value["items"]})


async def too_long(line: Line, call: Call, good: Good, at: str) -> None:
    """A section four times as long as the longest built-in one, otherwise correct."""
    await _with(line, call, good, **{at: {**good.value[at], "text": "これは長い文です。" * 300}})


async def missing_items(line: Line, call: Call, good: Good, at: str) -> None:
    """Leaves out the section, or the last item unless it is the only one."""
    if call.streamed:
        text = json.dumps({key: value for key, value in good.value.items() if key != at}, ensure_ascii=False)
        await answer_with(line, call, text)
        return
    items = good.value["items"]
    await _with(line, call, good, items=items[:-1] if len(items) > 1 else items)


async def altered_stage1(line: Line, call: Call, good: Good, whole: Mapping[str, Any]) -> None:
    """Leaves a section out; asked for that section alone, rewrites all of them."""
    if call.number == 1:
        await missing_items(line, call, good, "culture")
    else:
        await answer_with(line, call, json.dumps(_altered(dict(whole)) | good.value, ensure_ascii=False))


async def altered_review(line: Line, call: Call, good: Good) -> None:
    """Corrects a word that does not occur in the section."""
    corrections = [{"id": entry["id"], "word": "縄文杉", "reading": "じょうもんすぎ"} for entry in good.value["items"]]
    await _with(line, call, good, corrections=corrections)


async def altered_brackets(line: Line, call: Call, good: Good) -> None:
    """Writes the brackets of another sentence for the first item."""
    await _edited(line, call, good, lambda items: items[0].update(furigana="犬[いぬ]が嫌[きら]いです。"))


async def wrong_kana_review(line: Line, call: Call, good: Good) -> None:
    """Corrects the first word to a reading that it does not have."""
    shown = json.loads(_user_text(call).partition("<data>\n")[2].partition("\n</data>")[0])["items"]
    read = [item for item in shown if item.get("want", True) and "[" in item["text"]]
    if not read:  # a re-ask for an item without a reading
        await answer_well(line, call, good)
        return
    item = read[0]
    word = _last_run(item["text"].partition("[")[0])
    await _with(line, call, good, corrections=[{"id": item["id"], "word": word, "reading": "にゃ"}])


async def wrong_kana(line: Line, call: Call, good: Good, times: int) -> None:
    """Gives an impossible reading to `times` words of one item."""

    def spoil(items: list[dict[str, Any]]) -> None:
        entry = next((item for item in items if item["furigana"].count("[") >= 2), items[0])
        first, *rest = entry["furigana"].split("[")
        spoilt = [f"にゃ]{part.partition(']')[2]}" if number < times else part for number, part in enumerate(rest)]
        entry["furigana"] = "[".join([first, *spoilt])

    await _edited(line, call, good, spoil)


async def placeholder(line: Line, call: Call, good: Good) -> None:
    await _edited(line, call, good, lambda items: items[0].update(translation="[translation pending]"))


async def answered_twice(line: Line, call: Call, good: Good) -> None:
    await _edited(line, call, good, lambda items: items.append({**items[0], "translation": "Quite another thing."}))


async def _edited(line: Line, call: Call, good: Good, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    items = deepcopy(good.value["items"])
    if items:
        edit(items)
    await _with(line, call, good, items=items)


async def _with(line: Line, call: Call, good: Good, **changed: object) -> None:
    await answer_with(line, call, json.dumps({**good.value, **changed}, ensure_ascii=False))


def _altered(value: Any) -> Any:
    """The same value with every sentence changed."""
    if isinstance(value, str):
        return value.replace("。", "！").replace(".", "!")
    if isinstance(value, list):
        return [_altered(member) for member in value]
    if isinstance(value, dict):
        return {key: _altered(member) for key, member in value.items()}
    return value


def _user_text(call: Call) -> str:
    return str(json.loads(call.raw)["messages"][-1]["content"])


def _last_run(text: str) -> str:
    """The kanji right before a bracket."""
    start = len(text)
    while start and "一" <= text[start - 1] <= "鿿":
        start -= 1
    return plain(text[start:])


# --- by name --------------------------------------------------------------------------------------------------------

REFUSED: Final = "refused"
"""The one fault that is not an answer: the port closes while a faulty attempt is in flight."""

_LIMITED = partial(refused_by, status=429, message="Used {request}00 of 30000 tokens.")

_ERRORS: Mapping[str, Fault] = {
    "400": partial(refused_by, status=400, message="Invalid value for a parameter.", code="invalid_value"),
    "401": partial(refused_by, status=401, message="Incorrect API key provided.", code="invalid_api_key"),
    "404": partial(refused_by, status=404, message="The model does not exist.", code="model_not_found"),
    "408": partial(refused_by, status=408, message="Request {request} timed out."),
    "429 without": partial(_LIMITED, code="rate_limited"),
    "429 seconds": partial(_LIMITED, headers=_in_seconds),
    "429 date": partial(_LIMITED, headers=_by_date),
    "429 ms": partial(_LIMITED, headers=_in_milliseconds),
    "429 an hour": partial(_LIMITED, headers=_in_an_hour),
    "quota": partial(refused_by, status=429, message="You exceeded your current quota.", code="insufficient_quota"),
    "500": partial(refused_by, status=500, message="The server had an error, request req_{request}."),
    "502": bad_gateway,
    "503 then fine": then_fine,
    "html page": html_page,
}

_WAYS: Mapping[str, Fault] = {
    "no response": no_response,
    "slow first token": slow_first_token,
    "comments for ever": comments_for_ever,
    "cut at the start": cut_at_the_start,
    "reset at the start": reset_at_the_start,
}

_ANSWERS: Mapping[str, Fault] = {
    "empty": empty,
    "reasoning ate it": reasoning_ate_it,
    "prose": prose,
    "fenced JSON": fenced,
    "duplicate keys": duplicate_keys,
    "two objects": two_objects,
    "extra items": extra_items,
    "huge": huge,
    "invalid UTF-8": invalid_utf8,
    "wrong content type": wrong_content_type,
    "refusal": refusal,
    "content filter": content_filter,
    "usage absent": partial(usage, reported=None),
    "usage lies": partial(usage, reported={"prompt_tokens": -5, "completion_tokens": "many"}),
    "usage absurd": partial(usage, reported={"prompt_tokens": 1000, "completion_tokens": 10**9}),
}

_BY_SECTION: Mapping[str, Callable[..., Any]] = {
    "stall": stall,
    "cut before": partial(cut, place="before"),
    "cut inside": partial(cut, place="inside"),
    "cut after": partial(cut, place="after"),
    "no end": no_end,
    "reset": reset,
    "length": length,
    "wrong schema": wrong_schema,
    "too long": too_long,
    "missing items": missing_items,
}

_STAGE2_ALONE: Mapping[str, Fault] = {
    "altered Japanese": altered_review,
    "altered Japanese, mode model": altered_brackets,
    "wrong kana": wrong_kana_review,
    "wrong kana, mode model": partial(wrong_kana, times=1),
    "wrong kana twice, mode model": partial(wrong_kana, times=2),
    "placeholder": placeholder,
    "answered twice": answered_twice,
}

ANYWHERE: Final[Mapping[str, Fault]] = {**_WAYS, **_ERRORS, **_ANSWERS, **REPORTED}
"""Faults of a whole answer, of either stage."""


def stage1_fault(name: str, position: str, whole: Mapping[str, Any]) -> Fault:
    """The fault for Stage 1's calls. A call that does not ask for the section at `position` gets a good answer.

    `whole` is the lesson as Stage 1 writes it. Raises KeyError for a fault that Stage 1 does not have.
    """
    if name == "altered Japanese":
        return partial(altered_stage1, whole=whole)
    if name == "error event":
        return error_event
    if name not in _BY_SECTION:
        return ANYWHERE[name]
    play, at = _BY_SECTION[name], position if position == END else SectionName(position).json_key

    async def there(line: Line, call: Call, good: Good) -> None:
        if at == END or at in good.value:
            await play(line, call, good, at)
        else:
            await answer_well(line, call, good)

    return there


def stage2_fault(name: str) -> Fault:
    """The fault for Stage 2's calls. Raises KeyError for a fault that Stage 2 does not have."""
    if name in _BY_SECTION:
        return partial(_BY_SECTION[name], at="")
    return _STAGE2_ALONE.get(name) or ANYWHERE[name]

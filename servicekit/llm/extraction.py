"""What of a language model's answer is accepted as JSON: complete, balanced, unambiguous, and nothing else.

`extract` reads a whole answer; `SectionStream` reads it while it is written and hands out each top-level value once it
is sure, and reads the whole again at the end. Syntax is repaired only where the meaning cannot change (json_lossless);
nothing is ever completed on the model's behalf. Pure: no I/O but in the command at the end, no model of any lesson.

Why the client reads bodies itself: docs/adr/0005-reading-model-answers.md.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from servicekit.llm.json_lossless import ODD_SPACE, OPEN_QUOTES, read_value
from servicekit.llm.json_scanner import (
    ENVELOPES,
    MAX_CANDIDATES,
    REASONING_TAG,
    Event,
    RootScanner,
    begins_inside_an_object,
    end_of_reasoning,
)
from servicekit.llm.json_strict import MAX_CHARS, TOO_LARGE, ExtractError, Parsed, strict_loads

__all__ = ["MAX_CHARS", "ExtractError", "Extracted", "Section", "SectionStream", "extract", "strict_loads"]


@dataclass(frozen=True)
class Extracted:
    """An accepted answer.

    `value` holds the wanted keys that were there, in their order; others are dropped with a note `ignored_key:...`.
    `notes` names each repair. `span` is (start, end) of the outermost object in the text, in characters.
    """

    value: dict[str, Any]
    notes: tuple[str, ...]
    span: tuple[int, int]


@dataclass(frozen=True)
class Section:
    """One top-level value, certain at this point of the text. `at`: the offset after the character that settled it."""

    key: str
    value: Any
    notes: tuple[str, ...]
    at: int


# --- a whole answer ------------------------------------------------------------------------------------------


def extract(text: str, keys: Collection[str], finish_reason: str = "stop") -> Extracted:
    """The one object in `text` that has any of `keys` at its top level.

    Prose, code fences and reasoning around it are skipped; envelopes of one key (lesson, data, result, output,
    response) and lists of one element are unwrapped. Keys may be missing, that is for the caller to judge; but not with
    another key in their place that is spelt much alike (`unexpected_key`).

    Raises ExtractError. `finish_reason` other than "stop" is itself the reason (`length`, `content_filter`, ...);
    else one of truncated, no_json, ambiguous, duplicate_key, elision, bracket_mismatch, missing_comma_or_stray_quote,
    bad_escape, unexpected_*, lone_surrogate, non_finite, too_large, too_deep, content_after_root, empty_section.
    """
    wanted = _checked(keys)
    if finish_reason != "stop":
        raise ExtractError(finish_reason or "unfinished", "the model did not finish its answer", len(text))
    if len(text) > MAX_CHARS:
        raise ExtractError("too_large", TOO_LARGE, MAX_CHARS)
    return _RootSearch(text, wanted).run()


def _checked(keys: Collection[str]) -> frozenset[str]:
    if isinstance(keys, str):
        raise TypeError("keys is a collection of strings, not one string")
    if not keys:
        raise ValueError("at least one key must be wanted")
    return frozenset(keys)


_GAP = rf"(?:[\s{ODD_SPACE}]|//[^\n]{{0,400}}\n|#[^\n]{{0,400}}\n|/\*(?s:.{{0,400}}?)\*/)*+"
_OPENERS = re.compile(rf"[{{｛]|{REASONING_TAG.pattern}", re.IGNORECASE)
# A brace in prose ({reading}, {...}) opens no object; a quote, or a word with a colon or stray quote after it, does.
_OPENS_OBJECT = re.compile(rf"[{{｛]{_GAP}(?:[{OPEN_QUOTES}']|[A-Za-z_$][A-Za-z0-9_$-]*+{_GAP}[:：\"'])")
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{\[｛［]|[}\]｝］]', re.DOTALL)
_BEFORE_ROOT = re.compile(rf"([\[［])[\s{ODD_SPACE}]*\Z")
_LIST_END = re.compile(rf"[\s{ODD_SPACE}]*[,，]?[\s{ODD_SPACE}]*[\]］]")
_AFTER_ROOT = re.compile(
    rf"[\s{ODD_SPACE}]*+(?:(?P<closer>[}}｝\]］])|(?P<more>[,:，：]|[{OPEN_QUOTES}'][^\n]{{1,100}}?[\"'”]\s*[:：]))"
)
# Two closing brackets of a kind, and then more: if the second is the stray one, what follows has moved up a level.
# Brackets in strings are taken for the same, which errs on the safe side.
_CLOSERS_THEN_MORE = re.compile(r"[}｝]\s*[}｝]\s*[,，]|[\]］]\s*[\]］]\s*[,，]")


@dataclass(frozen=True)
class _Root:
    members: dict[str, Any]
    notes: tuple[str, ...]
    start: int
    end: int


class _RootSearch:
    """One pass over a text, from object to object. `run` is called once."""

    def __init__(self, text: str, wanted: frozenset[str]) -> None:
        self._text = text
        self._wanted = wanted
        names = "|".join(re.escape(key) for key in wanted)
        self._any_mention = re.compile(rf"(?<!\w)(?:{names})[\"'“”＂]?\s*[:：]")
        # After the root: a wanted key in quotes, were it only the closing one, or a bare one with a value.
        self._more = re.compile(rf"(?<!\w)(?:{names})(?:[\"'“”＂]\s*[:：]|\s*[:：]\s*[\[{{［｛{OPEN_QUOTES}'])")
        self._answer_begins = 0  # after the reasoning, if it was not opened by a tag
        self._candidates = 0
        self._roots: list[_Root] = []
        self._passed: list[tuple[int, int]] = []  # spans that are not prose
        self._truncated: ExtractError | None = None

    def run(self) -> Extracted:
        position = 0
        while opener := _OPENERS.search(self._text, position):
            position = self._tag(opener) if opener["name"] else self._brace(opener.start())
            self._passed.append((opener.start(), position))
        if not self._roots:
            raise self._truncated or ExtractError("no_json", "no object with a wanted key", len(self._text))
        self._refuse_second_answer()
        return self._accepted(self._roots[0])

    def _tag(self, tag: re.Match[str]) -> int:
        """Skip reasoning. A closing tag alone ends what the chat template opened: all before it was draft."""
        if tag["close"]:
            self._roots.clear()
            self._passed.clear()
            self._answer_begins = tag.end()
            return tag.end()
        end = end_of_reasoning(tag["name"]).search(self._text, tag.end())
        if end is None:
            raise ExtractError("truncated", "the reasoning never ends", tag.start())
        return end.end()

    def _brace(self, start: int) -> int:
        """Read what a brace opens; the position from which to search on."""
        if not _OPENS_OBJECT.match(self._text, start):
            return start + 1
        self._candidates += 1
        if self._candidates > MAX_CANDIDATES:
            raise ExtractError("no_json", f"more than {MAX_CANDIDATES} objects", start)
        try:
            parsed = read_value(self._text, start)
        except ExtractError as error:
            return self._broken(start, error)
        members, envelopes = _unwrapped(parsed.value, self._wanted)
        if self._wanted.isdisjoint(members):
            return parsed.end
        return self._root(start, parsed, members, envelopes)

    def _broken(self, start: int, error: ExtractError) -> int:
        """A broken object that mentions a wanted key is the answer, broken: no smaller fragment of it is."""
        end = _end_of_broken(self._text, start)
        if self._any_mention.search(self._text, start, end):
            raise error
        if error.reason == "truncated":
            self._truncated = error
        return end

    def _root(self, start: int, parsed: Parsed, members: dict[str, Any], envelopes: tuple[str, ...]) -> int:
        if begins_inside_an_object(self._text, start):
            raise ExtractError("no_json", "the text begins inside an object: its opening brace is missing", start)
        outer_start, outer_end, lists = self._out_of_lists(start, parsed.end)
        stray = self._refuse_continuation(start, outer_end, strict=not parsed.notes)
        notes = (*parsed.notes, *lists, *envelopes, *stray)
        self._roots.append(_Root(members, notes, outer_start, outer_end))
        return outer_end

    def _out_of_lists(self, start: int, end: int) -> tuple[int, int, tuple[str, ...]]:
        """Step out of the one-element lists around (start, end)."""
        notes: tuple[str, ...] = ()
        while opener := _BEFORE_ROOT.search(self._text[max(0, start - 200) : start]):
            closer = _LIST_END.match(self._text, end)
            if closer is None:
                more = self._text[end:].lstrip()
                reason = "content_after_root" if more.startswith((",", "，")) else "truncated"
                raise ExtractError(reason, "the list around the object does not end after it", end)
            start, end = max(0, start - 200) + opener.start(), closer.end()
            notes = ("one_element_list",)
        return start, end, notes

    def _refuse_continuation(self, start: int, end: int, *, strict: bool) -> tuple[str, ...]:
        """What follows the root must not look like more of it: then the root was closed too early."""
        follows = _AFTER_ROOT.match(self._text, end)
        if follows is None:
            return ()
        if follows["more"]:
            raise ExtractError("content_after_root", "JSON goes on after the root has closed", end)
        if not (strict and follows["closer"] in "}]" and self._is_harmless_closer(start, end, follows.end())):
            raise ExtractError("bracket_mismatch", f"a stray {follows['closer']!r} after the root", follows.end() - 1)
        return ("stray_brace" if follows["closer"] == "}" else "stray_bracket",)

    def _is_harmless_closer(self, start: int, end: int, after: int) -> bool:
        """Whether the one bracket too many can stand nowhere but at the end.

        It may also be one of two that close in a row within the root; and if the text before the root has a bracket or
        a key, it may belong there.
        """
        before = self._text[self._answer_begins : start]
        if "{" in before or "[" in before or '":' in before.replace(" ", "") or _AFTER_ROOT.match(self._text, after):
            return False
        return not _CLOSERS_THEN_MORE.search(self._text, start, end)

    def _refuse_second_answer(self) -> None:
        first = self._roots[0]
        for other in self._roots[1:]:
            if not _same(first.members, other.members):
                raise ExtractError("ambiguous", "two different objects with wanted keys", other.start)
        for start, end in self._prose_after(first.end):
            if mention := self._more.search(self._text, start, end):
                detail = f"{mention.group()} after the root has closed"
                raise ExtractError("content_after_root", detail, mention.start())

    def _prose_after(self, position: int) -> Iterator[tuple[int, int]]:
        for start, end in self._passed:
            if start >= position:
                yield position, start
            position = max(position, end)
        yield position, len(self._text)

    def _accepted(self, root: _Root) -> Extracted:
        value = {key: root.members[key] for key in root.members if key in self._wanted}
        for key, section in value.items():
            if _is_empty(section):
                raise ExtractError("empty_section", key, root.start)
        self._refuse_misspelt(root)
        notes = [*root.notes, *(f"ignored_key:{key[:40]}" for key in root.members if key not in value)]
        if len(self._roots) > 1:
            notes.append("repeated")
        return Extracted(value, tuple(dict.fromkeys(notes)), (root.start, root.end))

    def _refuse_misspelt(self, root: _Root) -> None:
        """A missing section and a key much like its name: dropping that key would lose the section without a word."""
        missing = {_letters(key): key for key in self._wanted.difference(root.members)}
        for key in root.members:
            if key not in self._wanted and (near := difflib.get_close_matches(_letters(key), missing, 1, cutoff=0.8)):
                detail = f"the key {key[:40]!r} where {missing[near[0]]!r} is missing"
                raise ExtractError("unexpected_key", detail, root.start)


def _letters(key: str) -> str:
    return re.sub(r"[\W_]", "", key).lower()


def _unwrapped(value: Any, wanted: frozenset[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(the object inside the envelopes or {}, a note for each)."""
    notes: list[str] = []
    while True:
        if isinstance(value, list) and len(value) == 1:
            notes.append("one_element_list")
            value = value[0]
        elif isinstance(value, dict) and len(value) == 1 and (key := next(iter(value))) in ENVELOPES - wanted:
            notes.append(f"envelope:{key}")
            value = value[key]
        else:
            return (value, tuple(notes)) if isinstance(value, dict) else ({}, ())


def _end_of_broken(text: str, start: int) -> int:
    """Where a broken object would end if only its brackets were right; the end of the text if they are not."""
    depth = 0
    for token in _BRACKETS.finditer(text, start):
        char = token.group()[0]
        depth += (char in "{[｛［") - (char in "}]｝］")
        if depth == 0:
            return token.end()
    return len(text)


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _same(one: Any, other: Any) -> bool:
    """Equality that distinguishes 1, True and 1.0."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# --- an answer while it is written ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pending:
    """A value that is read and waits for what follows to confirm where it ended.

    `may_end_early`: in it or at its end two brackets of a kind close in a row, one of which may be one too many. Then
    the quote after the next comma may open a key that belongs inside of it; only a wanted key proves the contrary.
    `doubted`: more followed those two brackets. Then the closing brace of the root proves nothing either, because it
    may be the value's own.
    """

    key: str
    value: Any
    notes: tuple[str, ...]
    may_end_early: bool
    doubted: bool

    def confirmed_by(self, event: Event, keys: Collection[str]) -> bool:
        if event.kind == "key_opens":
            return not self.may_end_early
        if event.kind == "key":
            return event.key in keys
        return event.kind == "root_closed" and not self.doubted


def _pending(key: str, parsed: Parsed, slice_: str) -> _Pending:
    """Only an object right inside of an object, or a list in a list, can be ended by a stray bracket: through brackets
    of the other kind it would be a mismatch."""
    children = parsed.value.values() if isinstance(parsed.value, dict) else parsed.value
    alike = isinstance(parsed.value, (dict, list)) and any(isinstance(child, type(parsed.value)) for child in children)
    more_inside = alike and _CLOSERS_THEN_MORE.search(slice_) is not None
    more_may_follow = alike and slice_[:-1].rstrip()[-1:] == slice_[-1]
    return _Pending(key, parsed.value, parsed.notes, more_inside or more_may_follow, doubted=more_inside)


class SectionStream:
    """Reads one attempt's answer as it arrives; make a new one for each attempt.

    `feed` hands out each wanted top-level value when the next key or the closing brace of the root has confirmed it.
    What is handed out is sure for the text so far, but not final: `finish` reads the whole, raises if that is not
    acceptable, and never differs from what was handed out without raising `section_conflict`. After an ExtractError
    `released` still holds what was handed out.
    """

    def __init__(self, keys: Collection[str]) -> None:
        self._keys = _checked(keys)
        self._scanner = RootScanner(self._keys)
        self._pending: _Pending | None = None
        self._released: dict[str, Any] = {}
        self._room = MAX_CHARS
        self._finished = False

    @property
    def released(self) -> Mapping[str, Any]:
        """What was handed out so far, by key: a live, read-only view."""
        return MappingProxyType(self._released)

    def feed(self, delta: str) -> list[Section]:
        """Take the next piece of text, of any length. The sections it made sure: nearly always none.

        The sections do not depend on how the text is cut. Never raises for what the text holds. Beyond MAX_CHARS
        nothing is read any more, and `finish` refuses the whole.
        """
        if self._finished:
            raise RuntimeError("the stream has finished: a new attempt needs a new SectionStream")
        events = self._scanner.feed(delta[: self._room])
        if len(delta) > self._room:
            self._scanner.stop()
            self._scanner.feed(delta[self._room :])
        self._room = max(0, self._room - len(delta))
        return self._confirmed_by(events) if events else []

    def finish(self, finish_reason: str) -> Extracted:
        """Read the whole text: `extract`, with the same errors, and `section_conflict` if it disagrees with a section.

        `finish_reason` is the provider's; anything but "stop" is refused under that name.
        """
        self._finished = True
        extracted = extract(self._scanner.text(), self._keys, finish_reason)
        for key, value in self._released.items():
            if key not in extracted.value or not _same(value, extracted.value[key]):
                raise ExtractError("section_conflict", f"{key} was released with another value", extracted.span[0])
        return extracted

    def _confirmed_by(self, events: Sequence[Event]) -> list[Section]:
        sections: list[Section] = []
        for event in events:
            if event.kind == "value":
                if event.key in self._keys and not self._read(event):
                    break
            elif self._pending is not None:
                self._settle(self._pending, event, sections)
        return sections

    def _settle(self, pending: _Pending, event: Event, sections: list[Section]) -> None:
        if pending.confirmed_by(event, self._keys):
            self._released[pending.key] = pending.value
            sections.append(Section(pending.key, pending.value, pending.notes, event.at))
            self._pending = None
        elif event.kind == "key":
            self._pending = replace(pending, doubted=True)

    def _read(self, event: Event) -> bool:
        """Parse the slice of a wanted value; if it is broken, nothing after it can be trusted either."""
        slice_ = self._scanner.text(event.start, event.at)
        try:
            parsed = read_value(slice_, part=True)
        except ExtractError:
            parsed = None
        if parsed is None or parsed.end != len(slice_):
            self._scanner.stop()
            return False
        # An empty value is handed out as it stands; `finish` refuses the whole, and no model accepts such a section.
        if not _swallowed(parsed.value, self._keys):
            self._pending = _pending(event.key, parsed, slice_)
        return True


def _swallowed(value: Any, keys: Collection[str]) -> bool:
    """Whether a wanted key stands inside `value`, so that a lost brace may have put the next sections into it.

    Objects inside lists are not looked at: they cannot swallow a section, because the list would have to end first and
    does not while an object in it is open. So `frame.targetWords[].reading` is no reason to hold the frame back.
    """
    if not isinstance(value, dict):
        return False
    return any(key in keys or _swallowed(child, keys) for key, child in value.items())


# --- the command ---------------------------------------------------------------------------------------------

_TEACHING = """\
Reads a model's answer from standard input (UTF-8) and prints one JSON object:

  {"accepted": true,  "value": {...}, "notes": [...], "sections": [...]}
  {"accepted": false, "reason": "truncated", "detail": "...", "sections": [...]}

"sections" are the keys that were released while the text was streaming, in order;
they may be there although the whole is refused. The exit code is 0 for both, 2 for
wrong usage.

examples:
  printf '{"reading": "朝の市場", "grammar": ["は"],}' | python -m servicekit.llm.extraction --keys reading,grammar
  python -m servicekit.llm.extraction --keys reading,dialogue --finish length --chunk 4 < answer.txt
"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m servicekit.llm.extraction",
        description="Say whether a model's answer is accepted as JSON, and which sections a stream of it releases.",
        epilog=_TEACHING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--keys", required=True, type=_keys, metavar="a,b,c", help="the wanted top-level keys")
    parser.add_argument("--finish", default="stop", metavar="REASON", help="the provider's finish reason (stop)")
    parser.add_argument("--chunk", type=_chunk, metavar="N", help="characters in each delta (the whole text in one)")
    return parser.parse_args()


def _keys(argument: str) -> list[str]:
    keys = [key.strip() for key in argument.split(",") if key.strip()]
    if not keys:
        raise argparse.ArgumentTypeError("give at least one key, for example --keys reading,dialogue")
    return keys


def _chunk(argument: str) -> int:
    if not argument.isdecimal() or int(argument) < 1:
        raise argparse.ArgumentTypeError(f"{argument!r} is no positive number of characters")
    return int(argument)


def _main() -> None:
    arguments = _arguments()
    # Bytes that are no UTF-8 become surrogates, and are refused as such inside of a value.
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    size = arguments.chunk or max(1, len(text))
    stream = SectionStream(arguments.keys)
    sections = [s.key for at in range(0, len(text), size) for s in stream.feed(text[at : at + size])]
    answer: dict[str, Any]
    try:
        extracted = stream.finish(arguments.finish)
        answer = {"accepted": True, "value": extracted.value, "notes": extracted.notes, "sections": sections}
    except ExtractError as error:
        answer = {"accepted": False, "reason": error.reason, "detail": error.detail, "sections": sections}
    line = json.dumps(answer, ensure_ascii=False) + "\n"
    sys.stdout.buffer.write(line.encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    _main()

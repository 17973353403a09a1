"""Furigana: ruby over kanji runs, word by word, and its bracket form for models, 食[た]べ物[もの]."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from enhancer_service.japanese.align import align
from enhancer_service.japanese.script import BASE, DIGIT, is_ruby, takes_ruby
from enhancer_service.japanese.token import Token
from lesson.models import FuriganaSegment

Segments = tuple[FuriganaSegment, ...]

_BASES = re.compile(BASE)
_RUN_END = re.compile(rf"{BASE}(?=[\[［])")
_SEPARATOR_END = re.compile(rf"(?<=[{DIGIT}])[,，.．:：](?=\[\]|［］)")
_GROUP = re.compile(r"[\[［](?P<ruby>[^\[\]［］]*)[\]］]")
_CHAIN = re.compile(r"(?:[\[［][^\[\]［］]*[\]］])+")
_BARE_NUMBER = re.compile(rf"[{DIGIT},，.．]+")
_OPENING: Final = "[［"
_MOST_CHOICES: Final = 20_000  # a text of 10,000 characters needs about 3,000; only nonsense needs more


def segments(tokens: Sequence[Token]) -> Segments:
    """Ruby over kanji, counted digits and letters read as Japanese; the rest plain, neighbouring plain text joined.

    No ruby crosses a word border. A kanji without a known reading stays bare.
    """
    return merge_plain(segment for token in tokens for segment in _of_token(token))


def _of_token(token: Token) -> Iterator[FuriganaSegment]:
    if not takes_ruby(token.surface) or not is_ruby(token.reading) or _BARE_NUMBER.fullmatch(token.surface):
        yield FuriganaSegment(text=token.surface, ruby=None)
        return
    for text, ruby in align(token.surface, token.reading):
        yield FuriganaSegment(text=text, ruby=ruby or None)


def merge_plain(segments: Iterable[FuriganaSegment]) -> Segments:
    """Joins neighbouring plain segments and drops empty ones, so that equal furigana have one form."""
    result: list[FuriganaSegment] = []
    plain: list[str] = []
    for segment in segments:
        if segment.ruby is None:
            plain.append(segment.text)
            continue
        result += _plain(plain)
        plain.clear()
        result.append(segment)
    return (*result, *_plain(plain))


def _plain(parts: list[str]) -> Iterator[FuriganaSegment]:
    text = "".join(parts)
    if text:
        yield FuriganaSegment(text=text, ruby=None)


# --- The bracket form ---------------------------------------------------------------------------------------------


def to_brackets(segments: Iterable[FuriganaSegment]) -> str:
    """食[た]べ物[もの]. An empty pair ends a bare run that would otherwise belong to the next ruby's: DVD[]店[てん].

    `parse_brackets` reads it back when every ruby stands over a whole run, as it does in what `segments` returns.
    """
    result: list[str] = []
    before = ""
    for segment in merge_plain(segments):
        if segment.ruby is None:
            result.append(segment.text)
            before = segment.text
            continue
        if len(_last_run(before + segment.text)) > len(segment.text):
            result.append("[]")
        result.append(f"{segment.text}[{segment.ruby}]")
        before = ""
    return "".join(result)


def parse_brackets(bracketed: str, source: str) -> Segments | None:
    """Reads the bracket form of `source`; ［］ serve as brackets too, and brackets that are the source's own stay text.

    A bracket's kana stand over the run of kanji, digits and letters before it. None when the text without ruby is not
    the source, whose spelling is kept where only the normal form (NFC) differs.
    """
    segments = _parsed(unicodedata.normalize("NFC", bracketed), unicodedata.normalize("NFC", source))
    if segments is None or source == "".join(segment.text for segment in segments):
        return segments
    return _in_source_spelling(segments, source)


@dataclass(frozen=True, slots=True)
class _Walk:
    """Positions in both texts, and the brackets taken as ruby so far."""

    done: int
    place: int
    groups: tuple[re.Match[str], ...]

    @property
    def since(self) -> int:
        return self.groups[-1].end() if self.groups else 0


def _parsed(bracketed: str, source: str) -> Segments | None:
    """Walks both texts; tries both meanings of a bracket that may be ruby or the source's own."""
    walks = [_Walk(0, 0, ())]
    seen: set[tuple[int, int, int]] = set()
    while walks and len(seen) < _MOST_CHOICES:
        walk = _to_next_choice(walks.pop(), bracketed, source)
        if walk.done == len(bracketed) and walk.place == len(source):
            return merge_plain(_segments(bracketed, walk.groups))
        here = (walk.done, walk.place, walk.since)
        if walk.done < len(bracketed) and here not in seen:
            seen.add(here)
            walks += _choices(walk, bracketed, source)
    return None


def _to_next_choice(walk: _Walk, bracketed: str, source: str) -> _Walk:
    """Walks to the next position where the texts differ or a bracket may be ruby."""
    done, place = walk.done, walk.place
    while done < len(bracketed) and source.startswith(bracketed[done], place):
        if bracketed[done] in _OPENING and _ruby_group(bracketed, done, walk.since):
            break
        done, place = done + 1, place + 1
    return _Walk(done, place, walk.groups)


def _choices(walk: _Walk, bracketed: str, source: str) -> list[_Walk]:
    """The possible next steps, the likelier last: a bracket that both texts have is the source's own."""
    result = []
    if source.startswith(bracketed[walk.done], walk.place):
        result.append(_Walk(walk.done + 1, walk.place + 1, walk.groups))
    if group := _ruby_group(bracketed, walk.done, walk.since):
        result.append(_Walk(group.end(), walk.place, (*walk.groups, group)))
    return result[::-1] if _bracket_run(bracketed, walk.done) == _bracket_run(source, walk.place) else result


def _segments(bracketed: str, groups: tuple[re.Match[str], ...]) -> Iterator[FuriganaSegment]:
    since = 0
    for group in groups:
        yield from _with_ruby(bracketed[since : group.start()], group["ruby"])
        since = group.end()
    yield FuriganaSegment(text=bracketed[since:], ruby=None)


def _ruby_group(bracketed: str, place: int, since: int) -> re.Match[str] | None:
    """The brackets that open here if they can be ruby: kana or nothing, right after a run that has none yet.

    Only an empty pair may follow a number's separator, where it ends the run: 3:[]3月[さんがつ].
    """
    if bracketed[place] not in _OPENING or place == since:
        return None
    if not (_RUN_END.match(bracketed, place - 1) or _SEPARATOR_END.match(bracketed, place - 1)):
        return None
    group = _GROUP.match(bracketed, place)
    return group if group and (not group["ruby"] or is_ruby(group["ruby"])) else None


def _bracket_run(text: str, place: int) -> str:
    """The run of bracket pairs that starts here."""
    chain = _CHAIN.match(text, place)
    return chain[0] if chain else ""


def _with_ruby(stretch: str, ruby: str) -> Iterator[FuriganaSegment]:
    base = _last_run(stretch)
    yield FuriganaSegment(text=stretch[: len(stretch) - len(base)], ruby=None)
    yield FuriganaSegment(text=base, ruby=ruby or None)


def _last_run(text: str) -> str:
    """The longest run at the end of the text; empty if the text does not end in one."""
    last = ""
    for match in _BASES.finditer(text):
        last = match[0] if match.end() == len(text) else ""
    return last


def _in_source_spelling(segments: Segments, source: str) -> Segments | None:
    """Applies the cuts to a source that spells some character in two code points (か + voicing mark)."""
    result = []
    place = 0
    for segment in segments:
        end = _end_of(segment.text, source, place)
        if end is None:
            return None
        result.append(FuriganaSegment(text=source[place:end], ruby=segment.ruby))
        place = end
    return tuple(result) if place == len(source) else None


def _end_of(normal: str, source: str, place: int) -> int | None:
    """The end of the stretch of the source with this normal form."""
    for end in range(place + len(normal), min(len(source), place + 4 * len(normal)) + 1):
        if unicodedata.normalize("NFC", source[place:end]) == normal:
            return end
    return None


# --- A model's furigana over the analyser's words -----------------------------------------------------------------


def blocks(tokens: Sequence[Token], proposed: Segments) -> Iterator[tuple[list[Token], list[FuriganaSegment]]]:
    """The shortest runs of tokens that no ruby crosses, each with its part of the furigana.

    Both join to the same text; the tokens may come from the middle of a longer text.
    """
    parts = _Parts(proposed)
    first = tokens[0].start if tokens else 0
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if parts.may_cut(token.end - first):
            yield block, parts.up_to(token.end - first)
            block = []


class _Parts:
    """Yields segments from the left; cuts plain ones anywhere and ruby nowhere."""

    def __init__(self, proposed: Segments) -> None:
        self._waiting = list(reversed(proposed))
        self._place = 0
        self._inside: set[int] = set()
        place = 0
        for segment in proposed:
            end = place + len(segment.text)
            if segment.ruby is not None:
                self._inside.update(range(place + 1, end))
            place = end

    def may_cut(self, place: int) -> bool:
        return place not in self._inside

    def up_to(self, end: int) -> list[FuriganaSegment]:
        result = []
        while self._place < end:
            segment = self._waiting.pop()
            left = end - self._place
            if len(segment.text) > left:
                self._waiting.append(FuriganaSegment(text=segment.text[left:], ruby=None))
                segment = FuriganaSegment(text=segment.text[:left], ruby=None)
            result.append(segment)
            self._place += len(segment.text)
        return result

"""What a model's furigana is worth: a reading the word can have stands, any other gives way to the analyser's.

The checks are 2 to 6 of notes/japanese.md section 5, the fifth in its strict form; the order of authority is that of
design/lesson-content.md "Readings": names the lesson laid down, then for numbers the rules, for the rest the model.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from enhancer_service.japanese import numbers
from enhancer_service.japanese.align import align, spoken
from enhancer_service.japanese.furigana import Segments, blocks, merge_plain, segments
from enhancer_service.japanese.lexicon import Lexicon
from enhancer_service.japanese.reading import Analyser
from enhancer_service.japanese.script import (
    BASE,
    LATIN,
    has_kanji,
    hiragana,
    is_kana,
    is_ruby,
    katakana,
    plain_kana,
    takes_ruby,
)
from enhancer_service.japanese.token import PERSON, Token, joined
from lesson.models import FuriganaSegment

_LONGEST_WORD: Final = 40
_MOST_TOKENS, _LONGEST_RUBY = 6, 40  # that are shared out over words; nobody writes more under one ruby
_LEARNED_WHOLE: Final = frozenset(
    {"今年", "今朝", "果物", "田舎", "土産", "風邪", "七夕", "浴衣", "景色", "眼鏡", "真面目"}
)
"""Whatever else dictionaries have for these (こんねん, がんきょう) is for learners their kanji read one by one."""
_ALSO: Final = {
    "十分": frozenset({"じゅっぷん", "じっぷん"}),
    "一行": frozenset({"いちぎょう", "いっこう"}),
    "その後": frozenset({"そのご"}),
    "この後": frozenset({"このご"}),
}
"""Readings that are right and in none of the dictionaries."""


@dataclass(frozen=True)
class Verdict:
    """The furigana to show, and the analyser's words read as it says.

    `repairs` are the readings that could not stand: "三本: さんほん -> さんぼん (numbers follow the rules)".
    `differences` stand, though the analyser reads otherwise: "人気: ひとけ (analyser: にんき)". What was only laid out
    otherwise (ruby over kana, 食べ物[たべもの] in one piece, digits left bare) is in neither.
    """

    segments: Segments
    tokens: tuple[Token, ...]
    repairs: tuple[str, ...]
    differences: tuple[str, ...]


class Readings:
    """Which readings words and kanji have: the analyser's dictionary knows every form, the lexicon common words."""

    def __init__(self, analyser: Analyser, lexicon: Lexicon) -> None:
        self._analyser = analyser
        self._lexicon = lexicon

    def of(self, surface: str, form: str = "") -> frozenset[str]:
        """Of one word so written, in hiragana; of an inflected word only those in that conjugation form."""
        if len(surface) > _LONGEST_WORD:
            return frozenset()
        return self._analyser.readings(surface, form) | self._lexicon.readings(surface)

    def are_listed(self, name: Token) -> bool:
        """Whether an ordinary dictionary has the name with its readings: a country or a city, not a person."""
        return "人名" not in name.pos and bool(self._lexicon.readings(name.surface))

    def of_kanji(self, kanji: str) -> frozenset[str]:
        """Of one character, whole and without its okurigana."""
        return self._lexicon.kanji_readings(kanji) | self._analyser.readings(kanji)


def judge(source: str, tokens: Sequence[Token], said: Segments, readings: Readings) -> Verdict:
    """Judges what a model said of a text, word by word, against the analyser's words (names bound) of the same text.

    Its own verdict passes unchanged. Raises ValueError if tokens or furigana do not join to the source.
    """
    if not source == _text(said) == "".join(token.surface for token in tokens):
        raise ValueError("tokens and furigana must join to the text")
    court = _Court(tokens, readings)
    rulings = tuple(court.rulings(0, len(tokens), tuple(_tidied(said))))
    return Verdict(
        segments=merge_plain(itertools.chain.from_iterable(ruling.segments for ruling in rulings)),
        tokens=tuple(itertools.chain.from_iterable(ruling.tokens for ruling in rulings)),
        repairs=tuple(ruling.repair for ruling in rulings if ruling.repair),
        differences=tuple(itertools.chain.from_iterable(ruling.differences for ruling in rulings)),
    )


def _text(parts: Iterable[FuriganaSegment]) -> str:
    return "".join(part.text for part in parts)


# --- What was said ------------------------------------------------------------------------------------------------

_ONE_RUN = re.compile(BASE)
_SIGNS: Final = "%％‰℃"
_SAYS_NOTHING = re.compile(rf"{BASE}|[ヶヵ{_SIGNS}]")
_LATIN_ONLY = re.compile(rf"[{LATIN}]+")
_SIGN = re.compile(rf"[{_SIGNS}]")
_SPELT_IN_KATAKANA = re.compile(rf"[{LATIN}{_SIGNS}]")


def _tidied(said: Segments) -> Iterator[FuriganaSegment]:
    """Without ruby over what needs none, and with ruby spelt as it is shown."""
    for part in said:
        readable = takes_ruby(part.text) or _SIGN.fullmatch(part.text)
        if part.ruby is None or not readable or not (part.ruby or has_kanji(part.text)):
            yield FuriganaSegment(text=part.text, ruby=None)
        else:
            yield FuriganaSegment(text=part.text, ruby=_shown(part.text, plain_kana(part.ruby)))


def _shown(base: str, ruby: str) -> str:
    """Ruby is hiragana; over Latin letters, which are read as Japanese writes loans, katakana may be."""
    if _LATIN_ONLY.fullmatch(base):
        return katakana(ruby)
    return ruby if _SPELT_IN_KATAKANA.search(base) else hiragana(ruby)


def _fault(parts: Iterable[FuriganaSegment]) -> str:
    """What is wrong before any dictionary is asked."""
    for part in parts:
        if not part.ruby and has_kanji(part.text):
            return "kanji without a reading"
        if part.ruby and not is_ruby(part.ruby):
            return "the reading is not kana"
    return ""


class _Heard:
    """The reading that a part of the furigana gives, as far as it gives one: bare digits, letters and % say nothing."""

    def __init__(self, parts: Iterable[FuriganaSegment]) -> None:
        self._pieces = [""]
        for part in parts:
            first, *more = [part.ruby] if part.ruby else _SAYS_NOTHING.split(part.text)
            self._pieces[-1] += _folded(first)
            self._pieces += map(_folded, more)

    @property
    def whole(self) -> str:
        """The reading, if nothing was left bare."""
        return self._pieces[0] if len(self._pieces) == 1 else ""

    def fits(self, reading: str) -> bool:
        """Whether this reading is what was said, with at least one kana for everything that was left bare."""
        first, *more = self._pieces
        if not more or not reading.startswith(first):
            return reading == first
        place = len(first)
        for piece in more[:-1]:
            place = reading.find(piece, place + 1)
            if place < 0:
                return False
            place += len(piece)
        return reading.endswith(more[-1]) and len(reading) - len(more[-1]) > place


def _folded(text: str) -> str:
    return hiragana(plain_kana(text))


# --- Judging ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ruling:
    """What stands for some words, and the lines that say where it is not the model's, or not the analyser's."""

    tokens: Sequence[Token]
    segments: Sequence[FuriganaSegment]
    repair: str = ""
    differences: Sequence[str] = ()


class _Court:
    """Rules over a text's words, which a ruling sees in their context."""

    def __init__(self, tokens: Sequence[Token], readings: Readings) -> None:
        self._tokens = tokens
        self._possible = _Possible(tokens, readings)
        self._readings = readings

    def rulings(self, first: int, last: int, parts: Segments, *, ours: bool = False) -> Iterator[_Ruling]:
        """One for each shortest run of words that no ruby reaches out of, of the words from first to before last.

        With `ours` the furigana was not cut so by the model.
        """
        for block, own_parts in blocks(self._tokens[first:last], parts):
            end = first + len(block)
            yield from self._ruled(first, end, tuple(own_parts), ours=ours)
            first = end

    def _ruled(self, first: int, last: int, parts: Segments, *, ours: bool) -> Iterator[_Ruling]:
        block = self._tokens[first:last]
        own, heard, fault = segments(block), _Heard(parts), _fault(parts)
        if _folds_to(parts, own):
            yield _Ruling(block, own)
        elif fault:
            yield _repaired(block, parts, fault)
        elif heard.fits(_reading(block)):
            yield _Ruling(block, self._layout(block, parts, ours=ours))
        elif not any(part.ruby for part in parts):
            yield _Ruling(block, own)
        elif (cut := tuple(_cut(parts))) != parts:
            yield from self.rulings(first, last, cut, ours=True)
        elif read := self._read(first, last, heard):
            yield _Ruling(read, self._layout(read, parts, ours=ours), differences=tuple(_differences(block, read)))
        else:
            yield _repaired(block, parts, _why(block))

    def _layout(self, block: Sequence[Token], parts: Segments, *, ours: bool) -> Sequence[FuriganaSegment]:
        """The model's furigana where its cuts may stand or the words have none, else that of the words."""
        own = segments(block)
        unread = any(part.ruby is None and has_kanji(part.text) for part in own)
        return parts if unread or (not ours and all(self._laid(block, parts))) else own

    def _laid(self, block: Sequence[Token], parts: Segments) -> Iterator[bool]:
        """For each piece whether what is over it is its own reading: of whole words or kanji, not 今[きょ]日[う]."""
        starts, place = {token.start for token in block}, block[0].start
        for part in parts:
            end = place + len(part.text)
            inside = [token for token in block if place <= token.start and token.end <= end]
            if not part.ruby:
                yield _SAYS_NOTHING.search(part.text) is None
            elif place in starts and inside and inside[-1].end == end:
                yield _ONE_RUN.fullmatch(part.text) is not None and _reading(inside) == _folded(part.ruby)
            else:
                yield _composed(part.text, _folded(part.ruby), self._readings, inside=True)
            place = end

    def _read(self, first: int, last: int, heard: _Heard) -> Sequence[Token]:
        """The words read as was said, if they can be; else none."""
        if last - first == 1:
            token = self._tokens[first]
            said = [heard.whole] if heard.whole else [way for way in _counted(token) if heard.fits(way)]
            return [_as(token, way) for way in said if self._possible.word(first, way)][:1]
        many = last - first > _MOST_TOKENS or len(heard.whole) > _LONGEST_RUBY
        if many or not heard.whole:
            return []
        return self._shared_out(first, last, heard.whole, set()) or self._named(first, last, heard.whole)

    def _named(self, first: int, last: int, heard: str) -> list[Token]:
        """A name the tokeniser took for several words (心愛さん), which like every name may be read in any way."""
        run, after = self._tokens[first:last], self._tokens[last : last + 1]
        if not any(token.surface in _HONORIFICS for token in after):
            return []
        free = all(token.pos[0] in _IN_NAMES and not token.binding and not _is_counted(token) for token in run)
        return [joined(run, heard, PERSON)] if free and all(has_kanji(token.surface) for token in run) else []

    def _shared_out(self, first: int, last: int, heard: str, dead: set[tuple[int, int]]) -> list[Token]:
        """The reading dealt out over the words, or over several that a dictionary has as one; empty if it cannot be."""
        if (first, len(heard)) in dead:
            return []
        for end, length in itertools.product(range(first + 1, last + 1), range(1, len(heard) + 1)):
            if (end == last) != (length == len(heard)) or not self._possible.share(first, end, heard[:length]):
                continue
            run = self._tokens[first:end]
            token = run[0] if len(run) == 1 else joined(run, "", run[-1].pos)
            rest = self._shared_out(end, last, heard[length:], dead) if end < last else []
            if rest or end == last:
                return [_as(token, heard[:length]), *rest]
        dead.add((first, len(heard)))
        return []


def _kana(tokens: Iterable[Token]) -> str:
    return "".join(token.reading for token in tokens)


def _reading(tokens: Iterable[Token]) -> str:
    """In hiragana, for comparison."""
    return _folded(_kana(tokens))


def _differences(block: Sequence[Token], read: Sequence[Token]) -> Iterator[str]:
    for token in read:
        own = [other for other in block if token.start <= other.start < token.end]
        if _reading([token]) != _reading(own):
            yield f"{token.surface}: {token.reading} (analyser: {_kana(own)})"


def _as(token: Token, reading: str) -> Token:
    return token if _reading([token]) == reading else token.read(spoken(token.surface, reading))


def _cut(parts: Segments) -> Iterator[FuriganaSegment]:
    """Ruby over a word with kana in it, laid over the rest of the word only: 食べ物[たべもの] -> 食[た]べ物[もの]."""
    for part in parts:
        pieces = align(part.text, _folded(part.ruby)) if part.ruby else ()
        if len(pieces) < 2:
            yield part
        for text, ruby in pieces if len(pieces) > 1 else ():
            yield FuriganaSegment(text=text, ruby=_shown(text, ruby) if ruby else None)


def _repaired(block: Sequence[Token], parts: Segments, why: str) -> _Ruling:
    """The analyser's reading; silent where nothing was said of a bound name."""
    if all(token.binding for token in block) and not any(part.ruby for part in parts):
        return _Ruling(block, segments(block))
    said = "".join(part.ruby or part.text for part in parts)
    return _Ruling(block, segments(block), repair=f"{_text(parts)}: {said} -> {_kana(block)} ({why})")


def _folds_to(parts: Segments, own: Segments) -> bool:
    """Whether it is the same furigana, in whatever kana."""
    return [(part.text, _folded(part.ruby or "")) for part in merge_plain(parts)] == [
        (part.text, _folded(part.ruby or "")) for part in own
    ]


def _why(block: Sequence[Token]) -> str:
    bound = {token.binding for token in block}
    if "frame" in bound:
        return "the lesson's own name"
    if "override" in bound:
        return "a teacher's correction"
    return "numbers follow the rules" if any(map(_is_counted, block)) else "it has no such reading"


# --- What a word can be read as -----------------------------------------------------------------------------------

_JOINING: Final = frozenset({"名詞", "代名詞", "形状詞", "接頭辞", "接尾辞"})
_POLITE: Final = frozenset({"お", "ご", "御"})
_IN_NAMES: Final = frozenset({"名詞", "接頭辞", "接尾辞"})
_HONORIFICS: Final = frozenset({"さん", "さま", "様", "ちゃん", "くん", "君", "氏"})


class _Possible:
    """Which readings a text's words can have where they stand."""

    def __init__(self, tokens: Sequence[Token], readings: Readings) -> None:
        self._tokens = tokens
        self._readings = readings
        self._known: dict[int, frozenset[str]] = {}

    def share(self, first: int, last: int, reading: str) -> bool:
        """Whether the words from first to before last can have this for their share, as one, of a longer reading.

        Of a surname and a given name nobody can tell the shares, unless a dictionary does.
        """
        run = self._tokens[first:last]
        if any(token.binding or _is_counted(token) for token in run):
            return len(run) == 1 and self.word(first, reading)
        if len(run) == 1 and not (_is_name(run[0]) and any(map(_is_name, self._around(first)))):
            return self.word(first, reading)
        known = self._readings.of("".join(token.surface for token in run))
        return reading in {*known, _reading(run)} or (len(run) > 1 and all(map(_is_name, run)))

    def word(self, index: int, reading: str) -> bool:
        """Whether one word can be read so: as a dictionary has it whole, and only if none has it, kanji by kanji."""
        token = self._tokens[index]
        if reading == _reading([token]):
            return True
        if token.binding or not is_ruby(reading) or token.surface in _LEARNED_WHOLE:
            return False
        if _is_counted(token):
            return reading in _counted(token)
        if _is_name(token) and not self._readings.are_listed(token):
            return _leaves_kana(token.surface, reading)
        return has_kanji(token.reading) or self._spoken(index, reading)  # what the analyser cannot read, anybody may

    def _spoken(self, index: int, reading: str) -> bool:
        token = self._tokens[index]
        if index not in self._known:
            self._known[index] = self._listed(index)
        known = self._known[index]
        if not known:
            return _composed(token.surface, reading, self._readings)
        return reading in known or _as_nihon(reading) in {_as_nihon(other) for other in known}

    def _listed(self, index: int) -> frozenset[str]:
        """The dictionaries' readings; one with a voiced beginning (ばこ of 箱) only behind a word it joins."""
        token = self._tokens[index]
        form = "" if token.pos[5] == "*" else token.pos[5]
        found = self._readings.of(token.surface, form) | _ALSO.get(token.surface, frozenset())
        if not (index and _joins(self._tokens[index - 1])):
            found = frozenset(way for way in found if not _unvoiced(way) & found)
        if len(token.surface) == 1 and not form and self._in_compound(index):
            found = found | self._readings.of_kanji(token.surface)
        return frozenset(_folded(spoken(token.surface, reading)) for reading in found)

    def _in_compound(self, index: int) -> bool:
        token = self._tokens[index]
        return any(has_kanji(other.surface[-1 if other.start < token.start else 0]) for other in self._around(index))

    def _around(self, index: int) -> Sequence[Token]:
        return [*self._tokens[max(0, index - 1) : index], *self._tokens[index + 1 : index + 2]]


def _is_name(token: Token) -> bool:
    return token.pos[1] == "固有名詞"


def _joins(before: Token) -> bool:
    """Whether a word can grow together with the next: nouns and stems do, the お of politeness does not."""
    stem = before.pos[5].startswith(("連用形", "語幹")) and before.pos[0] in {"動詞", "形容詞"}
    return stem or (before.pos[0] in _JOINING and before.surface not in _POLITE)


def _as_nihon(reading: str) -> str:
    """日本 is にほん and にっぽん, alone and in every longer word, of which dictionaries have one or the other."""
    return reading.replace("にっぽん", "にほん")


def _leaves_kana(surface: str, reading: str) -> bool:
    """Whether the surface's own kana are in the reading."""
    return len(align(surface, reading)) > 1 or not any(map(is_kana, surface))


# --- Kanji by kanji -----------------------------------------------------------------------------------------------

_GEMINATED: Final = tuple("くちつきう")
_DAKUTEN, _HANDAKUTEN = "\u3099", "\u309a"


def _composed(surface: str, reading: str, readings: Readings, *, inside: bool = False) -> bool:
    """Whether readings of the kanji, with the sound changes inside a word, make this reading of the whole.

    With `inside` the surface is itself a part of a word. A kanji without any known reading can be anything.
    """
    if len(surface) > _LONGEST_WORD:
        return False
    ends = {0}
    for place, character in enumerate(surface):
        ways = _ways(surface, place, readings)
        if ways and (place or inside):
            ways = ways | {voiced for way in ways for voiced in _voiced(way)}
        if ways and (place < len(surface) - 1 or inside) and has_kanji(character):
            ways = ways | {f"{way[:-1]}っ" for way in ways if way.endswith(_GEMINATED)}
        if ways:
            ends = {end + len(way) for end in ends for way in ways if reading.startswith(way, end)}
        else:
            ends = set(range(min(ends, default=len(reading)) + 1, len(reading) + 1))
    return len(reading) in ends


def _ways(surface: str, place: int, readings: Readings) -> frozenset[str]:
    character = surface[: place + 1].rstrip("々")[-1:] or "々"
    if character in "ヶヵ":
        return frozenset("かがこけ")
    if has_kanji(character):
        return readings.of_kanji(character)
    if takes_ruby(character):
        return frozenset()
    return frozenset({_folded(character) if is_kana(character) else ""})


def _voiced(reading: str) -> Iterator[str]:
    """The reading as it may sound behind another: はこ -> ばこ, ぱこ."""
    for mark in (_DAKUTEN, _HANDAKUTEN):
        first = unicodedata.normalize("NFC", reading[:1] + mark)
        if len(first) == 1:
            yield first + reading[1:]


def _unvoiced(reading: str) -> set[str]:
    """What a voiced reading may come from: ばこ -> はこ."""
    letters = unicodedata.normalize("NFD", reading[:1])
    return {letters[0] + reading[1:]} if len(letters) > 1 else set()


# --- Numbers ------------------------------------------------------------------------------------------------------

_COUNTED = re.compile(rf"第?(?:[何数幾].|{numbers.PATTERN})")
_ARABIC: Final = str.maketrans(numbers.KANJI_DIGITS, "00123456789")
# Of numbers (digits as 0 to 9) whose rule has one reading: what to put for what, to have another that is right too.
_RIGHT_TOO: Final = tuple(
    (re.compile(surface), re.compile(heard), other)
    for surface, heard, other in (
        ("十分", "じゅっぷん$", "じゅうぶん"),
        ("7(?!月|日|時|つ)|7時間", "なな", "しち"),
        ("7(?!月|日|時|つ)|7時間", "しち", "なな"),
        ("7日", "なの", "なぬ"),
        ("9", "きゅう(?=にん|ねん|ばん|ど|$)", "く"),
        ("4", "よん$", "し"),
        ("4円", "よえん", "よんえん"),
        ("4泊", "よんぱく", "よんはく"),
        ("4番", "よんばん", "よばん"),
        ("8(?![百千万億])", "はっ(?=[かきくけこ])", "はち"),
        *(("8(?![百千万億])", f"はっ{p}", f"はち{h}") for p, h in zip("ぱぴぷぽ", "はひふほ", strict=True)),
        ("[68百]キロ|[68百]k", "っき", "くき"),
        ("8キロ|8k", "はちき", "はっき"),
        ("階", "がい", "かい"),
        ("軒", "げん", "けん"),
        ("足", "ぞく", "そく"),
        ("歩", "よんほ", "よんぽ"),
        ("3羽", "さんわ", "さんば"),
        ("6羽", "ろくわ", "ろっぱ"),
        ("8羽", "はちわ", "はっぱ"),
        ("羽", "じゅうわ", "じゅっぱ"),
        ("3(?:晩|皿|切れ|口|袋|束|粒|箱)", "^さん(?=[^ぱ])", "み"),
        ("箱", "さんぱこ", "さんばこ"),
        ("20歳|20才|2十歳|2十才", "はたち", "にじゅっさい"),
        ("1日", "いちにち$", "ついたち"),
        ("20日間|2十日間", "はつか", "にじゅうにち"),
        ("[12]人前", "いちにん", "ひとり"),
        ("[12]人前", "ににん", "ふたり"),
        ("[12]人分", "ひとり", "いちにん"),
        ("[12]人分", "ふたり", "ににん"),
        ("^1月", "いちがつ", "ひとつき"),
        ("^2月", "にがつ", "ふたつき"),
        ("^3月", "さんがつ", "みつき"),
        ("^1時$", "いちじ", "いっとき"),
        ("^1時$", "いちじ", "ひととき"),
        ("^1度$", "いちど", "ひとたび"),
        ("^3度$", "さんど", "みたび"),
        ("0", "ぜろ", "れい"),
        ("0", "れい", "ぜろ"),
        ("何人$", "なんにん|なんじん", "なにじん"),
        ("何人$", "なんにん|なにじん", "なんじん"),
        ("何人$", "なにじん", "なんにん"),
        ("何曜日", "なん", "なに"),
        ("数日間", "すうにち", "すうじつ"),
        ("何分$", "なんぷん", "なにぶん"),
        ("", "じゅっ", "じっ"),
    )
)


def _is_counted(token: Token) -> bool:
    return token.is_number and _COUNTED.match(token.surface) is not None


def _counted(token: Token) -> Sequence[str]:
    """The rule's reading of a number, and those that are right too; none for other words."""
    if not _is_counted(token):
        return ()
    surface = unicodedata.normalize("NFKC", token.surface).translate(_ARABIC)
    found = {_reading([token]): None}
    for written, heard, other in _RIGHT_TOO:
        if written.search(surface):
            found |= dict.fromkeys(heard.sub(other, reading) for reading in tuple(found))
    return tuple(found)

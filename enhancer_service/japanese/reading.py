"""The analyser: Sudachi's words and readings, corrected by our rules."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, Final

from sudachipy import Dictionary, SplitMode

from enhancer_service.japanese import counters, everyday, letters, numbers
from enhancer_service.japanese.align import spoken
from enhancer_service.japanese.pages import give_back_pages
from enhancer_service.japanese.script import DIGIT, has_kanji, hiragana, is_kana, is_ruby, plain_kana
from enhancer_service.japanese.token import Token

Rule = Callable[[tuple[Token, ...]], tuple[Token, ...]]
RULES: Final[tuple[Rule, ...]] = (counters.join, everyday.read)
"""Applied in order after tokenising; after each rule the surfaces still join to the text."""

_CHUNK: Final = 4000  # characters; Sudachi refuses more than 49,149 bytes
_NORMALISED_BYTES: Final = 49_149  # and more than 65,535 bytes once it has normalised them
_KNOWN_AT_ONCE: Final = 8192  # surfaces whose readings are cached
_LAST_SENTENCE_END = re.compile(r"(?s).*[。！？!?\n]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_DIGITS = re.compile(rf"[{DIGIT}]+")
_READABLE_LETTERS = re.compile(r"[A-Za-zＡ-Ｚａ-ｚ]")


class Analyser:
    """Cuts text into words and reads them. Load it once per process: it maps a large dictionary. Thread-safe."""

    def __init__(self, dictionary: Any, version: str) -> None:
        self._dictionary = dictionary
        self._tokenizer = dictionary.tokenizer(SplitMode.C)
        self._lock = threading.Lock()  # a Sudachi tokenizer refuses two callers at once
        self._listed = functools.lru_cache(_KNOWN_AT_ONCE)(self._look_up)
        self.version = version

    @classmethod
    def load(cls) -> Analyser:
        """Maps the core dictionary and reads a first word, so that no request pays for the loading."""
        sudachi, core = (importlib.metadata.version(name) for name in ("sudachipy", "sudachidict_core"))
        analyser = cls(Dictionary(dict="core"), f"sudachi-{sudachi}+core-{core}")
        analyser.tokens("日本語")
        give_back_pages("/system.dic")
        return analyser

    def tokens(self, text: str) -> tuple[Token, ...]:
        """The words of a text of any length, in order; their surfaces join to it. Never raises."""
        tokens = tuple(token for start, chunk in _chunks(text) for token in self._chunk(chunk, start))
        for rule in RULES:
            tokens = rule(tokens)
        return tokens

    def readings(self, surface: str, form: str = "") -> frozenset[str]:
        """The dictionary's readings of this surface as one word, in hiragana; empty if it is no word.

        With a conjugation form (連用形-一般, as `Token.pos` has it) only those of words in it: 来 read き, not こ.
        """
        return self._listed(surface, form)

    def _look_up(self, surface: str, form: str) -> frozenset[str]:
        with self._lock:
            entries = [
                (hiragana(entry.reading_form()), entry.part_of_speech())
                for entry in self._dictionary.lookup(_SURROGATES.sub("\ufffd", surface))
            ]
        return frozenset(
            reading
            for reading, pos in entries
            if is_ruby(reading) and pos[0] != "補助記号" and (not form or _alike(form, pos[5]))
        )

    def _chunk(self, chunk: str, offset: int) -> Iterator[Token]:
        with self._lock:
            morphemes = [
                (word.end(), word.reading_form(), word.dictionary_form(), word.part_of_speech())
                for word in self._tokenizer.tokenize(_SURROGATES.sub("\ufffd", chunk))
            ]
        start = 0
        for end, reading, lemma, pos in morphemes:
            if end > start:  # a character that normalises to several words yields empty morphemes
                surface = chunk[start:end]
                yield Token(surface, self._reading(surface, hiragana(reading)), lemma, tuple(pos), offset + start)
                start = end

    def _reading(self, surface: str, reading: str) -> str:
        if is_kana(surface):
            return plain_kana(surface)
        if initials := letters.initials(surface):
            return initials
        if has_kanji(surface) or (_READABLE_LETTERS.search(surface) and _has_kana(surface)):
            known = reading if is_ruby(reading) else self._spelt(surface)
            return spoken(surface, known) if is_ruby(known) else known
        return _DIGITS.sub(lambda digits: numbers.read(digits[0]).reading, surface)

    def _spelt(self, surface: str) -> str:
        """Reads an unknown word kanji by kanji; keeps an unknown kanji."""
        return "".join(self._character(character) for character in surface)

    def _character(self, character: str) -> str:
        if not has_kanji(character):
            return hiragana(plain_kana(character))
        with self._lock:
            readings = [hiragana(entry.reading_form()) for entry in self._dictionary.lookup(character)]
        return next(filter(is_ruby, readings), character)


def _alike(form: str, other: str) -> bool:
    """Whether two conjugation forms are equal, or are the two that modern Japanese no longer distinguishes."""
    plain = ("終止形", "連体形")
    return form == other or (form.startswith(plain) and other.startswith(plain))


def _has_kana(text: str) -> bool:
    return any(is_kana(character) for character in text)


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """Pieces short enough for Sudachi with their starts, cut at sentence ends where possible."""
    start = 0
    while start < len(text):
        chunk = text[start : start + _CHUNK]
        if start + _CHUNK < len(text) and (sentences := _LAST_SENTENCE_END.match(chunk)):
            chunk = sentences[0]
        while len(unicodedata.normalize("NFKC", chunk).encode("utf-8", "replace")) > _NORMALISED_BYTES:
            chunk = chunk[: len(chunk) // 2]
        yield start, chunk
        start += len(chunk)

"""A word of the text with its reading: the analyser yields tokens, the rules rewrite them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from enhancer_service.japanese.script import is_kana

NUMBER: Final = ("名詞", "数詞", "*", "*", "*", "*")
NOUN: Final = ("名詞", "普通名詞", "一般", "*", "*", "*")
PARTICLE: Final = ("助詞", "格助詞", "*", "*", "*", "*")
INTERJECTION: Final = ("感動詞", "フィラー", "*", "*", "*", "*")
PERSON: Final = ("名詞", "固有名詞", "人名", "一般", "*", "*")
_SYMBOLS: Final = frozenset({"補助記号", "記号", "空白"})


@dataclass(frozen=True, slots=True)
class Token:
    """One word. The surfaces of a text's tokens join to the text; `start` counts code points.

    `reading` is hiragana, with katakana where the surface has it; unreadable characters stay unchanged.
    `pos` is Sudachi's six-part tuple (UniDic's): class, three sub-classes, conjugation type, conjugation form.
    `binding` names the source of a binding reading, which no rule and no model replaces: the lesson's frame (a name) or
    an override (a teacher's correction); empty for other words.
    """

    surface: str
    reading: str
    lemma: str
    pos: tuple[str, ...]
    start: int
    binding: Literal["", "frame", "override"] = ""

    @property
    def end(self) -> int:
        return self.start + len(self.surface)

    @property
    def is_number(self) -> bool:
        return self.pos[1] == "数詞"

    @property
    def is_symbol(self) -> bool:
        return self.pos[0] in _SYMBOLS and not is_kana(self.surface)

    def read(self, reading: str) -> Token:
        """The same word with another reading."""
        return dataclasses.replace(self, reading=reading)


def joined(tokens: Sequence[Token], reading: str, pos: tuple[str, ...]) -> Token:
    """Joins neighbouring tokens into one word, which is its own dictionary form."""
    surface = "".join(token.surface for token in tokens)
    return Token(surface, reading, surface, pos, tokens[0].start)

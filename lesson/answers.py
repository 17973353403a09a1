"""Decides when two answers are the same: typed answers, choices and orders of pieces. Pure.

A typed answer is compared after NFKC, without spaces and marks, as kanji or as kana (docs/lesson-content.md).
A client normalises the typed text the same way and looks for it among the master JSON's `acceptedForms`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Protocol


class Written(Protocol):
    """A Japanese text with its reading."""

    @property
    def kanji(self) -> str: ...
    @property
    def reading(self) -> str: ...


def normalised(text: str) -> str:
    """The text in NFKC and lower case, without spaces and marks. ー is a sound and stays.

    A mark between two digits belongs to the number and stays, except the comma of thousands: 3.5 is not 35, and 2、3日
    is not 23日, but 1,200 is 1200. A text of marks alone keeps them. Normalising twice changes nothing.
    """
    spaceless = "".join(char for char in _folded(text) if not _is_space(char))
    kept = "".join(char for at, char in enumerate(spaceless) if not _is_mark(char) or _joins_digits(spaceless, at))
    return unicodedata.normalize("NFC", kept or spaceless)


def typed_form(text: str) -> str:
    """The form for comparing typed texts: normalised, with katakana as hiragana, so that ぱん and サカナ count.

    Romaji does not count: sakana is not accepted for 魚.
    """
    return normalised(text).translate(_TO_HIRAGANA)


def choice_form(text: str) -> str:
    """The form for comparing choices and sides of pairs: to a learner, two of the same form look alike.

    Normalised, but questions differ from statements, and scripts differ: 魚, さかな and サカナ are three forms.
    """
    return normalised(text) + ("?" if "?" in _folded(text) else "")


def accepted_forms(answers: Iterable[Written | str]) -> tuple[str, ...]:
    """The distinct typed forms of the answers, in order: as written and, for a text, as read."""
    texts = chain.from_iterable((a,) if isinstance(a, str) else (a.kanji, a.reading) for a in answers)
    return tuple(dict.fromkeys(form for form in map(typed_form, texts) if form))


def accepts(typed: str, forms: Iterable[str]) -> bool:
    """Whether the typed text has one of the accepted forms."""
    form = typed_form(typed)
    return bool(form) and form in forms


def order_of(pieces: Sequence[str], answer: str) -> tuple[int, ...] | None:
    """The indices of all pieces in an order that spells the answer, ignoring spaces and marks; None without one.

    Pieces of marks alone come last.
    """
    letters = [_letters(piece) for piece in pieces]
    sounding = [index for index, piece in enumerate(letters) if piece]
    order = _arranged([letters[index] for index in sounding], _letters(answer))
    if order is None:
        return None
    return (*(sounding[at] for at in order), *(index for index, piece in enumerate(letters) if not piece))


# Pieces with a common beginning can have very many orders. The search gives up after this number.
_MOST_TRIED = 20_000


def _arranged(pieces: Sequence[str], whole: str) -> tuple[int, ...] | None:
    if sorted("".join(pieces)) != sorted(whole):
        return None
    stack: list[tuple[tuple[int, ...], int]] = [((), 0)]
    tried: set[frozenset[int]] = set()
    while stack and len(tried) < _MOST_TRIED:
        order, end = stack.pop()
        used = frozenset(order)
        # The first free piece represents all equal ones.
        free = {pieces[index]: index for index in reversed(range(len(pieces))) if index not in used}
        if not free:
            return order
        for piece, index in free.items():
            if whole.startswith(piece, end) and used | {index} not in tried:
                tried.add(used | {index})
                stack.append(((*order, index), end + len(piece)))
    return None


# --- characters -------------------------------------------------------------------------------------------------

_TO_HIRAGANA = {code: code - 0x60 for code in (*range(0x30A1, 0x30F7), 0x30FD, 0x30FE)}


def _folded(text: str) -> str:
    # Lower case, not case folding, because every client has it. The wave dash has two code points.
    lowered = unicodedata.normalize("NFKC", text).lower().replace("〜", "~")
    return unicodedata.normalize("NFKC", lowered)


def _letters(text: str) -> str:
    return "".join(char for char in _folded(text) if not _is_space(char) and not _is_mark(char))


def _is_space(char: str) -> bool:
    """White space, control and format characters."""
    return unicodedata.category(char) in ("Zs", "Zl", "Zp", "Cc", "Cf")


def _is_mark(char: str) -> bool:
    """Punctuation; symbols such as ○ and × are answers."""
    return char == "~" or unicodedata.category(char).startswith("P")


def _joins_digits(text: str, at: int) -> bool:
    sides = text[at - 1 : at] + text[at + 1 : at + 2]
    return text[at] != "," and len(sides) == 2 and sides.isascii() and sides.isdigit()

"""One structural fault in valid JSON: seven kinds of breakage, and a substitution."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_TOKENS = re.compile(r'"((?:[^"\\]|\\.)*)"|[{}\[\],:]')

_CHARACTER = re.compile(r"\\(?:u[0-9a-f]{4}|.)|[^\\]")


def structural_positions(text: str) -> list[int]:
    """Where brackets, commas, colons and the quotes around strings stand."""
    positions: list[int] = []
    for token in _TOKENS.finditer(text):
        positions.append(token.start())
        if token.group(1) is not None:
            positions.append(token.end() - 1)
    return positions


def _places_in_a_string(text: str, rng: random.Random) -> list[int]:
    """The places between the characters of one random string that is not empty; none is inside of an escape."""
    start, end = rng.choice([token.span(1) for token in _TOKENS.finditer(text) if token.group(1)])
    return [*(character.start() for character in _CHARACTER.finditer(text, start, end)), end]


def truncate(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(1, len(text))]


def cut_and_fence(text: str, rng: random.Random) -> str:
    return f"```json\n{truncate(text, rng)}\n```"


def drop_char(text: str, rng: random.Random) -> str:
    at = rng.choice(structural_positions(text))
    return text[:at] + text[at + 1 :]


def double_char(text: str, rng: random.Random) -> str:
    at = rng.choice(structural_positions(text))
    return text[: at + 1] + text[at:]


def swap_char(text: str, rng: random.Random) -> str:
    """Two neighbours that differ, one of them structural, change places."""
    at = rng.choice([p for p in structural_positions(text) if p + 1 < len(text) and text[p] != text[p + 1]])
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def inner_quote(text: str, rng: random.Random) -> str:
    at = rng.choice(_places_in_a_string(text, rng))
    return text[:at] + '"' + text[at:]


def inner_pair(text: str, rng: random.Random) -> str:
    one, other = sorted(rng.sample(_places_in_a_string(text, rng), 2))
    return text[:one] + '"' + text[one:other] + '"' + text[other:]


def other_char(text: str, rng: random.Random) -> str:
    """One structural character becomes another: not in the notes, but a model's slip too."""
    at = rng.choice(structural_positions(text))
    return text[:at] + rng.choice([c for c in '{}[],:"' if c != text[at]]) + text[at + 1 :]


FAULTS: tuple[Callable[[str, random.Random], str], ...] = (
    truncate,
    cut_and_fence,
    drop_char,
    double_char,
    swap_char,
    inner_quote,
    inner_pair,
    other_char,
)

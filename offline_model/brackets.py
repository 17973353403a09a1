"""Bracket notation: 食[た]べ物[もの] is 食べ物, each run of kanji, digits or Latin letters followed by its reading."""

from __future__ import annotations

import re

from lesson.script import HIRAGANA, KANJI, KATAKANA

_RUN = f"[{KANJI}0-9０-９A-Za-zＡ-Ｚａ-ｚ]+"
# The comma of 1,200円 belongs to its number.
_NEEDS_READING = re.compile(f"{_RUN}(?:[,.]{_RUN})*")
_READ = re.compile(rf"{_NEEDS_READING.pattern}\[[{HIRAGANA}{KATAKANA}]+\]")
_RUN_READ = re.compile(rf"(?P<run>{_NEEDS_READING.pattern})\[(?P<kana>[{HIRAGANA}{KATAKANA}]+)\]")
_BRACKETED = re.compile(r"\[[^\[\]]*\]")


def plain(brackets: str) -> str:
    """The text itself, without the readings."""
    return _BRACKETED.sub("", brackets)


def differences(shown: str, right: str) -> list[tuple[str, str]]:
    """The runs that both texts bracket with different readings, each with the right reading."""
    ours = {match["run"]: match["kana"] for match in _RUN_READ.finditer(right)}
    theirs = {match["run"]: match["kana"] for match in _RUN_READ.finditer(shown)}
    return [(run, kana) for run, kana in ours.items() if theirs.get(run, kana) != kana]


def fault(brackets: str) -> str | None:
    """Describes an error in the notation; None if every run that needs a reading has one in kana."""
    rest = _READ.sub("", brackets)
    if "[" in rest or "]" in rest:
        return "a bracket must hold kana and stand right behind kanji, digits or Latin letters"
    if bare := _NEEDS_READING.search(rest):
        return f"{bare.group()} has no reading"
    return None

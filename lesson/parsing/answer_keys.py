"""Corrects answer keys of practice and comprehension where the answer itself shows how. Other errors stay faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from lesson.answers import choice_form, order_of
from lesson.models import (
    issue_at,
)
from lesson.parsing.fit import Notes


def mend_keys(section: object, path: str, notes: Notes) -> None:
    """Mends, in place, the keys of practice and comprehension in a fitted section."""
    if isinstance(section, dict):
        section, path = section.get("comprehension"), f"{path}.comprehension"
    for index, member in _objects(section):
        _mend_key(member, f"{path}.{index}", notes)


def _mend_key(raw: dict[str, Any], path: str, notes: Notes) -> None:
    if are_texts(raw.get("choices")):
        _mend_answer(raw, path, notes)
    if isinstance(raw.get("pairs"), list) and all(map(_is_pair, raw["pairs"])):
        raw["pairs"] = _each_once(raw["pairs"], _pair_form, f"{path}.pairs", notes)
    if are_texts(raw.get("pieces")) and are_texts(raw.get("answers")):
        _mend_orders(raw, path, notes)
    for index, sentence in _objects(raw.get("sentences")):
        for number, gap in _objects(sentence.get("gaps")):
            if are_texts(gap.get("choices")) and are_texts(gap.get("accepted")):
                _mend_gap(gap, f"{path}.sentences.{index}.gaps.{number}", notes)


def _mend_answer(raw: dict[str, Any], path: str, notes: Notes) -> None:
    """Gives the answer the spelling of its choice."""
    choices = raw["choices"] = _each_once(raw["choices"], choice_form, f"{path}.choices", notes)
    answer = raw.get("answer")
    if not isinstance(answer, str) or answer in choices:
        return
    spelt = next((choice for choice in choices if choice_form(choice) == choice_form(answer)), None)
    if spelt is not None:
        notes.append(issue_at(f"{path}.answer", "spelt as its choice"))
        raw["answer"] = spelt


def _mend_gap(gap: dict[str, Any], path: str, notes: Notes) -> None:
    """Gives the right choice the spelling of the accepted answer, which stands in the sentence."""
    choices = gap["choices"] = _each_once(gap["choices"], choice_form, f"{path}.choices", notes)
    spelt = {choice_form(answer): answer for answer in reversed(gap["accepted"])}
    for index, choice in enumerate(choices):
        right = spelt.get(choice_form(choice), choice)
        if right != choice and choice not in gap["accepted"]:
            notes.append(issue_at(f"{path}.choices.{index}", "spelt as the accepted answer"))
            choices[index] = right


def _mend_orders(raw: dict[str, Any], path: str, notes: Notes) -> None:
    """Leaves out answers that the pieces cannot make, if they can make another one."""
    made = [answer for answer in raw["answers"] if order_of(raw["pieces"], answer) is not None]
    if made and len(made) < len(raw["answers"]):
        notes.append(issue_at(f"{path}.answers", f"{len(raw['answers']) - len(made)} not made of the pieces, left out"))
        raw["answers"] = made


def _each_once(members: list[Any], form: Callable[[Any], object], path: str, notes: Notes) -> list[Any]:
    kept: dict[object, Any] = {}
    for member in members:
        kept.setdefault(form(member), member)
    if len(kept) < len(members):
        notes.append(issue_at(path, f"{len(members) - len(kept)} given twice, left out"))
    return list(kept.values())


def _pair_form(pair: Mapping[str, str]) -> tuple[str, str]:
    return choice_form(pair["left"]), choice_form(pair["right"])


def _is_pair(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(value.get(side), str) for side in ("left", "right"))


def _objects(value: object) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a list, each with its index; empty for any other value."""
    members = value if isinstance(value, list) else []
    return [(index, member) for index, member in enumerate(members) if isinstance(member, dict)]


def are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(member, str) for member in value)

"""Extracts the Japanese items of a section that a learner sees, and replaces them by other values.

Marks on the fields of `lesson.models` define the items; only this module reads them. An id is the item's path in its
section (dialogue.turns.3.text), so the same content always gives the same ids.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel

from lesson.fields import bare, fields, without_none
from lesson.models import Item, Japanese, SectionName, SectionValue
from lesson.script import has_japanese

T = TypeVar("T")

_ENDS = "。！？!?"
_OPENERS = "「『（(【"
_CLOSERS = "」』）)】"


def extract_items(name: SectionName, section: SectionValue) -> tuple[Item, ...]:
    """The section's items, in the order in which a learner meets them; empty for the plan."""
    found: list[Item] = []
    transform(name, section, found.append)
    return tuple(found)


def transform(
    name: SectionName,
    section: SectionValue,
    each: Callable[[Item], T],
    together: Callable[[Sequence[T]], object] = list,
) -> Any:
    """The section as plain JSON (lowerCamelCase keys) with every Japanese string replaced by `each(item)`.

    Running text counts as one item per sentence; `together` combines the values of its sentences.
    """
    walk = _Walk(each, together)
    if isinstance(section, tuple):
        return [walk.model(member, f"{name.value}.{index}") for index, member in enumerate(section)]
    return walk.model(section, name.value)


def sentences(text: str) -> tuple[str, ...]:
    """Splits running text after each sentence. The joined pieces equal the text, including white space."""
    cuts = list(_sentence_ends(text))
    starts = [0, *cuts]
    return tuple(text[start:end] for start, end in zip(starts, [*cuts, len(text)], strict=True) if start < end)


def _sentence_ends(text: str) -> Iterable[int]:
    depth, ended = 0, False
    for index, char in enumerate(text):
        closes = char in _CLOSERS
        # A sentence includes its closing quotes and the white space after it.
        if ended and not (char in _ENDS or char.isspace() or (closes and depth > 0)):
            yield index
            ended = False
        depth = max(0, depth + (char in _OPENERS) - closes)
        ended = char == "\n" or (char in _ENDS and depth == 0) or (ended and (char.isspace() or closes))
        if char == "\n":
            depth = 0  # a line break ends an unclosed quote


class _Walk:
    def __init__(self, each: Callable[[Item], Any], together: Callable[[Sequence[Any]], object]) -> None:
        self._each = each
        self._together = together

    def model(self, value: BaseModel, path: str) -> dict[str, Any]:
        return {
            json_name: self._value(hint, getattr(value, name), f"{path}.{wire_name}")
            for name, json_name, wire_name, hint in fields(type(value))
        }

    def _value(self, hint: Any, value: Any, path: str) -> Any:
        if isinstance(value, BaseModel):
            return self.model(value, path)
        if isinstance(value, tuple):
            inner = _element(hint)
            return [self._value(inner, member, f"{path}.{index}") for index, member in enumerate(value)]
        mark = _mark(hint)
        if mark is not None and isinstance(value, str):
            return self._string(mark, value, path)
        return value.value if isinstance(value, enum.Enum) else value

    def _string(self, mark: Japanese, text: str, path: str) -> Any:
        if mark.sentences:
            parts = sentences(text)
            return self._together([self._item(mark, part, f"{path}.{index}") for index, part in enumerate(parts)])
        if mark.may_be_learner_text and not has_japanese(text):
            return text
        return self._item(mark, text, path)

    def _item(self, mark: Japanese, text: str, path: str) -> Any:
        translate = mark.kind.translated and has_japanese(text)
        return self._each(Item(id=path, text=text, kind=mark.kind, needs_translation=translate))


def _mark(hint: Any) -> Japanese | None:
    hint, _ = without_none(hint)
    if get_origin(hint) is not Annotated:
        return None
    return next((entry for entry in hint.__metadata__ if isinstance(entry, Japanese)), None)


def _element(hint: Any) -> Any:
    return get_args(bare(hint))[0]

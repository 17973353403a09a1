"""A model's JSON in steps: the bytes of `model_dump_json(by_alias=True)`, in pieces no larger than an exercise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

from pydantic import BaseModel
from pydantic_core import to_json

from gateway.master.schema import Card, MasterLesson, ReadingBody, Section, Ui
from lesson.steps import Steps

_TAKEN_APART: Final = (MasterLesson, Ui, Section, Card, ReadingBody)
"""Their fields are pieces of their own, and so are the entries of lists; any other value is one piece."""


def json_of(master: MasterLesson) -> Steps[str]:
    """The compact JSON of the master lesson, with the aliases of its fields as keys."""
    pieces: list[str] = []
    for piece in _pieces(master):
        pieces.append(piece)
        yield
    return "".join(pieces)


def _pieces(value: object) -> Iterator[str]:
    if isinstance(value, _TAKEN_APART):
        yield from _object((key, getattr(value, name)) for name, key in _keys(type(value)))
    elif isinstance(value, tuple):
        yield from _array(value)
    else:
        yield _json(value)


def _object(members: Iterable[tuple[str, object]]) -> Iterator[str]:
    separator = "{"
    for key, value in members:
        yield f"{separator}{key}:"
        yield from _pieces(value)
        separator = ","
    yield "}"


def _array(values: Iterable[object]) -> Iterator[str]:
    separator = ""
    yield "["
    for value in values:
        yield separator
        yield from _pieces(value)
        separator = ","
    yield "]"


@cache
def _keys(kind: type[BaseModel]) -> tuple[tuple[str, str], ...]:
    """Each field's name, and its alias as JSON."""
    return tuple((name, _json(field.serialization_alias or name)) for name, field in kind.model_fields.items())


def _json(value: object) -> str:
    return to_json(value, by_alias=True).decode()

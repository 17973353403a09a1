"""Type hints of the models, for the modules that walk them: `items`, `parsing` and `wire`."""

from __future__ import annotations

import types
from functools import cache
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel


class FieldHint(NamedTuple):
    """A field under its three names, with its type hint as written."""

    name: str
    json_name: str
    wire_name: str
    hint: Any


@cache
def fields(kind: type[BaseModel]) -> tuple[FieldHint, ...]:
    """The model's fields in order."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        FieldHint(name, info.alias or name, name.rstrip("_"), hints[name]) for name, info in kind.model_fields.items()
    )


def is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def bare(hint: Any) -> Any:
    """The hint without its annotations."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint


def without_none(hint: Any) -> tuple[Any, bool]:
    """The hint without None but with its annotations, and whether it allowed None. Other unions stay unions."""
    inner = bare(hint)
    if not is_union(inner):
        return hint, False
    members = [member for member in get_args(inner) if member is not type(None)]
    optional = len(members) < len(get_args(inner))
    return (members[0] if len(members) == 1 else inner), optional


def is_kind(hint: Any, kind: type) -> bool:
    """Whether the hint is a class derived from `kind`."""
    return isinstance(hint, type) and issubclass(hint, kind)


def has_mark(hint: Any, kind: type) -> bool:
    """Whether the hint or one of its arguments has an annotation of that class."""
    if get_origin(hint) is Annotated and any(isinstance(entry, kind) for entry in hint.__metadata__):
        return True
    return any(has_mark(inner, kind) for inner in get_args(hint))

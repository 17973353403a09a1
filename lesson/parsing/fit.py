"""Fits a value to a field's type: fills in optional fields and corrects slips of form."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel

from lesson.fields import bare, fields, is_kind, is_union, without_none
from lesson.models import (
    ChoicePractice,
    ComprehensionMode,
    GapPractice,
    Issue,
    MatchingPractice,
    OrderingPractice,
    PracticeKind,
    ProductionPractice,
    Register,
    Role,
    issue_at,
)

Notes = list[Issue]

_TEXT_KEYS = ("text", "japanese", "ja", "jp", "kanji")
_PRACTICE_CLASSES: dict[str, type[BaseModel]] = {
    PracticeKind.CHOICE: ChoicePractice,
    PracticeKind.LISTENING: ChoicePractice,
    PracticeKind.CLOZE: GapPractice,
    PracticeKind.DIALOGUE_GAP: GapPractice,
    PracticeKind.MATCHING: MatchingPractice,
    PracticeKind.ORDERING: OrderingPractice,
}


class Fit:
    """Walks a value along its type: fills in optional fields, mends slips of form, notes unknown keys."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def fit(self, hint: Any, value: object, path: str) -> object:
        hint, optional = _bare(hint)
        if value is None or (optional and isinstance(value, str) and not value.strip()):
            return None if optional else value
        if get_origin(hint) is tuple:
            return self._list(get_args(hint)[0], value, path)
        if is_union(hint):
            return self._practice(value, path)
        if is_kind(hint, enum.Enum):
            return self._enum(hint, value, optional, path)
        if is_kind(hint, BaseModel):
            return self._model(hint, value, path)
        return self._text(value) if hint is str else value

    def _practice(self, value: object, path: str) -> object:
        if not isinstance(value, Mapping):
            return value
        return self._model(practice_class(str(value.get("kind"))), value, path)

    def _model(self, kind: type[BaseModel], value: object, path: str) -> object:
        if not isinstance(value, Mapping):
            return value
        fitted: dict[str, object] = {}
        for _, alias, name, hint in fields(kind):
            given = value.get(alias, value.get(name))
            if given is None and _absent_value(hint) is not _REQUIRED:
                if alias not in value and name not in value:
                    self._notes.append(issue_at(f"{path}.{name}", "not given"))
                fitted[alias] = _absent_value(hint)
            elif alias in value or name in value:
                fitted[alias] = self.fit(hint, given, f"{path}.{name}")
        known = {spelling for field in fields(kind) for spelling in (field.wire_name, field.json_name)}
        self._notes.extend(issue_at(f"{path}.{key}", "not a field, ignored") for key in value if key not in known)
        return fitted

    def _list(self, hint: Any, value: object, path: str) -> object:
        if isinstance(value, str | Mapping):
            self._notes.append(issue_at(path, "one value where a list belongs"))
            value = [value]
        if not isinstance(value, list | tuple):
            return value
        kept = [member for member in value if member is not None and member != ""]
        if len(kept) < len(value):
            self._notes.append(issue_at(path, f"{len(value) - len(kept)} empty entries left out"))
        return [self.fit(hint, member, f"{path}.{index}") for index, member in enumerate(kept)]

    def _enum(self, kind: type[enum.Enum], value: object, optional: bool, path: str) -> object:
        spelled = re.sub(r"[\s-]+", "_", str(value)).upper()
        member = next((member for member in kind if member.name == spelled), None)
        if member is not None:
            return member.value
        fallback = None if optional else _ENUM_FALLBACK.get(kind)
        self._notes.append(
            issue_at(path, f"{value!r} is none of {kind.__name__}; read as {fallback and fallback.value}")
        )
        return fallback.value if fallback else (None if optional else value)

    def _text(self, value: object) -> object:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, Mapping):
            return next((value[key] for key in _TEXT_KEYS if isinstance(value.get(key), str)), value)
        return value


_REQUIRED = object()
_ENUM_FALLBACK: dict[type[enum.Enum], enum.Enum] = {
    Role: Role.OTHER,
    Register: Register.POLITE,
    ComprehensionMode: ComprehensionMode.READ,
}


def practice_class(kind: str) -> type[BaseModel]:
    return _PRACTICE_CLASSES.get(kind, ProductionPractice)


def _absent_value(hint: Any) -> object:
    """The value of a field that the answer leaves out: None, an empty list or a harmless member; else _REQUIRED."""
    inner, optional = _bare(hint)
    if optional:
        return None
    if get_origin(inner) is tuple and not _has_minimum(hint):
        return []
    fallback = _ENUM_FALLBACK.get(inner) if is_kind(inner, enum.Enum) else None
    return fallback.value if fallback else _REQUIRED


def _has_minimum(hint: Any) -> bool:
    if get_origin(hint) is not Annotated:
        return False
    return any(
        getattr(rule, "min_length", None) for entry in hint.__metadata__ for rule in getattr(entry, "metadata", [])
    )


def _bare(hint: Any) -> tuple[Any, bool]:
    """The bare type, and whether None is allowed. A Literal counts as a string: its model checks the value."""
    inner, optional = without_none(hint)
    inner = bare(inner)
    return (str if get_origin(inner) is Literal else inner), optional

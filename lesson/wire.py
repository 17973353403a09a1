"""Models to messages and back: the only place that knows both.

A model and its message have the same name and the same fields (a test holds them to it), so one walk over a model's
type hints serves them all. None is an unset field or an unspecified enum; a union of models is a oneof.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

from google.protobuf.message import Message
from pydantic import BaseModel, ValidationError

from lesson import calls
from lesson.fields import bare, fields, is_kind, is_union, without_none
from lesson.steps import Steps, run
from lesson.v1 import content_service_pb2, enhancer_service_pb2, lesson_pb2

M = TypeVar("M", bound=BaseModel)
E = TypeVar("E", bound=enum.Enum)


class WireError(ValueError):
    """A message that no model can be made of; says which field and why."""


def to_message(model: BaseModel) -> Any:
    """The message of the same name as the model's class, of package lesson.v1."""
    message = _message_type(type(model))()
    run(fill(message, model))
    return message


def fill(message: Any, model: BaseModel) -> Steps[None]:
    """`to_message` in steps, into an empty message: a pause after each member of a list of messages."""
    for field in _plan(type(model)):
        value = getattr(model, field.name)
        if isinstance(field, _NestedField):
            yield from field.write(message, value)
        else:
            field.write(message, value)


def from_message(kind: type[M], message: Message) -> M:
    """The model of that kind. Raises WireError naming the field when a required enum is unset or a value is refused."""
    return run(from_message_in_steps(kind, message))


def from_message_in_steps(kind: type[M], message: Message) -> Steps[M]:
    """`from_message` in steps: a pause after each member of a list of messages."""
    values = {}
    for field in _plan(kind):
        if isinstance(field, _NestedField):
            values[field.name] = yield from field.read(message)
        else:
            values[field.name] = field.read(message)
    return _made(kind, values)


def _made(kind: type[M], values: dict[str, Any]) -> M:
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise WireError(f"{kind.__name__}.{path}: {first['msg']}") from error


def enum_to_number(member: enum.Enum | None) -> int:
    """The number of the proto's value; 0 (unspecified) for None."""
    if member is None:
        return 0
    return int(_enum_type(type(member)).values_by_name[f"{_prefix(type(member))}_{member.name}"].number)


def enum_from_number(kind: type[E], number: int) -> E | None:
    """The member for a proto's value; None for unspecified and for values this build does not know."""
    value = _enum_type(kind).values_by_number.get(number)
    return kind[value.name.removeprefix(f"{_prefix(kind)}_")] if value is not None and number else None


@dataclass(frozen=True)
class _Field:
    """A field of scalars or enums."""

    name: str
    write: Callable[[Any, Any], None]
    read: Callable[[Any], Any]


@dataclass(frozen=True)
class _NestedField:
    """A field of messages, converted in steps."""

    name: str
    write: Callable[[Any, Any], Steps[None]]
    read: Callable[[Any], Steps[Any]]


@cache
def _plan(kind: type[BaseModel]) -> tuple[_Field | _NestedField, ...]:
    return tuple(_field(name, wire, hint) for name, _, wire, hint in fields(kind))


def _field(name: str, wire: str, hint: Any) -> _Field | _NestedField:
    hint, optional = without_none(hint)
    hint = bare(hint)
    if get_origin(hint) is tuple:
        return _repeated(name, wire, bare(get_args(hint)[0]))
    if get_origin(hint) is Literal:
        return _enum(name, wire, type(get_args(hint)[0]), optional)
    if is_kind(hint, enum.Enum):
        return _enum(name, wire, hint, optional)
    if is_kind(hint, BaseModel):
        return _message(name, wire, hint, optional)
    if hint is datetime:
        return _time(name, wire)
    return _scalar(name, wire, optional)


def _scalar(name: str, wire: str, optional: bool) -> _Field:
    def write(message: Any, value: Any) -> None:
        if value is not None:
            setattr(message, wire, value)

    def read(message: Any) -> Any:
        return None if optional and not message.HasField(wire) else getattr(message, wire)

    return _Field(name, write, read)


def _time(name: str, wire: str) -> _Field:
    """A UTC time as a Timestamp."""
    return _Field(
        name,
        lambda message, value: getattr(message, wire).FromDatetime(value),
        lambda message: getattr(message, wire).ToDatetime(tzinfo=UTC),
    )


def _enum(name: str, wire: str, kind: type[enum.Enum], optional: bool) -> _Field:
    def read(message: Any) -> Any:
        member = enum_from_number(kind, getattr(message, wire))
        if member is None and not optional:
            raise WireError(f"{message.DESCRIPTOR.name}.{wire}: must be set")
        return member

    return _Field(name, lambda message, value: setattr(message, wire, enum_to_number(value)), read)


def _message(name: str, wire: str, kind: type[BaseModel], optional: bool) -> _NestedField:
    def write(message: Any, value: Any) -> Steps[None]:
        if value is not None:
            inner = getattr(message, wire)
            inner.SetInParent()  # a message whose fields are all empty is set, too
            yield from fill(inner, value)

    def read(message: Any) -> Steps[Any]:
        if message.HasField(wire):
            return (yield from from_message_in_steps(kind, getattr(message, wire)))
        if optional:
            return None
        raise WireError(f"{message.DESCRIPTOR.name}.{wire}: must be set")

    return _NestedField(name, write, read)


def _repeated(name: str, wire: str, hint: Any) -> _Field | _NestedField:
    if is_union(hint):
        return _messages(name, wire, *_oneof_codec(get_args(hint)))
    if is_kind(hint, BaseModel):
        return _messages(name, wire, fill, lambda message: from_message_in_steps(hint, message))
    if is_kind(hint, enum.Enum):
        return _values(name, wire, enum_to_number, lambda number: _known(hint, number))
    return _values(name, wire, lambda value: value, lambda value: value)


def _values(name: str, wire: str, pack: Callable[[Any], Any], unpack: Callable[[Any], Any]) -> _Field:
    return _Field(
        name,
        lambda message, values: getattr(message, wire).extend([pack(value) for value in values]),
        lambda message: tuple(unpack(value) for value in getattr(message, wire)),
    )


def _messages(
    name: str, wire: str, pack: Callable[[Any, Any], Steps[None]], unpack: Callable[[Any], Steps[Any]]
) -> _NestedField:
    def write(message: Any, values: Any) -> Steps[None]:
        members = getattr(message, wire)
        for value in values:
            yield from pack(members.add(), value)
            yield

    def read(message: Any) -> Steps[Any]:
        values = []
        for member in getattr(message, wire):
            values.append((yield from unpack(member)))
            yield
        return tuple(values)

    return _NestedField(name, write, read)


def _known(kind: type[E], number: int) -> E:
    member = enum_from_number(kind, number)
    if member is None:
        raise WireError(f"{kind.__name__}: {number} is none of its values")
    return member


def _oneof_codec(
    kinds: tuple[type[BaseModel], ...],
) -> tuple[Callable[[Any, Any], Steps[None]], Callable[[Any], Steps[Any]]]:
    """A union of practices is the message Practice, whose oneof has a member of each kind's message."""
    by_message = {kind.__name__: kind for kind in kinds}
    members = {
        field.message_type.name: field.name for field in lesson_pb2.Practice.DESCRIPTOR.fields if field.message_type
    }

    def pack(message: lesson_pb2.Practice, value: BaseModel) -> Steps[None]:
        inner = getattr(message, members[type(value).__name__])
        inner.SetInParent()
        yield from fill(inner, value)

    def unpack(message: lesson_pb2.Practice) -> Steps[Any]:
        member = message.WhichOneof("practice")
        if member is None:
            raise WireError("Practice: must be set")
        inner = getattr(message, member)
        return (yield from from_message_in_steps(by_message[inner.DESCRIPTOR.name], inner))

    return pack, unpack


_MODULES = (lesson_pb2, content_service_pb2, enhancer_service_pb2)
# An RPC's own messages carry its name, as the linter of the contract wants it.
_MESSAGES = {
    calls.ContentCall: "GenerateContentRequest",
    calls.EnhanceCall: "EnhanceSectionRequest",
    calls.EnhanceResult: "EnhanceSectionResponse",
}


@cache
def _message_type(kind: type[BaseModel]) -> Any:
    name = _MESSAGES.get(kind, kind.__name__)
    return next(getattr(module, name) for module in _MODULES if hasattr(module, name))


@cache
def _enum_type(kind: type[enum.Enum]) -> Any:
    return next(
        module.DESCRIPTOR.enum_types_by_name[kind.__name__]
        for module in _MODULES
        if kind.__name__ in module.DESCRIPTOR.enum_types_by_name
    )


@cache
def _prefix(kind: type[enum.Enum]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper()

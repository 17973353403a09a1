"""Which fields of the contract the product reads: mypy's types say whose field each attribute is."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from typing import get_args

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet
from mypy import build
from mypy.main import process_options
from mypy.nodes import MemberExpr
from mypy.types import Instance, Type, TypeVarType, UnionType, get_proper_type
from pydantic import BaseModel

from gateway.master import schema
from lesson import wire
from lesson.fields import bare, fields, has_mark
from lesson.models import Japanese
from tests.lesson.travelling import MODELS
from tests.repo.references import ROOT

PACKAGES = ("lesson", "gateway", "content_service", "enhancer_service", "nidan")
_WRITERS = {"CopyFrom", "SetInParent", "add", "append", "extend"}
Read = tuple[str, str]
"""The full name of a class, and the name of its field."""


def product_reads() -> frozenset[Read]:
    """Every attribute that product code loads, with the class that it belongs to. Generated code does not count."""
    types = _types()
    found: set[Read] = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if "v1" not in path.parts:
                for node in _loads(ast.parse(path.read_text(encoding="utf-8"))):
                    found |= {(kind, node.attr) for kind in types[_place(node)]}
    return frozenset(found)


def unread(contract: FileDescriptorSet, reads: frozenset[Read]) -> list[str]:
    """The fields (`Brief.topic`) that are read neither as a message's nor as its model's."""
    by_message = {wire._message_type(kind).DESCRIPTOR.name: kind for kind in MODELS}
    return [
        f"{message.name}.{field.name}"
        for file in contract.file
        if file.package == "lesson.v1"
        for message in file.message_type
        for field in message.field
        if not _is_read(_module(file.name), message.name, field, by_message.get(message.name), reads)
    ]


def _module(proto: str) -> str:
    return proto.removesuffix(".proto").replace("/", ".") + "_pb2"


def _is_read(
    module: str, message: str, field: FieldDescriptorProto, model: type[BaseModel] | None, reads: frozenset[Read]
) -> bool:
    owners = {f"{module}.{message}", *(_full_name(base) for base in (model.__mro__ if model else ()))}
    if {(owner, name) for owner in owners for name in (field.name, f"{field.name}_")} & reads:
        return True
    if message == "Practice":  # wire converts the member that WhichOneof names
        return True
    return model is not None and _is_read_as_a_whole(model, field.name, reads)


def _is_read_as_a_whole(model: type[BaseModel], name: str, reads: frozenset[Read]) -> bool:
    """A Japanese string is an item; a model that is dumped, or stands whole in the master JSON, is read by its walk."""
    hints = {field.wire_name: field.hint for field in fields(model)}
    keys = {field.json_name for field in fields(model)}
    dumped = (_full_name(model), "model_dump") in reads or any(keys <= found for found in _keys_in_master())
    return name in hints and (has_mark(hints[name], Japanese) or dumped)


@cache
def _keys_in_master() -> tuple[frozenset[str], ...]:
    """The keys of each object in the details of the golden lesson's cards, and of each kind of exercise."""
    master = json.loads((ROOT / "tests" / "golden" / "jf-349.json").read_text(encoding="utf-8"))
    cards = [card for section in master["ui"]["sections"] for card in section["cards"]]
    exercises = [frozenset(field.json_name for field in fields(kind)) for kind in get_args(bare(schema.Exercise))]
    return (*_key_sets([card.get("detail") for card in cards]), *exercises)


def _key_sets(value: object) -> Iterator[frozenset[str]]:
    if isinstance(value, dict):
        yield frozenset(value)
    for member in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _key_sets(member)


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__name__}"


_Place = tuple[int, int, int | None, int | None, str]


def _types() -> defaultdict[_Place, set[str]]:
    """The classes of the objects whose attributes are taken, by place. Two files may share a place."""
    sources, options = process_options([str(ROOT / package) for package in PACKAGES])
    options.export_types, options.preserve_asts, options.incremental = True, True, False
    options.follow_imports, options.plugins = "skip", []  # other packages' types are not needed
    result = build.build(sources, options)
    found: defaultdict[_Place, set[str]] = defaultdict(set)
    for node in result.types:
        if isinstance(node, MemberExpr) and node.expr in result.types:
            place = (node.line, node.column, node.end_line, node.end_column, node.name)
            found[place].update(_classes(result.types[node.expr]))
    return found


def _classes(type_: Type) -> Iterator[str]:
    proper = get_proper_type(type_)
    if isinstance(proper, UnionType):
        for member in proper.items:
            yield from _classes(member)
    elif isinstance(proper, TypeVarType):
        yield from _classes(proper.upper_bound)
    elif isinstance(proper, Instance):
        yield proper.type.fullname


def _place(node: ast.Attribute) -> _Place:
    return (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, node.attr)


def _loads(tree: ast.AST) -> Iterable[ast.Attribute]:
    """Attributes whose value is used. A path to a field that is written (`reply.lesson.CopyFrom(...)`) is not."""
    written: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (isinstance(node.ctx, ast.Store) or node.attr in _WRITERS):
            written |= _path(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fill":
            written |= _path(node.args[0])
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node not in written
    ]


def _path(node: ast.AST) -> set[ast.AST]:
    found: set[ast.AST] = set()
    while isinstance(node, ast.Attribute):
        found.add(node)
        node = node.value
    return found

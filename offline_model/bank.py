"""The lesson bank: whole hand-written lessons, read from YAML once at start.

A file holds one lesson in the shape of Stage 1's JSON, except that
- a Japanese text for the learner is `{ja: <bracket notation>, en: <translation>}`, with `en` only where one is shown;
- `reading.text` is a list of paragraphs, each a list of sentences; a line break joins the paragraphs;
- `reviewedBy` and `reviewedOn` name the reviewing teacher and the day, or both are null and the lesson says so;
- a gap names its `word`, which must occur once in its sentence; `start` and `length` are computed.
Any error in a file raises BankError, so no broken lesson is ever served.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, Self

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from lesson.items import extract_items
from lesson.models import Content, Level, SectionName
from offline_model import brackets

SECTION_KEYS = tuple(name.json_key for name in SectionName)
"""The JSON keys of a lesson's sections, in the order in which Stage 1 writes them."""


class BankError(Exception):
    """An unusable bank file. The message names the file, the path inside it and the error."""


class Annotation(NamedTuple):
    """Stage 2's answer for a text: its reading in bracket notation and, where one is shown, its translation."""

    brackets: str
    translation: str | None


@dataclass(frozen=True)
class BankLesson:
    can_do_id: str
    aliases: tuple[str, ...]
    topic: str
    level: Level
    learner_language: str
    reviewed_by: str | None
    reviewed_on: date | None
    sections: Mapping[str, str]
    """Compact JSON text by JSON key: every reader parses its own copy."""
    annotations: Mapping[str, Annotation]
    """By plain text."""

    @property
    def origin(self) -> str:
        """The label that every lesson from this bank carries, so that readers know its source."""
        if self.reviewed_by is None:
            return "built-in lesson, not reviewed by a teacher"
        return f"built-in lesson, reviewed by {self.reviewed_by} on {self.reviewed_on}"


@dataclass(frozen=True)
class Bank:
    """All lessons, found by Can-do id or alias; all annotations, found by plain text."""

    lessons: tuple[BankLesson, ...]
    _by_id: Mapping[str, BankLesson]
    _annotations: Mapping[str, Annotation]

    def lesson(self, can_do_id: str) -> BankLesson | None:
        """The lesson with exactly that id or alias."""
        return self._by_id.get(can_do_id)

    def stage1(self, can_do_id: str, sections: Iterable[str]) -> dict[str, Any]:
        """The plain Stage 1 JSON of the wanted sections (JSON keys), in canonical order, as a fresh copy.

        Raises KeyError for an unknown id or section.
        """
        lesson, wanted = self._by_id[can_do_id], set(sections)
        if unknown := wanted - lesson.sections.keys():
            raise KeyError(min(unknown))
        return {key: json.loads(text) for key, text in lesson.sections.items() if key in wanted}

    def annotation(self, text: str) -> Annotation | None:
        """The annotation of exactly this text in any lesson, or None."""
        return self._annotations.get(text)


def load_bank(folder: Traversable | Path | None = None) -> Bank:
    """Reads every *.yaml of the folder (the bank of this package when None). Raises BankError."""
    where = folder or importlib.resources.files("offline_model") / "bank"
    files = sorted((file for file in where.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    if not files:
        raise BankError(f"{where}: has no lesson file (*.yaml)")
    by_id: dict[str, BankLesson] = {}
    annotations: dict[str, Annotation] = {}
    lessons = tuple(_add_file(file, by_id, annotations) for file in files)
    return Bank(lessons, MappingProxyType(by_id), MappingProxyType(annotations))


def _add_file(file: Traversable, by_id: dict[str, BankLesson], annotations: dict[str, Annotation]) -> BankLesson:
    """Reads a file and adds its lesson to those of the files before it."""
    try:
        lesson = _read(file.read_text(encoding="utf-8"))
        for can_do_id in (lesson.can_do_id, *lesson.aliases):
            _add_id(by_id, can_do_id, lesson)
        for text, annotation in lesson.annotations.items():
            _add_annotation(annotations, text, annotation, "lesson")
    except _FaultError as fault:
        raise BankError(f"{file.name}: {fault.path}: {fault.message}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BankError(f"{file.name}: cannot read the file: {error}") from error
    return lesson


@dataclass(eq=False)
class _FaultError(Exception):
    path: str
    message: str


def _add_id(by_id: dict[str, BankLesson], can_do_id: str, lesson: BankLesson) -> None:
    if can_do_id in by_id:
        raise _FaultError("canDoId", f"{can_do_id} is in the bank twice")
    by_id[can_do_id] = lesson


def _add_annotation(annotations: dict[str, Annotation], text: str, new: Annotation, path: str) -> None:
    """Look-up is by text alone, so a text has one reading and one translation in the whole bank."""
    old = annotations.get(text, new)
    if old.brackets != new.brackets:
        raise _FaultError(path, f"{text} is read in two ways, {old.brackets} and {new.brackets}")
    if old.translation and new.translation and old.translation != new.translation:
        raise _FaultError(path, f"{text} is translated in two ways, {old.translation!r} and {new.translation!r}")
    annotations[text] = Annotation(new.brackets, old.translation or new.translation)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    can_do_id: str
    aliases: tuple[str, ...]
    topic: str
    level: Level
    learner_language: str
    reviewed_by: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] | None
    reviewed_on: date | None
    lesson: dict[str, Any]

    @model_validator(mode="after")
    def _reviewed_with_a_date(self) -> Self:
        if (self.reviewed_by is None) != (self.reviewed_on is None):
            raise ValueError("reviewedBy and reviewedOn are both given, or both null")
        return self


def _read(text: str) -> BankLesson:
    # The loader derives from SafeLoader and makes plain values only.
    tree = yaml.load(text, _StrictLoader)  # noqa: S506
    try:
        file = _File.model_validate(tree)
    except ValidationError as error:
        raise _first_fault(error, "") from None
    reader = _Reader()
    plain = reader.lesson(file.lesson)
    _check(plain, reader.annotations)
    return BankLesson(
        can_do_id=file.can_do_id,
        aliases=file.aliases,
        topic=file.topic,
        level=file.level,
        learner_language=file.learner_language,
        reviewed_by=file.reviewed_by,
        reviewed_on=file.reviewed_on,
        sections=MappingProxyType({key: _compact(plain[key]) for key in SECTION_KEYS}),
        annotations=MappingProxyType(reader.annotations),
    )


class _StrictLoader(yaml.CSafeLoader):
    """Refuses a repeated key; plain YAML silently drops the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return mapping


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _first_fault(error: ValidationError, above: str) -> _FaultError:
    first = error.errors(include_url=False, include_input=False)[0]
    return _FaultError(above + ".".join(map(str, first["loc"])), first["msg"])


@dataclass
class _Reader:
    """Turns a file's lesson into plain Stage 1 JSON and collects its annotations."""

    annotations: dict[str, Annotation] = field(default_factory=dict)

    def lesson(self, lesson: dict[str, Any]) -> dict[str, Any]:
        plain = {key: self._plain(value, f"lesson.{key}") for key, value in lesson.items()}
        _join_reading(plain.get("reading"))
        for index, practice in enumerate(_members(plain.get("practice"))):
            _place_gaps(practice, f"lesson.practice.{index}")
        return plain

    def _plain(self, node: Any, path: str) -> Any:
        if isinstance(node, dict):
            if "ja" in node:
                return self._japanese(node, path)
            return {key: self._plain(value, f"{path}.{key}") for key, value in node.items()}
        if isinstance(node, list):
            return [self._plain(value, f"{path}.{index}") for index, value in enumerate(node)]
        return node

    def _japanese(self, node: dict[str, Any], path: str) -> str:
        written, translation = node["ja"], node.get("en")
        if not isinstance(written, str) or not (translation is None or isinstance(translation, str)):
            raise _FaultError(path, "ja and en must be texts")
        if unknown := node.keys() - {"ja", "en"}:
            raise _FaultError(path, f"a Japanese text has ja and en, not {min(unknown)}")
        if wrong := brackets.fault(written):
            raise _FaultError(path, f"{written}: {wrong}")
        text = brackets.plain(written)
        _add_annotation(self.annotations, text, Annotation(written, translation), path)
        return text


def _members(value: object) -> list[dict[str, Any]]:
    """The objects of a list; empty for any other value, which the models later refuse with its path."""
    return [member for member in value if isinstance(member, dict)] if isinstance(value, list) else []


def _join_reading(reading: object) -> None:
    if not isinstance(reading, dict):
        return
    paragraphs = reading.get("text")
    if not isinstance(paragraphs, list) or not all(isinstance(lines, list) for lines in paragraphs):
        raise _FaultError("lesson.reading.text", "must be a list of paragraphs, each a list of sentences")
    reading["text"] = "\n".join("".join(map(str, lines)) for lines in paragraphs)


def _place_gaps(practice: dict[str, Any], path: str) -> None:
    for index, sentence in enumerate(_members(practice.get("sentences"))):
        gaps = _members(sentence.get("gaps"))
        places = [f"{path}.sentences.{index}.gaps.{number}" for number in range(len(gaps))]
        sentence["gaps"] = [_place(gap, str(sentence.get("text")), at) for gap, at in zip(gaps, places, strict=True)]


def _place(gap: dict[str, Any], sentence: str, path: str) -> dict[str, Any]:
    word = gap.pop("word", None)
    if not isinstance(word, str) or not word or sentence.count(word) != 1:
        raise _FaultError(f"{path}.word", f"must stand exactly once in {sentence}")
    return {"start": sentence.index(word), "length": len(word), **gap}


def _check(plain: dict[str, Any], annotations: Mapping[str, Annotation]) -> None:
    """Raises _FaultError unless the lesson is complete and valid, without unknown fields, and fully annotated."""
    if missing := [key for key in SECTION_KEYS if not plain.get(key)]:
        raise _FaultError(f"lesson.{missing[0]}", "is missing")
    try:
        content = Content.model_validate(plain)
    except ValidationError as error:
        raise _first_fault(error, "lesson.") from None
    _check_same(plain, content.model_dump(mode="json", by_alias=True), "lesson")
    for name in SectionName:
        _check_annotated(content, name, annotations)


def _check_same(given: object, kept: object, path: str) -> None:
    """The models ignore unknown keys and strip white space. A hand-written lesson must rely on neither."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key not in kept:
                raise _FaultError(f"{path}.{key}", "is no field of a lesson")
            _check_same(value, kept[key], f"{path}.{key}")
    elif isinstance(given, list) and isinstance(kept, list):
        for index, (one, other) in enumerate(zip(given, kept, strict=True)):
            _check_same(one, other, f"{path}.{index}")
    elif given != kept:
        raise _FaultError(path, f"is read as {kept!r}; write it so")


def _check_annotated(content: Content, name: SectionName, annotations: Mapping[str, Annotation]) -> None:
    section = content.section(name)
    for item in extract_items(name, section) if section is not None else ():
        annotation = annotations.get(item.text.strip())
        if annotation is None:
            raise _FaultError(f"lesson.{item.id}", f"{item.text} must be written {{ja: ..., en: ...}}")
        if item.needs_translation and not annotation.translation:
            raise _FaultError(f"lesson.{item.id}", f"{item.text} needs a translation (en)")

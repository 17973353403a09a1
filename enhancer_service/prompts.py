"""The Stage 2 prompt, from `prompt.toml`: a static system part per mode, then one block of data."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Collection, Mapping
from functools import cache
from importlib import resources
from typing import Any

from pydantic import BaseModel, ConfigDict

from lesson.models import Brief, EnhancementMode, Frame, Issue, Item, ItemKind, SectionName
from servicekit.llm.data_block import data_block
from servicekit.llm.schema import outline, strict_schema

_BRIEF_FIELDS = {"can_do_id", "topic", "level", "learner_language"}
_PLAIN_KINDS = (ItemKind.SENTENCE, ItemKind.TURN)
_SHAPE = "\nThe shape of the answer:\n"


@cache
def _data() -> dict[str, str]:
    return tomllib.loads(resources.files("enhancer_service").joinpath("prompt.toml").read_text(encoding="utf-8"))


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str


class _Translated(_Answer):
    translation: str | None = None


class _Bracketed(_Translated):
    furigana: str | None = None


class _TranslatedItems(BaseModel):
    items: tuple[_Translated, ...]
    unsure: tuple[str, ...]


class _BracketedItems(BaseModel):
    items: tuple[_Bracketed, ...]
    unsure: tuple[str, ...]


class _Correction(_Answer):
    word: str
    reading: str


class _ReviewedItems(BaseModel):
    items: tuple[_Translated, ...]
    corrections: tuple[_Correction, ...]
    unsure: tuple[str, ...]


_ANSWERS: dict[EnhancementMode, type[BaseModel]] = {
    EnhancementMode.MODEL: _BracketedItems,
    EnhancementMode.REVIEW: _ReviewedItems,
    EnhancementMode.ANALYSER: _TranslatedItems,
}


def answer_schema(mode: EnhancementMode) -> dict[str, Any]:
    """The strict JSON Schema of an answer in that mode."""
    return _schema(_ANSWERS[mode])


@cache
def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    return strict_schema(kind.model_json_schema())


@cache
def system_prompt(mode: EnhancementMode, with_shape: bool) -> str:
    """The static part. Spells out the shape only for models that do not take a strict schema."""
    text = _data()["common"].lstrip() + _data()[mode.value].lstrip()
    return text + _SHAPE + outline(answer_schema(mode)) if with_shape else text


@cache
def prompt_version() -> str:
    """The version's name and a hash of everything that the prompt can send."""
    sent = "".join(system_prompt(mode, with_shape) for mode in EnhancementMode for with_shape in (False, True))
    return f"{_data()['version']}+{hashlib.sha256(sent.encode()).hexdigest()[:8]}"


def user_prompt(
    *,
    section: SectionName,
    mode: EnhancementMode,
    brief: Brief,
    frame: Frame | None,
    items: Collection[Item],
    shown: Mapping[str, str],
    wanted_ids: Collection[str],
    reask_reasons: tuple[Issue, ...],
) -> str:
    """The data of this attempt: the numbered items of the whole section, of which the model answers `wanted_ids`.

    `shown` maps an item id to the text with readings in brackets, where the model sees that in place of the item's text.
    """
    data: dict[str, Any] = {
        "section": section.value,
        "mode": mode.value,
        "brief": brief.model_dump(mode="json", by_alias=True, include=_BRIEF_FIELDS),
        "items": [
            _item(number, item, shown.get(item.id, item.text), item.id in wanted_ids)
            for number, item in enumerate(items, 1)
        ],
    }
    if frame is not None:
        data["register"] = frame.register_.value
        data["scenario"] = frame.scenario
        data["characters"] = [{"name": person.name, "kana": person.kana} for person in frame.characters]
    if reask_reasons:
        numbers = {item.id: str(number) for number, item in enumerate(items, start=1)}
        data["reask"] = [
            str(issue.model_copy(update={"path": numbers.get(issue.path, issue.path)})) for issue in reask_reasons
        ]
    return f"Annotate the wanted items of the data.\n{data_block(data)}"


def _item(number: int, item: Item, text: str, wanted: bool) -> dict[str, Any]:
    """Leaves out the usual values, which would take a third of the prompt."""
    entry: dict[str, Any] = {"id": str(number), "text": text}
    if not wanted:
        return entry | {"want": False}
    if item.kind not in _PLAIN_KINDS:
        entry["kind"] = item.kind.value
    return entry if item.needs_translation else entry | {"translate": False}

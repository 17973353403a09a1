"""Stage 2: one section annotated by the analyser, and by one model call where only a model knows.

The reply has, for every wanted item, the best there is: losing the model costs translations, never furigana or romaji.
What a model says of a reading is checked before it is believed; an item's text never changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from enhancer_service import prompts
from enhancer_service.japanese.annotate import Annotation, annotate
from enhancer_service.japanese.furigana import parse_brackets
from enhancer_service.japanese.hepburn import Style
from enhancer_service.japanese.reading import Analyser
from enhancer_service.japanese.verify import problems, translation_problems
from enhancer_service.prompts import ServedMode
from lesson.models import (
    Attempt,
    AttemptOutcome,
    Brief,
    EnhancedItem,
    EnhancementMode,
    Frame,
    FuriganaSegment,
    Item,
    ItemKind,
    JapaneseText,
    ReadingProvenance,
    SectionName,
    Stage,
    TranslationProvenance,
    attempt_reported,
)
from servicekit.llm.capabilities import capabilities
from servicekit.llm.client import CallOutcome, JsonSchema, ModelClient, ModelRequest, Reply
from servicekit.llm.extraction import ExtractError, extract

# Brackets repeat the text, and a translation is about as long again; measured on lessons of ours it stays far below.
_TOKENS_PER_ITEM = 80
_TOKENS_PER_CHARACTER = 6


@dataclass(frozen=True)
class EnhanceRequest:
    """One attempt at a section. `items` is the whole section in order; the ids in `wanted` are to be annotated."""

    section: SectionName
    brief: Brief
    frame: Frame | None
    items: tuple[Item, ...]
    wanted: frozenset[str]
    learner_language: str
    model: str
    """Empty: the analyser alone, and no call."""
    attempt_id: str
    timeout_seconds: float
    mode: ServedMode = EnhancementMode.MODEL
    reask_reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Enhanced:
    """Every wanted item in order, and the model call's attempt when one was made."""

    items: tuple[EnhancedItem, ...]
    attempt: Attempt | None


@dataclass(frozen=True)
class _Said:
    """What the model said of one item, after the checks."""

    segments: tuple[FuriganaSegment, ...] | None = None
    translation: str | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Answers:
    outcome: AttemptOutcome
    reason: str
    by_id: Mapping[str, _Said] = field(default_factory=dict)


class EnhancerStage:
    """Asks one model server, or none."""

    def __init__(self, analyser: Analyser, client: ModelClient | None, romaji_style: Style) -> None:
        self._analyser = analyser
        self._client = client
        self._style: Style = romaji_style

    async def enhance(self, request: EnhanceRequest) -> Enhanced:
        """Never raises for what a model does; the attempt says it."""
        wanted = [item for item in request.items if item.id in request.wanted]
        asked = [item for item in wanted if item.kind.needs_model] if request.model and self._client else []
        answers, attempt = await self._ask(request, asked) if asked else (None, None)
        names = _names(request.frame)
        enhanced = []
        for item in wanted:
            said = answers.by_id.get(item.id, _Said(faults=("no answer for it",))) if answers else _Said()
            said = said if item in asked else _Said()
            enhanced.append(self._enhanced(item, said, names, request.model))
            await asyncio.sleep(0)  # an item costs about a millisecond; other calls get their turn between two
        return Enhanced(tuple(enhanced), attempt)

    async def _ask(self, request: EnhanceRequest, asked: list[Item]) -> tuple[_Answers, Attempt]:
        assert self._client is not None  # noqa: S101 - nothing is asked without a client
        ids = frozenset(item.id for item in asked)
        reply = await self._client.complete(_model_request(request, asked, ids, self._client))
        answers = _judged(request, asked, reply)
        attempt = attempt_reported(
            reply,
            attempt_id=request.attempt_id,
            stage=Stage.STAGE2,
            section=request.section,
            provider=self._client.provider.value,
            model=request.model,
            outcome=answers.outcome,
            reason=answers.reason,
        )
        return answers, attempt

    def _enhanced(self, item: Item, said: _Said, names: Mapping[str, str], model: str) -> EnhancedItem:
        annotation = annotate(self._analyser, item.text, names, said.segments, self._style)
        provenance = ReadingProvenance.MODEL if said.segments else ReadingProvenance.ANALYSER
        if item.kind is ItemKind.NAME and item.text in names:
            provenance = ReadingProvenance.FRAME
        return EnhancedItem(
            text=_japanese_text(item, annotation, provenance, said.translation, model), faults=said.faults
        )


def _names(frame: Frame | None) -> Mapping[str, str]:
    return {person.name: person.kana for person in frame.characters if person.kana} if frame else {}


def _japanese_text(
    item: Item, annotation: Annotation, provenance: ReadingProvenance, translation: str | None, model: str
) -> JapaneseText:
    return JapaneseText(
        id=item.id,
        kanji=item.text,
        reading=annotation.reading,
        romaji=annotation.romaji,
        furigana=annotation.segments,
        translation=translation,
        needs_translation=item.needs_translation,
        words=annotation.words,
        reading_provenance=provenance,
        translation_provenance=TranslationProvenance.MODEL if translation else TranslationProvenance.NONE,
        reading_model=model if provenance is ReadingProvenance.MODEL else "",
        translation_model=model if translation else "",
        alternatives=(),
        notes=(),
    )


def _model_request(
    request: EnhanceRequest, asked: list[Item], ids: frozenset[str], client: ModelClient
) -> ModelRequest:
    structured = capabilities(client.provider, request.model).structured
    return ModelRequest(
        model=request.model,
        system=prompts.system_prompt(request.mode, with_shape=structured != "json_schema"),
        user=prompts.user_prompt(
            section=request.section,
            mode=request.mode,
            brief=request.brief,
            frame=request.frame,
            items=request.items,
            asked=ids,
            reask_reasons=request.reask_reasons,
        ),
        attempt_id=request.attempt_id,
        max_output_tokens=sum(_TOKENS_PER_ITEM + _TOKENS_PER_CHARACTER * len(item.text) for item in asked),
        timeout_seconds=request.timeout_seconds,
        schema=JsonSchema("annotations", prompts.answer_schema(request.mode)),
        temperature=0.0,
    )


def _judged(request: EnhanceRequest, asked: list[Item], reply: Reply) -> _Answers:
    """What the answer is worth: the call's own outcome first, then whole JSON, then item by item."""
    if reply.outcome is not CallOutcome.OK:
        return _Answers(AttemptOutcome(reply.outcome.value), reply.reason)
    try:
        entries = extract(reply.text, ["items"], reply.finish_reason).value["items"]
    except ExtractError as error:
        return _Answers(AttemptOutcome.INVALID_JSON, f"{error.reason}: {error.detail}")
    answered = _by_item(request.items, entries)
    by_id = {item.id: _said(item, answered.get(item.id), request) for item in asked}
    faulty = {id_: said.faults for id_, said in by_id.items() if said.faults}
    if not faulty:
        return _Answers(AttemptOutcome.OK, "", by_id)
    first, faults = next(iter(faulty.items()))
    reason = f"{len(faulty)} of {len(asked)} items have faults; {first}: {faults[0]}"
    return _Answers(AttemptOutcome.INVALID_SCHEMA, reason, by_id)


def _by_item(items: tuple[Item, ...], entries: Any) -> dict[str, Mapping[str, Any]]:
    """Answers by item id. An id that was answered twice is believed in neither."""
    numbers = {str(number): item.id for number, item in enumerate(items, start=1)}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, Mapping) and str(entry.get("id")) in numbers:
            found.setdefault(numbers[str(entry["id"])], []).append(entry)
    return {id_: entries[0] for id_, entries in found.items() if len(entries) == 1}


def _said(item: Item, entry: Mapping[str, Any] | None, request: EnhanceRequest) -> _Said:
    if entry is None:
        return _Said(faults=("no answer for it",))
    segments, faults = None, []
    if request.mode is EnhancementMode.MODEL:
        segments, wrong = _furigana(item, entry.get("furigana"))
        faults += wrong
    translation, wrong = _translation(item, entry.get("translation"), request.learner_language)
    return _Said(segments, translation, (*faults, *wrong))


def _furigana(item: Item, given: object) -> tuple[tuple[FuriganaSegment, ...] | None, list[str]]:
    segments = parse_brackets(given, item.text) if isinstance(given, str) else None
    if segments is None:
        return None, ["furigana: does not spell the text, character for character"]
    wrong = [f"furigana: {problem}" for problem in problems(item.text, segments)]
    return (None if wrong else segments), wrong


def _translation(item: Item, given: object, language: str) -> tuple[str | None, list[str]]:
    if not item.needs_translation:
        return None, []
    text = given.strip() if isinstance(given, str) else ""
    wrong = [f"translation: {problem}" for problem in translation_problems(item.text, text, language)]
    return (None if wrong else text), wrong

"""Stage 2: one section annotated by the analyser, and by one model call where only a model knows.

The reply has, for every wanted item, the best there is: losing the model costs translations, never furigana or romaji.
What a model says of a reading is checked before it is believed; an item's text never changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from enhancer_service import prompts
from enhancer_service.annotator import Annotation, Annotator, Correction, ProposedReading
from enhancer_service.translation import translation_problems
from lesson.models import (
    Attempt,
    AttemptOutcome,
    Brief,
    EnhancedItem,
    EnhancementMode,
    Frame,
    Item,
    JapaneseText,
    ReadingProvenance,
    SectionName,
    Stage,
    TranslationProvenance,
    attempt_reported,
)
from lesson.token_budget import token_budget
from servicekit.llm.capabilities import capabilities
from servicekit.llm.client import CallOutcome, JsonSchema, ModelClient, ModelRequest, Reply
from servicekit.llm.extraction import ExtractError, extract

_UNANSWERED = "no answer for it"


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
    mode: EnhancementMode = EnhancementMode.REVIEW
    reask_reasons: tuple[str, ...] = ()
    max_cost_usd: float | None = None


@dataclass(frozen=True)
class Enhanced:
    """Every wanted item in order, and the model call's attempt when one was made."""

    items: tuple[EnhancedItem, ...]
    attempt: Attempt | None


@dataclass(frozen=True)
class _Answer:
    """What the model said of one item: of its reading, unchecked, and its translation if that can stand."""

    said: ProposedReading | None = None
    translation: str | None = None
    faults: tuple[str, ...] = ()
    unsure: bool = False
    """The model says that it is not sure of it."""


@dataclass(frozen=True)
class _Answers:
    """An answer read, or why it could not be."""

    outcome: AttemptOutcome
    reason: str = ""
    by_id: Mapping[str, _Answer] = field(default_factory=dict)


class EnhancerStage:
    """Annotates by one annotator, and asks one model server, or none."""

    def __init__(self, annotator: Annotator, client: ModelClient | None, reasoning_effort: str = "low") -> None:
        """The effort goes to models that take one."""
        self.annotator = annotator
        self._client = client
        self._reasoning_effort = reasoning_effort

    async def enhance(self, request: EnhanceRequest) -> Enhanced:
        """Never raises for what a model does; the attempt says it."""
        wanted = [item for item in request.items if item.id in request.wanted]
        asked = [item for item in wanted if item.needs_model(request.mode)] if request.model and self._client else []
        names, taught = _names(request.frame), _taught(request.frame)
        reply = await self._ask(request, asked, names) if asked else None
        answers = _read(request, asked, reply) if reply else _Answers(AttemptOutcome.OK)
        enhanced = []
        for item in wanted:
            answer = answers.by_id.get(item.id) or _Answer(taught.get(item.text))
            enhanced.append(self._enhanced(item, answer, names, request.model))
            await asyncio.sleep(0)  # an item costs about a millisecond; other calls get their turn between two
        return Enhanced(tuple(enhanced), self._attempt(request, asked, reply, answers, enhanced) if reply else None)

    async def _ask(self, request: EnhanceRequest, asked: list[Item], names: Mapping[str, str]) -> Reply:
        assert self._client is not None  # noqa: S101 - nothing is asked without a client
        review = request.mode is EnhancementMode.REVIEW
        shown = {item.id: self.annotator.bracketed(item.text, names) for item in request.items} if review else {}
        return await self._client.complete(self._model_request(request, asked, shown, self._client))

    def _model_request(
        self, request: EnhanceRequest, asked: list[Item], shown: Mapping[str, str], client: ModelClient
    ) -> ModelRequest:
        able = capabilities(client.provider, request.model)
        budget = token_budget(request.items, asked, request.mode)
        return ModelRequest(
            model=request.model,
            system=prompts.system_prompt(request.mode, with_shape=able.structured != "json_schema"),
            user=prompts.user_prompt(
                section=request.section,
                mode=request.mode,
                brief=request.brief,
                frame=request.frame,
                items=request.items,
                shown=shown,
                asked=frozenset(item.id for item in asked),
                reask_reasons=request.reask_reasons,
            ),
            attempt_id=request.attempt_id,
            max_output_tokens=budget.with_reasoning(able.reasoning_effort).output_tokens,
            timeout_seconds=request.timeout_seconds,
            schema=JsonSchema("annotations", prompts.answer_schema(request.mode)),
            temperature=0.0,
            reasoning_effort=self._reasoning_effort,
            max_cost_usd=request.max_cost_usd,
        )

    def _enhanced(self, item: Item, answer: _Answer, names: Mapping[str, str], model: str) -> EnhancedItem:
        annotation = self.annotator.annotate(item.text, names, answer.said)
        return EnhancedItem(
            text=_japanese_text(item, annotation, answer, model),
            faults=(*annotation.faults, *answer.faults),
        )

    def _attempt(
        self, request: EnhanceRequest, asked: list[Item], reply: Reply, answers: _Answers, enhanced: list[EnhancedItem]
    ) -> Attempt:
        assert self._client is not None  # noqa: S101 - it gave the reply
        outcome, reason = answers.outcome, answers.reason
        faulty = [item for item in enhanced if item.faults]
        if outcome is AttemptOutcome.OK and faulty:
            outcome = AttemptOutcome.INVALID_SCHEMA
            first = f"{faulty[0].text.id}: {faulty[0].faults[0]}"
            reason = f"{len(faulty)} of {len(asked)} items have faults; {first}"
        return attempt_reported(
            reply,
            attempt_id=request.attempt_id,
            stage=Stage.STAGE2,
            section=request.section,
            provider=self._client.provider.value,
            model=request.model,
            outcome=outcome,
            reason=reason,
        )


def _names(frame: Frame | None) -> Mapping[str, str]:
    return {person.name: person.kana for person in frame.characters if person.kana} if frame else {}


def _taught(frame: Frame | None) -> Mapping[str, ProposedReading]:
    """What the frame says of its target words: alone, without a sentence around it, 辛い is からい or つらい."""
    words = frame.target_words if frame else ()
    return {
        word.surface: ProposedReading(
            corrections=(Correction(word.surface, word.reading),), source=ReadingProvenance.FRAME
        )
        for word in words
        if word.reading and word.reading != word.surface
    }


def _japanese_text(item: Item, annotation: Annotation, answer: _Answer, model: str) -> JapaneseText:
    translation = answer.translation
    by_model = annotation.provenance in (ReadingProvenance.MODEL, ReadingProvenance.REPAIRED)
    return JapaneseText(
        id=item.id,
        kanji=item.text,
        reading=annotation.reading,
        romaji=annotation.romaji,
        furigana=annotation.segments,
        translation=translation,
        needs_translation=item.needs_translation,
        words=annotation.words,
        reading_provenance=annotation.provenance,
        translation_provenance=TranslationProvenance.MODEL if translation else TranslationProvenance.NONE,
        reading_model=model if by_model else "",
        translation_model=model if translation else "",
        alternatives=annotation.alternatives,
        notes=(*annotation.notes, *([f"{model} is not sure of it"] if answer.unsure else [])),
    )


def _read(request: EnhanceRequest, asked: list[Item], reply: Reply) -> _Answers:
    """The answer by item: the call's own outcome first, then whole JSON, then each item's part of it."""
    if reply.outcome is not CallOutcome.OK:
        return _none(asked, AttemptOutcome(reply.outcome.value), reply.reason)
    try:
        given = extract(reply.text, ["items"], reply.finish_reason).value["items"]
    except ExtractError as error:
        return _none(asked, AttemptOutcome.INVALID_JSON, f"{error.reason}: {error.detail}")
    numbers = {str(number): item.id for number, item in enumerate(request.items, start=1)}
    entries = {id_: found for id_, found in _by_item(numbers, given).items() if len(found) == 1}
    corrections = _by_item(numbers, _beside_items(reply, "corrections"))
    unsure = {numbers.get(str(number)) for number in _beside_items(reply, "unsure")}
    answers = {
        item.id: replace(
            _answer(item, next(iter(entries.get(item.id, ())), None), corrections.get(item.id, []), request),
            unsure=item.id in unsure,
        )
        for item in asked
    }
    return _Answers(AttemptOutcome.OK, "", answers)


def _beside_items(reply: Reply, key: str) -> list[Any]:
    """The list that stands beside the items of an answer that is whole JSON; none is no fault."""
    try:
        given = extract(reply.text, [key], reply.finish_reason).value[key]
    except ExtractError:
        return []
    return given if isinstance(given, list) else []


def _none(asked: list[Item], outcome: AttemptOutcome, reason: str) -> _Answers:
    return _Answers(outcome, reason, {item.id: _Answer(faults=(_UNANSWERED,)) for item in asked})


def _by_item(numbers: Mapping[str, str], entries: Any) -> dict[str, list[Mapping[str, Any]]]:
    """Entries by item id; what names no item is left out. An id that was answered twice is believed in neither."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, Mapping) and str(entry.get("id")) in numbers:
            found.setdefault(numbers[str(entry["id"])], []).append(entry)
    return found


def _answer(
    item: Item, entry: Mapping[str, Any] | None, corrections: list[Mapping[str, Any]], request: EnhanceRequest
) -> _Answer:
    reviewed = request.mode is EnhancementMode.REVIEW
    if entry is None and not (reviewed and not item.needs_translation):
        return _Answer(faults=(_UNANSWERED,))
    said = None
    if reviewed:
        said = ProposedReading(corrections=tuple(_correction(correction) for correction in corrections))
    elif request.mode is EnhancementMode.MODEL and entry is not None:
        said = ProposedReading(furigana=str(entry.get("furigana") or ""))
    translation, faults = _translation(item, entry.get("translation") if entry else None, request.learner_language)
    return _Answer(said, translation, tuple(faults))


def _correction(entry: Mapping[str, Any]) -> Correction:
    return Correction(str(entry.get("word") or ""), str(entry.get("reading") or ""))


def _translation(item: Item, given: object, language: str) -> tuple[str | None, list[str]]:
    if not item.needs_translation:
        return None, []
    text = given.strip() if isinstance(given, str) else ""
    wrong = [f"translation: {problem}" for problem in translation_problems(item.text, text, language)]
    return (None if wrong else text), wrong

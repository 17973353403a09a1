"""Stage 2: annotates one section with the analyser, and with one model call for what only a model knows.

The reply holds the best available annotation of every wanted item. Without the model the lesson loses translations, but
never furigana or romaji. A model's readings count only after validation, and an item's text never changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from enhancer_service import prompts
from enhancer_service.annotator import Annotation, Annotator, Correction, ProposedReading
from enhancer_service.translation import translation_problems
from lesson.calls import EnhanceCall, EnhanceResult
from lesson.characters import character_problem
from lesson.models import (
    Attempt,
    AttemptOutcome,
    EnhancedItem,
    EnhancementMode,
    Frame,
    Issue,
    IssueSeverity,
    Item,
    JapaneseText,
    ReadingProvenance,
    Stage,
    TranslationProvenance,
    attempt_reported,
)
from lesson.token_budget import token_budget
from servicekit.llm.calls import CallOutcome, JsonSchema, ModelRequest, Reply
from servicekit.llm.capabilities import capabilities
from servicekit.llm.extraction import ExtractError, extract

if TYPE_CHECKING:
    from servicekit.llm.client import ModelClient

T = TypeVar("T")

_UNANSWERED = "no answer for it"
_LONG_CHARACTERS = 300
"""A longer text is read in a thread of its own: it would hold the loop for more than some milliseconds."""


@dataclass(frozen=True)
class _Answer:
    """The model's answer for one item: its unvalidated reading and its translation, if usable."""

    proposed: ProposedReading | None = None
    translation: str | None = None
    faults: tuple[str, ...] = ()
    unsure: bool = False
    """Whether the model marked the item as unsure."""


@dataclass(frozen=True)
class _Answers:
    """The answer by item, or the reason why it is unreadable."""

    outcome: AttemptOutcome
    reason: str = ""
    by_id: Mapping[str, _Answer] = field(default_factory=dict)


class EnhancerStage:
    """Annotates with one annotator and, unless `client` is None, one model server."""

    def __init__(self, annotator: Annotator, client: ModelClient | None, reasoning_effort: str = "low") -> None:
        """`reasoning_effort` goes to models that take one."""
        self.annotator = annotator
        self._client = client
        self._reasoning_effort = reasoning_effort

    async def enhance(self, call: EnhanceCall, timeout_seconds: float) -> EnhanceResult:
        """Never raises for a failure of the model: the attempt reports it."""
        wanted = [item for item in call.items if not call.wanted_ids or item.id in call.wanted_ids]
        model_items = [item for item in wanted if item.needs_model(call.mode)] if call.model and self._client else []
        names, taught = _names(call.frame), _taught(call.frame)
        reply = await self._ask(call, timeout_seconds, model_items, names) if model_items else None
        answers = _read(call, model_items, reply) if reply else _Answers(AttemptOutcome.OK)
        enhanced = []
        for item in wanted:
            answer = answers.by_id.get(item.id) or _Answer(taught.get(item.text))
            enhanced.append(await _in_turn(item.text, partial(self._enhanced, call, item, answer, names)))
        attempt = self._attempt(call, model_items, reply, answers, enhanced) if reply else None
        return EnhanceResult(items=tuple(enhanced), attempt=attempt)

    async def _ask(
        self, call: EnhanceCall, timeout_seconds: float, model_items: list[Item], names: Mapping[str, str]
    ) -> Reply:
        assert self._client is not None  # noqa: S101 - `enhance` asks only with a client
        review = call.mode is EnhancementMode.REVIEW
        shown = {}
        for item in call.items if review else ():
            shown[item.id] = await _in_turn(item.text, partial(self.annotator.bracketed, item.text, names))
        return await self._client.complete(self._model_request(call, timeout_seconds, model_items, shown, self._client))

    def _model_request(
        self,
        call: EnhanceCall,
        timeout_seconds: float,
        model_items: list[Item],
        shown: Mapping[str, str],
        client: ModelClient,
    ) -> ModelRequest:
        able = capabilities(client.provider, call.model)
        budget = token_budget(call.items, model_items, call.mode)
        return ModelRequest(
            model=call.model,
            system=prompts.system_prompt(call.mode, with_shape=able.structured != "json_schema"),
            user=prompts.user_prompt(
                section=call.section,
                mode=call.mode,
                brief=call.brief,
                frame=call.frame,
                items=call.items,
                shown=shown,
                wanted_ids=frozenset(item.id for item in model_items),
                reask_reasons=call.reask_reasons,
            ),
            attempt_id=call.attempt_id,
            max_output_tokens=budget.with_reasoning(able.reasons).output_tokens,
            timeout_seconds=timeout_seconds,
            schema=JsonSchema("annotations", prompts.answer_schema(call.mode)),
            temperature=0.0,
            reasoning_effort=self._reasoning_effort,
            max_cost_usd=call.max_cost_usd,
        )

    def _enhanced(self, call: EnhanceCall, item: Item, answer: _Answer, names: Mapping[str, str]) -> EnhancedItem:
        annotation = self.annotator.annotate(item.text, names, answer.proposed)
        return EnhancedItem(
            text=_japanese_text(item, annotation, answer, call.model),
            issues=tuple(
                Issue(path=item.id, section=call.section, text=fault, severity=IssueSeverity.FAULT)
                for fault in (*annotation.faults, *answer.faults)
            ),
        )

    def _attempt(
        self, call: EnhanceCall, model_items: list[Item], reply: Reply, answers: _Answers, enhanced: list[EnhancedItem]
    ) -> Attempt:
        assert self._client is not None  # noqa: S101 - the client gave the reply
        outcome, reason = answers.outcome, answers.reason
        faulty = [item for item in enhanced if item.issues]
        if outcome is AttemptOutcome.OK and faulty:
            outcome = AttemptOutcome.INVALID_SCHEMA
            reason = f"{len(faulty)} of {len(model_items)} items have faults; {faulty[0].issues[0]}"
        return attempt_reported(
            reply,
            attempt_id=call.attempt_id,
            stage=Stage.STAGE2,
            section=call.section,
            provider=self._client.provider.value,
            model=call.model,
            outcome=outcome,
            reason=reason,
        )


async def _in_turn(text: str, work: Callable[[], T]) -> T:
    """The result of some work on a text, which leaves the loop to others: a sentence takes about a millisecond."""
    if len(text) > _LONG_CHARACTERS:
        return await asyncio.to_thread(work)
    result = work()
    await asyncio.sleep(0)
    return result


def _names(frame: Frame | None) -> Mapping[str, str]:
    return {person.name: person.kana for person in frame.characters if person.kana} if frame else {}


def _taught(frame: Frame | None) -> Mapping[str, ProposedReading]:
    """The frame's readings of target words. A word without a sentence can be ambiguous: 辛い is からい or つらい."""
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


def _read(call: EnhanceCall, model_items: list[Item], reply: Reply) -> _Answers:
    """Reads the answer: first the call's own outcome, then its JSON, then each item's part."""
    if reply.outcome is not CallOutcome.OK:
        return _unanswered(model_items, AttemptOutcome(reply.outcome.value), reply.reason)
    try:
        given = extract(reply.text, ["items"], reply.finish_reason).value["items"]
    except ExtractError as error:
        return _unanswered(model_items, AttemptOutcome.INVALID_JSON, f"{error.reason}: {error.detail}")
    numbers = {str(number): item.id for number, item in enumerate(call.items, start=1)}
    # Of two answers for one item neither counts.
    entries = {id_: found for id_, found in _by_item(numbers, given).items() if len(found) == 1}
    corrections = _by_item(numbers, _list_under(reply, "corrections"))
    unsure = {numbers.get(str(number)) for number in _list_under(reply, "unsure")}
    answers = {
        item.id: replace(
            _answer(item, next(iter(entries.get(item.id, ())), None), corrections.get(item.id, []), call),
            unsure=item.id in unsure,
        )
        for item in model_items
    }
    return _Answers(AttemptOutcome.OK, "", answers)


def _list_under(reply: Reply, key: str) -> list[Any]:
    """The list under `key`, next to the items. A missing list is not a fault."""
    try:
        given = extract(reply.text, [key], reply.finish_reason).value[key]
    except ExtractError:
        return []
    return given if isinstance(given, list) else []


def _unanswered(model_items: list[Item], outcome: AttemptOutcome, reason: str) -> _Answers:
    return _Answers(outcome, reason, {item.id: _Answer(faults=(_UNANSWERED,)) for item in model_items})


def _by_item(numbers: Mapping[str, str], entries: Any) -> dict[str, list[Mapping[str, Any]]]:
    """Entries by item id, without those that name no item."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, Mapping) and str(entry.get("id")) in numbers:
            found.setdefault(numbers[str(entry["id"])], []).append(entry)
    return found


def _answer(
    item: Item, entry: Mapping[str, Any] | None, corrections: list[Mapping[str, Any]], call: EnhanceCall
) -> _Answer:
    reviewed = call.mode is EnhancementMode.REVIEW
    if entry is None and not (reviewed and not item.needs_translation):
        return _Answer(faults=(_UNANSWERED,))
    proposed = None
    if reviewed:
        proposed = ProposedReading(corrections=tuple(_correction(correction) for correction in corrections))
    elif call.mode is EnhancementMode.MODEL and entry is not None:
        proposed = ProposedReading(furigana=str(entry.get("furigana") or ""))
    translation, faults = _translation(item, entry.get("translation") if entry else None, call.brief.learner_language)
    return _Answer(proposed, translation, tuple(faults))


def _correction(entry: Mapping[str, Any]) -> Correction:
    return Correction(str(entry.get("word") or ""), str(entry.get("reading") or ""))


def _translation(item: Item, given: object, language: str) -> tuple[str | None, list[str]]:
    if not item.needs_translation:
        return None, []
    text = given.strip() if isinstance(given, str) else ""
    odd = character_problem(text, lines=True)
    wrong = [f"translation: holds {odd}"] if odd else []
    wrong += [f"translation: {problem}" for problem in translation_problems(item.text, text, language)]
    return (None if wrong else text), wrong

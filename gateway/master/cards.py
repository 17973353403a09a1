"""The sections of the page and their cards. Card ids derive from content, so two renderings can be compared."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gateway.master import schema
from gateway.master.exercises import Fields, comprehension
from gateway.master.schema import Card, Text
from gateway.master.text import LessonTexts, joined
from lesson.japanese.readability import ContentWord, level_of
from lesson.models import Content, Frame, GrammarPoint, Lesson, SectionName
from lesson.script import KANJI
from lesson.steps import Steps

_OTHER_WORDS = 30
_SECTIONS: dict[str, tuple[Any, str, SectionName | None]] = {
    "overview": ("intro", "Overview", SectionName.FRAME),
    "lessonPlan": ("teach", "Lesson Plan", SectionName.LESSON_PLAN),
    "vocabulary": ("vocabulary", "Vocabulary", None),
    "reading": ("reading", "Reading", SectionName.READING),
    "dialogue": ("dialogue", "Dialogue", SectionName.DIALOGUE),
    "grammar": ("teach", "Grammar Points", SectionName.GRAMMAR),
    "practice": ("practice", "Practice", SectionName.PRACTICE),
    "culture": ("teach", "Culture", SectionName.CULTURE),
    "kanji": ("kanji", "Kanji", None),
    "selfCheck": ("check", "Self-check", None),
}
"""By id: the client's type, the title, and the lesson's section whose state it shows; None when it is computed."""
_KANJI = re.compile(f"[{KANJI}]")
_KANJI_WORDS = {1: (3, 5), 2: (5, 8)}
"""Words in the kanji focus, by level number: fewest and most."""
_KANJI_WORDS_ABOVE = (6, 10)


@dataclass(frozen=True)
class Page:
    """What the cards show."""

    lesson: Lesson
    texts: LessonTexts
    exercises: Sequence[Fields]
    """One for each practice, in order."""
    words: Sequence[ContentWord]
    """The content words of reading and dialogue, without target words."""

    def sections(self) -> Steps[tuple[schema.Section, ...]]:
        """The sections in the client's order, without those that have no card; one a step."""
        build: dict[str, Callable[[], Sequence[Card]]] = {
            "overview": self._overview,
            "lessonPlan": self._plan,
            "vocabulary": self._vocabulary,
            "reading": self._reading,
            "dialogue": self._dialogue,
            "grammar": self._grammar,
            "practice": self._practice,
            "culture": self._culture,
            "kanji": self._kanji,
            "selfCheck": self._self_check,
        }
        sections = []
        for id_, cards_of in build.items():
            if cards := cards_of():
                sections.append(self._section(id_, cards))
            yield
        return tuple(sections)

    def _section(self, id_: str, cards: Sequence[Card]) -> schema.Section:
        kind, title, name = _SECTIONS[id_]
        state = self.lesson.state(name).name if name else None
        return schema.Section(id=id_, type=kind, title=title, state=state, cards=tuple(cards))

    @property
    def _content(self) -> Content:
        return self.lesson.content

    def _overview(self) -> list[Card]:
        frame = self._content.frame
        if frame is None:
            return []
        meta = "\n\n".join(part for part in (frame.objective, frame.scenario) if part)
        return [
            _card(
                "overview", "text", self.lesson.brief.topic,
                subtitle=frame.can_do_text, body=schema.Body(meta=meta), bullets=self._key_phrases(frame),
                characters=self._characters(frame),
            )
        ]  # fmt: skip

    def _key_phrases(self, frame: Frame) -> tuple[Text, ...]:
        texts = self.texts.of(SectionName.FRAME)
        return tuple(texts[f"frame.key_phrases.{index}"] for index in range(len(frame.key_phrases)))

    def _characters(self, frame: Frame) -> tuple[schema.Character, ...]:
        texts = self.texts.of(SectionName.FRAME)
        return tuple(
            schema.Character(
                id=person.id,
                name=texts[f"frame.characters.{index}.name"],
                label=person.label,
                role=person.role.value,
                relationship=person.relationship,
            )
            for index, person in enumerate(frame.characters)
        )

    def _plan(self) -> list[Card]:
        cards = []
        for number, step in enumerate(self._content.lesson_plan, start=1):
            title = step.phase.value.replace("_", " ").capitalize() if step.phase else f"Step {number}"
            notes = f"**Teacher notes**\n\n{step.teacher_notes}\n\n" if step.teacher_notes else ""
            badges = [f"{step.minutes} min" if step.minutes else "", step.grouping or ""]
            cards.append(
                _card(
                    f"lessonPlan-{number}", "text", title,
                    badges=tuple(badge for badge in badges if badge),
                    body=schema.Body(meta=f"{notes}**Student task**\n\n{step.student_task}"),
                    detail=step.model_dump(mode="json", by_alias=True),
                )
            )  # fmt: skip
        return cards

    def _vocabulary(self) -> list[Card]:
        """The target words, then the other words of the lesson that have a gloss."""
        other_words = self._other_words()
        cards = []
        if self._target_words:
            cards.append(_card("vocabulary", "text", "Target words", vocabulary=self._target_words))
        if other_words:
            key = "otherWords-" + "".join(text.kanji for text in self._read_or_heard)
            subtitle = "From a dictionary, not chosen for this lesson"
            cards.append(_card(key, "text", "Other words", subtitle=subtitle, vocabulary=other_words))
        return cards

    @cached_property
    def _target_words(self) -> tuple[schema.VocabularyEntry, ...]:
        frame, texts = self._content.frame, self.texts.of(SectionName.FRAME)
        words = frame.target_words if frame else ()
        surfaces = [texts[f"frame.target_words.{index}.surface"] for index in range(len(words))]
        return tuple(
            schema.VocabularyEntry(
                surface=word.surface,
                reading=word.reading,
                meaning=word.meaning,
                pos=word.pos,
                level=level_of(surface.words),
                japanese=surface,
            )
            for word, surface in zip(words, surfaces, strict=True)
        )

    def _other_words(self) -> tuple[schema.VocabularyEntry, ...]:
        """The first of the words that have a gloss."""
        known = [(word, word.gloss) for word in self.words if word.gloss]
        return tuple(
            schema.VocabularyEntry(
                surface=word.lemma,
                reading=word.reading or None,
                meaning=gloss,
                pos=word.pos,
                level=word.level,
                japanese=None,
            )
            for word, gloss in known[:_OTHER_WORDS]
        )

    @property
    def _read_or_heard(self) -> list[Text]:
        """Every Text of reading and dialogue, in order."""
        return [text for name in (SectionName.READING, SectionName.DIALOGUE) for text in self.texts.of(name).values()]

    def _reading(self) -> list[Card]:
        reading = self._content.reading
        if reading is None:
            return []
        fields = self.texts.fields(SectionName.READING)
        body = schema.ReadingBody(
            title=fields["title"],
            text_type=reading.text_type,
            content=joined(fields["text"]),
            sentences=tuple(fields["text"]),
            comprehension=comprehension(reading, fields["comprehension"]),
        )
        title = reading.title or _SECTIONS["reading"][1]
        return [_card("reading", "reading", title, reading=body, body=schema.Body(jp=body.content))]

    def _dialogue(self) -> list[Card]:
        dialogue, frame = self._content.dialogue, self._content.frame
        if dialogue is None:
            return []
        fields = self.texts.fields(SectionName.DIALOGUE)
        names = {person.id: person.name for person in frame.characters} if frame else {}
        turns = tuple(
            schema.DialogueTurn(
                speaker=names.get(turn.speaker_id, turn.speaker_id),
                speaker_id=turn.speaker_id,
                japanese=given["text"],
                notes=turn.note,
            )
            for turn, given in zip(dialogue.turns, fields["turns"], strict=True)
        )
        return [
            _card(
                "dialogue", "dialogue", dialogue.title or "Conversation Practice",
                setting=dialogue.setting,
                characters=self._characters(frame) if frame else (),
                dialogue_turns=turns,
                comprehension=comprehension(dialogue, fields["comprehension"]),
                detail={"title": fields["title"], "learnerRole": dialogue.learner_role, "register": fields["register"]},
            )
        ]  # fmt: skip

    def _grammar(self) -> list[Card]:
        fields = self.texts.fields(SectionName.GRAMMAR)
        return [
            _card(
                f"grammar-{number}", "text", point.pattern,
                subtitle=point.meaning, body=schema.Body(jp=given["pattern"], meta=_grammar_meta(point)),
                bullets=tuple(given["examples"]), detail=given,
            )
            for number, (point, given) in enumerate(zip(self._content.grammar, fields, strict=True), start=1)
        ]  # fmt: skip

    def _practice(self) -> list[Card]:
        pairs = zip(self._content.practice, self.exercises, strict=True)
        return [
            _card(
                f"practice-{number}", "text", practice.kind.value.replace("_", " ").capitalize(),
                body=schema.Body(meta=practice.instruction), detail=given,
            )
            for number, (practice, given) in enumerate(pairs, start=1)
        ]  # fmt: skip

    def _culture(self) -> list[Card]:
        fields = self.texts.fields(SectionName.CULTURE)
        return [
            _card(
                f"culture-{number}", "text", note.title or _SECTIONS["culture"][1],
                body=schema.Body(meta=note.body), bullets=tuple(given["japanese"]), detail=given,
            )
            for number, (note, given) in enumerate(zip(self._content.culture, fields, strict=True), start=1)
        ]  # fmt: skip

    def _kanji(self) -> list[Card]:
        """The first target words with kanji, each with the first sentence that uses it."""
        fewest, most = _KANJI_WORDS.get(self.lesson.brief.level.number, _KANJI_WORDS_ABOVE)
        words = [word for word in self._target_words if _KANJI.search(word.surface)]
        if len(words) < fewest:
            return []
        sentences = self._read_or_heard
        return [
            _card(
                f"kanji-{word.surface}", "text", word.surface,
                subtitle=word.reading, badges=(word.level,) if word.level else (), body=schema.Body(meta=word.meaning),
                bullets=tuple(text for text in sentences if word.surface in text.kanji)[:1],
            )
            for word in words[:most]
        ]  # fmt: skip

    def _self_check(self) -> list[Card]:
        frame = self._content.frame
        if frame is None:
            return []
        last = self._content.practice[-1].kind.value if self._content.practice else None
        meta = schema.Body(meta=frame.can_do_text)
        phrases = self._key_phrases(frame)
        return [_card("selfCheck", "text", "I can …", body=meta, bullets=phrases, detail={"practice": last})]


def _card(key: str, kind: Any, title: str, **fields: Any) -> Card:
    draft = Card(id=key, kind=kind, title=title, **fields)
    # The id hashes plain content alone: better annotations of a lesson do not change its cards' ids.
    digest = hashlib.sha256(json.dumps([key, title, _plain(draft)], ensure_ascii=False).encode()).hexdigest()
    return draft.model_copy(update={"id": f"{key.split('-', maxsplit=1)[0]}-{digest[:12]}"})


def _plain(card: Card) -> list[str]:
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

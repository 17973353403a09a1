"""The Texts of a lesson: each Japanese item converted once, then shared by every place of the page that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.master.schema import Text
from lesson.items import transform
from lesson.models import Content, JapaneseText, Lesson, ReadingProvenance, SectionName, Word
from lesson.steps import Steps


@dataclass(frozen=True)
class LessonTexts:
    """The lesson's content with its Japanese as Texts."""

    content: Content
    by_section: Mapping[SectionName, Mapping[str, Text]]

    def of(self, name: SectionName) -> Mapping[str, Text]:
        """The section's Texts by item id, in the learner's order; empty when it has none."""
        return self.by_section.get(name, {})

    def fields(self, name: SectionName) -> Any:
        """The section's own fields as JSON, with Texts for Japanese strings; [] when it was not written."""
        value = self.content.section(name)
        if value is None:
            return []
        texts = self.of(name)
        return transform(name, value, lambda item: texts[item.id])


def lesson_texts(lesson: Lesson) -> Steps[LessonTexts]:
    """Converts every item of the lesson, one a step."""
    by_section: dict[SectionName, dict[str, Text]] = {}
    for section in lesson.sections:
        texts = by_section[section.name] = {}
        for text in section.texts:
            texts[text.id] = to_text(text)
            yield
    return LessonTexts(lesson.content, by_section)


def to_text(text: JapaneseText) -> Text:
    """Words and furigana are shared with the lesson, not copied: they are immutable."""
    return Text(
        id=text.id,
        kanji=text.kanji,
        reading=text.reading,
        romaji=text.romaji,
        furigana=text.furigana,
        translation=text.translation,
        words=text.words,
        reading_provenance=text.reading_provenance.value,
        translation_provenance=text.translation_provenance.value,
        provenance=text.provenance.value,
        reading_model=text.reading_model,
        translation_model=text.translation_model,
        alternatives=text.alternatives,
        notes=text.notes,
    )


def joined(sentences: Sequence[Text]) -> Text:
    """The sentences as one Text. It is as trusted as its weakest sentence, and translated only when each of them is."""
    translated = all(sentence.translation for sentence in sentences)
    starts = [0]
    for sentence in sentences:
        starts.append(starts[-1] + len(sentence.kanji))
    return Text(
        id="reading.text",
        kanji="".join(sentence.kanji for sentence in sentences),
        reading="".join(sentence.reading for sentence in sentences),
        romaji=" ".join(sentence.romaji.strip() for sentence in sentences),
        furigana=tuple(segment for sentence in sentences for segment in sentence.furigana),
        translation=" ".join(sentence.translation or "" for sentence in sentences) if translated else None,
        words=tuple(
            Word(**(vars(word) | {"start": word.start + start}))
            for sentence, start in zip(sentences, starts, strict=False)
            for word in sentence.words
        ),
        reading_provenance=_weakest(sentence.reading_provenance for sentence in sentences),
        translation_provenance="model" if translated else "none",
        provenance=_weakest(sentence.provenance for sentence in sentences),
        reading_model=_each_once(sentence.reading_model for sentence in sentences),
        translation_model=_each_once(sentence.translation_model for sentence in sentences) if translated else "",
        alternatives=(),
        notes=(),
    )


def _weakest(provenances: Iterable[str]) -> str:
    order = [member.value for member in ReadingProvenance]
    return max(provenances, key=order.index)


def _each_once(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name for name in names if name))

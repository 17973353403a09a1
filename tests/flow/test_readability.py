"""How hard a lesson is for its level, and its other words: over lessons made by hand, and once through the wire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from gateway import merge
from gateway.master.schema import MasterLesson, VocabularyEntry
from lesson.items import extract_items
from lesson.japanese.readability import readability, with_notes
from lesson.models import (
    Brief,
    Content,
    Dialogue,
    Frame,
    FuriganaSegment,
    JapaneseText,
    Lesson,
    Level,
    Outcome,
    Reading,
    ReadingProvenance,
    Register,
    SectionName,
    TargetWord,
    TranslationProvenance,
    Turn,
    Versions,
    Word,
    general_issue,
)
from tests.master import master_lesson
from tests.model_server import Answer, ModelServer
from tests.trio import trio

Words = Sequence[Word]


# --- lessons made by hand -----------------------------------------------------------------------------------------


def word(surface: str, level: str | None = None, pos: str = "noun", **fields: Any) -> Word:
    """A word; its place in the text is found when the text is made."""
    values: dict[str, Any] = {"start": 0, "reading": surface, "lemma": surface, "gloss": None} | fields
    return Word(surface=surface, length=len(surface), level=level, pos=pos, **values)


def at_levels(*counts: tuple[str | None, int]) -> list[Word]:
    """So many different words at each level."""
    kanji = (chr(code) for code in count(ord("一")))
    return [word(next(kanji), level) for level, number in counts for _ in range(number)]


def eaten(surface: str = "食べ", reading: str = "たべ") -> Word:
    return word(surface, "N5", "verb", lemma="食べる", reading=reading, gloss="to eat")


def annotated(item_id: str, words: Words) -> JapaneseText:
    kanji = "".join(word.surface for word in words)
    starts = [sum(word.length for word in words[:index]) for index in range(len(words))]
    return JapaneseText(
        id=item_id,
        kanji=kanji,
        reading=kanji,
        romaji="",
        furigana=(FuriganaSegment(text=kanji, ruby=None),),
        translation=None,
        needs_translation=True,
        words=tuple(word.model_copy(update={"start": start}) for word, start in zip(words, starts, strict=True)),
        reading_provenance=ReadingProvenance.ANALYSER,
        translation_provenance=TranslationProvenance.NONE,
        reading_model="",
        translation_model="",
        alternatives=(),
        notes=(),
    )


def spelt(words: Words) -> str:
    return "".join(word.surface for word in words)


def lesson_of(level: Level, *sentences: Words, turn: Words = (), targets: Sequence[Words] = ()) -> Lesson:
    """A lesson that reads these sentences and says this turn; its targets may be expressions of several words."""
    turn = turn or [word("はい", pos="interjection")]
    content = Content(
        frame=Frame(
            can_do_text="I can.",
            scenario=None,
            characters=(),
            register_=Register.POLITE,
            target_words=tuple(
                TargetWord(surface=spelt(each), reading=None, meaning="…", pos=None) for each in targets
            ),
            target_patterns=(),
            objective="Try.",
            key_phrases=(),
        ),
        reading=Reading(title=None, text_type=None, text="".join(map(spelt, sentences)), comprehension=()),
        dialogue=Dialogue(
            title=None,
            setting=None,
            learner_role=None,
            register_=None,
            turns=(Turn(speaker_id="a", text=spelt(turn), note=None),),
            comprehension=(),
        ),
    )
    texts = [annotated(f"frame.target_words.{index}.surface", each) for index, each in enumerate(targets)]
    texts += [annotated(f"reading.text.{index}", each) for index, each in enumerate(sentences)]
    texts.append(annotated("dialogue.turns.0.text", turn))
    return Lesson(
        lesson_id="l",
        brief=Brief(
            can_do_id="JF:1",
            topic="食生活",
            level=level,
            learner_language="en",
            can_do_text="",
            can_do_text_ja="",
            activity="",
        ),
        learner_level=None,
        outcome=Outcome.PARTIAL,
        sample=False,
        sample_note="",
        created_at=datetime.fromtimestamp(0, UTC),
        content=content,
        sections=tuple(
            merge.enhanced_section(name, extract_items(name, value), texts)
            for name in SectionName
            if (value := content.section(name)) is not None
        ),
        attempts=(),
        versions=Versions(prompt_stage1="", prompt_stage2="", lesson_schema="", annotator=""),
        notes=(general_issue("said before"),),
        duration_seconds=0.0,
        stage1_seconds=0.0,
        stage2_seconds=0.0,
    )


def lesson_with_notes(lesson: Lesson) -> Lesson:
    return with_notes(lesson, readability(lesson))


def lemmas(lesson: Lesson) -> list[str]:
    return [word.lemma for word in readability(lesson).words]


def cards(master: MasterLesson, section: str) -> dict[str, Any]:
    """The cards of a section by title; none when the section is not there."""
    return {card.title: card for part in master.ui.sections if part.id == section for card in part.cards}


def other_words(lesson: Lesson) -> tuple[VocabularyEntry, ...]:
    card = cards(master_lesson(lesson), "vocabulary").get("Other words")
    return card.vocabulary if card else ()


# --- the verdict --------------------------------------------------------------------------------------------------

VERDICTS = [
    (Level.A1, [("N5", 13), ("N4", 4), ("N3", 3)], "about right"),
    (Level.A1, [("N5", 12), ("N4", 8)], "hard"),
    (Level.A1, [("N5", 16), ("N3", 4)], "hard"),
    (Level.A1, [("N5", 50)], "about right"),
    (Level.A2, [("N5", 8), ("N4", 8), ("N3", 4)], "about right"),
    (Level.A2, [("N5", 8), ("N4", 7), ("N3", 5)], "hard"),
    (Level.A2, [("N5", 49), (None, 1)], "easy"),
    (Level.A2, [("N5", 48), ("N4", 2)], "about right"),
    (Level.B1, [("N5", 9), ("N3", 8), ("N2", 3)], "about right"),
    (Level.B1, [("N5", 9), ("N3", 7), ("N2", 4)], "hard"),
    (Level.B1, [("N5", 30), ("N4", 19), (None, 1)], "easy"),
    (Level.B1, [("N5", 30), ("N4", 18), ("N3", 2)], "about right"),
]


@pytest.mark.parametrize(("level", "counts", "verdict"), VERDICTS)
def test_the_verdict_turns_exactly_at_the_shares_of_the_level(
    level: Level, counts: list[tuple[str | None, int]], verdict: str
) -> None:
    assert readability(lesson_of(level, at_levels(*counts))).verdict == verdict


@pytest.mark.parametrize(
    ("counts", "estimate"),
    [
        ([("N5", 8), ("N1", 2)], "N5"),
        ([("N5", 7), ("N4", 1), ("N1", 2)], "N4"),
        ([("N5", 7), ("N1", 1), (None, 2)], "N1"),
        ([("N5", 7), (None, 3)], None),
    ],
)
def test_the_estimate_is_the_easiest_list_up_to_which_four_in_five_words_stand(
    counts: list[tuple[str | None, int]], estimate: str | None
) -> None:
    assert readability(lesson_of(Level.A1, at_levels(*counts))).jlpt_estimate == estimate


def test_seven_words_are_too_few_to_judge_and_eight_are_enough() -> None:
    few, enough = (readability(lesson_of(Level.A1, at_levels(("N1", number)))) for number in (7, 8))
    assert (few.verdict, few.jlpt_estimate, few.note) == (None, None, "")
    assert few.shares is not None
    assert (enough.verdict, enough.jlpt_estimate) == ("hard", "N1")
    assert enough.note


def test_above_b1_there_is_no_verdict() -> None:
    told = readability(lesson_of(Level.B2, at_levels(("N1", 10), (None, 2))))
    assert (told.verdict, told.jlpt_estimate) == (None, "N1")


@pytest.mark.parametrize("level", [Level.B2, Level.C1, Level.C2])
def test_a_lesson_above_b1_says_that_level_checks_end_there(level: Level) -> None:
    lesson = lesson_with_notes(lesson_of(level, at_levels(("N1", 10))))
    assert tuple(map(str, lesson.notes)) == (
        "said before",
        f"Level checks end at B1: whether the words fit {level} was not checked.",
    )
    assert readability(lesson).note == lesson.notes[-1].text


def test_without_levels_all_is_null_and_no_source_is_credited() -> None:
    master = master_lesson(lesson_of(Level.A1, at_levels((None, 12))))
    assert master.readability.model_dump() == {
        "jlpt_estimate": None,
        "verdict": None,
        "note": "",
        "metrics": {
            "chars": 14,
            "sentences": 2,
            "mean_sentence": 7.0,
            "longest_sentence": 12,
            "content_words": 12,
            "shares": None,
        },
    }
    assert master.metadata.attributions == ()
    assert list(cards(master, "vocabulary")) == []


def test_shares_are_of_all_content_words_and_reach_the_json() -> None:
    shares = master_lesson(lesson_of(Level.A1, at_levels(("N5", 6), ("N2", 1), (None, 2)))).readability.metrics.shares
    assert shares is not None
    assert shares.model_dump() == {"n5": 0.667, "n4": 0.0, "n3": 0.0, "n2": 0.111, "n1": 0.0, "none": 0.222}


# --- the note -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "within", "beyond"),
    [(Level.A1, "N3", "N2"), (Level.A1, "N3", None), (Level.A2, "N3", "N2"), (Level.B1, "N2", "N1")],
)
def test_a_note_is_written_when_more_than_a_third_of_the_words_are_beyond_the_level(
    level: Level, within: str, beyond: str | None
) -> None:
    third = readability(lesson_of(level, at_levels((within, 6), (beyond, 3))))
    more = readability(lesson_of(level, at_levels((within, 5), (beyond, 4))))
    assert (third.verdict, third.note) == ("hard", "")
    assert more.verdict == "hard"
    assert f"{level}: 4 of 9 content words are outside N5 to {within}" in more.note


def test_the_note_names_the_five_hardest_words_and_says_what_to_do() -> None:
    beyond = [
        word("料金", "N2"),
        word("アプリ"),
        word("憲法", "N1"),
        word("主権", "N1"),
        word("議会", "N1"),
        word("行政", "N1"),
    ]
    told = readability(lesson_of(Level.A1, [*at_levels(("N5", 6)), *beyond]))
    assert told.note == (
        "Far too hard for A1: 6 of 12 content words are outside N5 to N3, the hardest 憲法, 主権, 議会, 行政, 料金;"
        " ask for the reading again (regenerate), or choose a higher level."
    )


def test_the_note_names_the_section_to_ask_for_again() -> None:
    hard = at_levels(("N5", 4), ("N1", 6))
    assert "ask for the reading again" in readability(lesson_of(Level.A1, hard[:9], turn=hard[9:])).note
    assert "ask for the dialogue again" in readability(lesson_of(Level.A1, hard[:5], turn=hard[5:])).note


def test_a_note_on_readability_joins_the_notes_of_the_lesson() -> None:
    hard = lesson_with_notes(lesson_of(Level.A1, at_levels(("N1", 8))))
    assert tuple(map(str, hard.notes)) == ("said before", readability(hard).note)
    master = master_lesson(hard)
    assert master.metadata.notes == tuple(map(str, hard.notes))
    assert master.readability.note == hard.notes[1].text
    right = lesson_of(Level.A1, at_levels(("N5", 8)))
    assert lesson_with_notes(right) == right


async def test_a_lesson_far_too_hard_says_so_in_typed_and_in_json_form(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def harder(answer: dict[str, Any]) -> None:
        answer["reading"]["text"] += (
            "議会は憲法と主権と行政と立法と司法と内閣と条約と領土と外交と財政と税制を論じます。"
        )

    model.always = {"stage1": Answer(edit=harder), "reading": Answer(status=500, error={"message": "down"})}
    async with trio(monkeypatch, model) as running:
        lesson, master = await running.generate()
    assert lesson.notes[-1].text.startswith("Far too hard for A1: ")
    assert master["metadata"]["notes"] == list(map(str, lesson.notes))
    assert master["readability"]["note"] == lesson.notes[-1].text
    assert master["readability"]["verdict"] == "hard"


# --- which words count --------------------------------------------------------------------------------------------


def test_only_content_words_count() -> None:
    others = "name number counter particle auxiliary symbol interjection conjunction prefix suffix".split()  # noqa: SIM905
    content = "noun pronoun verb adjective adverb".split()  # noqa: SIM905
    words = [word(chr(ord("一") + index), "N5", pos) for index, pos in enumerate([*others, *content])]
    lesson = lesson_of(Level.A1, words)
    assert [found.pos for found in readability(lesson).words] == content


def test_a_word_in_latin_letters_is_no_content_word() -> None:
    assert lemmas(lesson_of(Level.A1, [word("Wi-Fi"), word("Tシャツ")])) == ["Tシャツ"]


def te(surface: str = "て") -> Word:
    return word(surface, pos="particle")


MASU = word("ます", pos="auxiliary")
ASK = word("願い", pos="verb", lemma="願う")
PHRASES = [
    ([word("水"), word("を", pos="particle"), word("ください", pos="verb", lemma="くださる")], ["水"]),
    ([word("お", pos="prefix"), ASK, word("し", pos="verb", lemma="する"), MASU], []),
    ([ASK, MASU], ["願う"]),
    ([word("すみ", pos="verb", lemma="すむ"), word("ませ", pos="auxiliary"), word("ん", pos="auxiliary")], []),
    ([word("行っ", pos="verb", lemma="行く"), word("た", pos="auxiliary"), word("こと")], ["行く"]),
]


@pytest.mark.parametrize(("words", "counted"), PHRASES)
def test_set_phrases_and_grammar_are_no_content_words(words: Words, counted: list[str]) -> None:
    assert lemmas(lesson_of(Level.A1, words)) == counted


def test_a_verb_that_only_helps_another_does_not_count_but_the_same_verb_alone_does() -> None:
    tried = word("み", pos="verb", lemma="みる")
    assert lemmas(lesson_of(Level.A1, [eaten(), te(), tried])) == ["食べる"]
    assert lemmas(lesson_of(Level.A1, [word("店"), te("で"), tried])) == ["店", "みる"]
    assert lemmas(lesson_of(Level.A1, [te(), tried])) == ["みる"]


def test_target_words_do_not_count_in_whatever_form_they_are_met() -> None:
    sentence = [word("朝"), word("パン", pos="noun"), word("を", pos="particle"), eaten(), word("好き嫌い")]
    targets = [[word("パン"), word("を", pos="particle"), eaten("食べる", "たべる")], [word("好き"), word("嫌い")]]
    assert lemmas(lesson_of(Level.A1, sentence)) == ["朝", "パン", "食べる", "好き嫌い"]
    assert lemmas(lesson_of(Level.A1, sentence, targets=targets)) == ["朝"]


def test_a_word_counts_once_in_all_its_forms_and_twice_with_two_readings() -> None:
    sentence = [
        eaten(),
        eaten("食べる", "たべる"),
        word("方", reading="ほう"),
        word("方", reading="かた"),
        word("方", reading="ほう"),
    ]
    sentence += [word("空い", pos="verb", lemma="空く", reading=reading, gloss=reading) for reading in ("あい", "すい")]
    assert lemmas(lesson_of(Level.A1, sentence, turn=[eaten()])) == ["食べる", "方", "方", "空く", "空く"]


def test_sentences_are_measured_without_the_white_space_around_them() -> None:
    stop, gap = word("。", pos="symbol"), word("\n", pos="symbol")
    told = readability(
        lesson_of(
            Level.A1, [word("朝ご飯"), stop, gap], [word("水"), stop], turn=[word("はい"), stop, word("ええ"), stop]
        )
    )
    assert (told.characters, told.sentences, told.longest_sentence, told.mean_sentence) == (12, 4, 4, 3.0)


# --- other words, levels and attributions ---------------------------------------------------------------------------


def test_other_words_appear_once_in_order_without_inflected_readings() -> None:
    morning = word("朝", "N5", reading="あさ", gloss="morning")
    read = word("読ん", "N5", "verb", lemma="読む", reading="よん", gloss="to read")
    lesson = lesson_of(
        Level.A1,
        [morning, eaten(), word("謎", "N1"), word("魚", "N5", gloss="fish"), morning],
        turn=[read, eaten("食べる", "たべる")],
        targets=[[word("魚")]],
    )
    assert [(entry.surface, entry.reading, entry.meaning, entry.pos, entry.level) for entry in other_words(lesson)] == [
        ("朝", "あさ", "morning", "noun", "N5"),
        ("食べる", "たべる", "to eat", "verb", "N5"),
        ("読む", None, "to read", "verb", "N5"),
    ]
    card = cards(master_lesson(lesson), "vocabulary")["Other words"]
    assert card.subtitle == "From a dictionary, not chosen for this lesson"


def test_at_most_thirty_other_words_are_shown() -> None:
    words = [each.model_copy(update={"gloss": "x"}) for each in at_levels(("N5", 31))]
    entries = other_words(lesson_of(Level.A1, words))
    assert [entry.surface for entry in entries] == [word.surface for word in words[:30]]


def test_annotating_better_does_not_make_the_card_of_other_words_another_card() -> None:
    words = [each.model_copy(update={"gloss": "x"}) for each in at_levels(("N5", 3))]
    ids = {
        cards(master_lesson(lesson_of(Level.A1, given)), "vocabulary")["Other words"].id
        for given in (words, [*words[:2], words[2].model_copy(update={"gloss": None})])
    }
    assert len(ids) == 1
    other_text = cards(master_lesson(lesson_of(Level.A1, words[:2])), "vocabulary")["Other words"].id
    assert other_text not in ids


def test_target_words_and_kanji_show_the_level_of_their_hardest_word() -> None:
    particle = word("を", pos="particle")
    targets = [[word("魚", "N5")], [word("本", "N5"), particle, word("貸す", "N4")], [word("肉", "N5"), word("謎")]]
    master = master_lesson(lesson_of(Level.A1, [word("朝")], targets=targets))
    entries = cards(master, "vocabulary")["Target words"].vocabulary
    assert [(entry.surface, entry.level) for entry in entries] == [("魚", "N5"), ("本を貸す", "N4"), ("肉謎", None)]
    badges = {title: card.badges for title, card in cards(master, "kanji").items()}
    assert badges == {"魚": ("N5",), "本を貸す": ("N4",), "肉謎": ()}


@pytest.mark.parametrize(
    ("gloss", "level", "sources"),
    [("x", None, ["Glosses"]), (None, "N5", ["Levels"]), ("x", "N5", ["Glosses", "Levels"])],
)
def test_sources_of_glosses_and_levels_are_credited(gloss: str | None, level: str | None, sources: list[str]) -> None:
    told = master_lesson(lesson_of(Level.A1, [word("朝", level, gloss=gloss)])).metadata.attributions
    assert [line.split(":")[0] for line in told] == sources
    assert all(line.endswith("CC BY-SA 4.0") for line in told)

"""The Japanese annotator through the stage's interface: proposed readings, accepted, repaired or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from enhancer_service.annotator import Correction, ProposedReading
from enhancer_service.japanese.annotate import tokens_of
from enhancer_service.japanese.annotator import JapaneseAnnotator
from enhancer_service.japanese.candidates import Readings
from enhancer_service.japanese.furigana import segments, to_brackets
from enhancer_service.japanese.lexicon import Lexicon
from enhancer_service.japanese.overrides import Override, Overrides, OverridesError, load_overrides
from enhancer_service.japanese.reading import Analyser
from enhancer_service.japanese.validation import validate
from lesson.models import FuriganaSegment, ReadingProvenance


@pytest.mark.parametrize(
    ("source", "proposed"),
    [
        ("食べる", [("食", "ta"), ("べる", None)]),
        ("食べる", [("食", ""), ("べる", None)]),
        ("食べる", [("食", "食"), ("べる", None)]),
        ("食べる", [("食べる", None)]),
        ("人々", [("人", "ひと"), ("々", None)]),
    ],
)
def test_furigana_that_cannot_stand_is_gives_way_to_the_analyser(
    analyser: Analyser, source: str, proposed: list[tuple[str, str | None]]
) -> None:
    tokens = tokens_of(analyser, source)
    given = tuple(FuriganaSegment(text=text, ruby=ruby) for text, ruby in proposed)
    verdict = validate(source, tokens, given, Readings(analyser, Lexicon.load()))
    assert verdict.segments == segments(tokens)
    assert verdict.repairs


@pytest.mark.parametrize("proposed", ["ケーキ[けーき]を食[た]べる。", "ケーキを食べる[たべる]。"])
def test_ruby_over_kana_is_corrected_silently(annotator: JapaneseAnnotator, proposed: str) -> None:
    annotation = annotator.annotate("ケーキを食べる。", {}, ProposedReading(furigana=proposed))
    assert to_brackets(annotation.segments) == "ケーキを食[た]べる。"
    assert (annotation.notes, annotation.faults) == ((), ())


def test_a_correction_is_laid_over_every_place_where_the_word_stands(annotator: JapaneseAnnotator) -> None:
    proposed = ProposedReading(corrections=(Correction("人気", "ひとけ"),))
    annotation = annotator.annotate("人気のある店と人気の少ない道。", {}, proposed)
    assert annotation.reading == "ひとけのあるみせとひとけのすくないみち。"
    assert annotation.provenance is ReadingProvenance.MODEL


@pytest.mark.parametrize("word", ["", "犬", "べ"])
def test_a_correction_of_no_word_of_the_text_is_refused_with_a_note(annotator: JapaneseAnnotator, word: str) -> None:
    annotation = annotator.annotate("水を飲みます。", {}, ProposedReading(corrections=(Correction(word, "いぬ"),)))
    assert annotation.reading == "みずをのみます。"
    assert annotation.provenance is ReadingProvenance.ANALYSER
    [note] = annotation.notes
    assert "no word of the text" in note


def test_words_carry_the_gloss_of_the_reading_that_was_accepted(annotator: JapaneseAnnotator) -> None:
    hungry = annotator.annotate("お腹が空きました。", {}).words
    free = annotator.annotate("席が空きました。", {}).words
    [first] = [word for word in hungry if word.lemma == "空く"]
    [second] = [word for word in free if word.lemma == "空く"]
    assert first.gloss
    assert second.gloss
    assert first.gloss != second.gloss


def test_an_override_with_its_context_beats_one_without(analyser: Analyser) -> None:
    overrides = Overrides((Override("市場", "株", "しじょう"), Override("市場", "", "いちば")))
    annotation = JapaneseAnnotator(analyser, Lexicon.load(), overrides, "macron")
    assert annotation.annotate("株の市場", {}).reading == "かぶのしじょう"
    assert annotation.annotate("魚と市場", {}).reading == "さかなといちば"


def test_the_version_changes_with_any_override(analyser: Analyser) -> None:
    made = [
        JapaneseAnnotator(analyser, Lexicon.load(), Overrides(entries), "macron").version
        for entries in ((), (Override("水", "", "みず"),), (Override("水", "お", "みず"),))
    ]
    assert len(set(made)) == 3


@pytest.mark.parametrize("line", ["水", "水\tみず", "\t\tみず", "水\t\twater", "水\t\tみず\tもう"])
def test_a_line_that_is_no_override_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "overrides.tsv"
    file.write_text(f"# remark\n{line}\n", encoding="utf-8")
    with pytest.raises(OverridesError, match="line 2"):
        load_overrides(file)


def test_a_file_of_overrides_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OverridesError, match="cannot be read"):
        load_overrides(tmp_path / "none.tsv")

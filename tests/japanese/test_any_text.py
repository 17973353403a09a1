"""Properties of the annotator for any text, Japanese or not."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from enhancer_service.japanese import furigana
from enhancer_service.japanese.annotate import annotate
from enhancer_service.japanese.furigana import merge_plain, parse_brackets, to_brackets
from enhancer_service.japanese.reading import Analyser
from enhancer_service.japanese.script import is_ruby
from lesson.models import FuriganaSegment
from tests.budget import examples

_JAPANESE = (
    "日本語今日三百二十月分円食べ物を買いましたアメリカ人ーっょん々〆ヶ、。「」[]［］0123,.:３年Tシャツ 　\n゛゙😀é龘"
)
_TEXT = st.text() | st.text(alphabet=_JAPANESE) | st.text(alphabet=st.characters(), max_size=20)
_KANA = st.text(alphabet="あいうえおかがきゃっんーアイッュン", min_size=1)
_QUICK = settings(
    max_examples=examples(50, 1000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
pytestmark = pytest.mark.deep
_ROMAJI = re.compile(r"[A-Za-zāīūēō0-9 !-/:-@\[-`{-~]*")


@_QUICK
@given(text=_TEXT, style=st.sampled_from(["macron", "double", "kana"]))
def test_any_text_is_annotated_without_losing_a_character(analyser: Analyser, text: str, style: object) -> None:
    annotation = annotate(analyser, text, style=style)  # type: ignore[arg-type]  # sampled_from widens the literal
    assert "".join(segment.text for segment in annotation.segments) == text
    assert all(segment.ruby is None or is_ruby(segment.ruby) for segment in annotation.segments)
    assert _ROMAJI.fullmatch(annotation.romaji)
    assert all(text[word.start : word.start + word.length] == word.surface for word in annotation.words)


@_QUICK
@given(text=_TEXT)
def test_tokens_join_to_any_text_and_know_where_they_start(analyser: Analyser, text: str) -> None:
    place = 0
    for token in analyser.tokens(text):
        assert (token.start, token.surface) == (place, text[place : place + len(token.surface)])
        place = token.end
    assert place == len(text)


@_QUICK
@given(text=_TEXT)
@example(text="0,0月")
@example(text="3:3月")
def test_brackets_read_back_as_the_furigana_they_came_from(analyser: Analyser, text: str) -> None:
    segments = furigana.segments(analyser.tokens(text))
    # Brackets cannot express ruby over a whole word where no cut fits its reading.
    if all(segment.ruby is None or to_brackets([segment]).count("[") == 1 for segment in segments):
        assert parse_brackets(to_brackets(segments), text) == segments


@_QUICK
@given(
    pairs=st.lists(
        st.tuples(st.text(alphabet="食物日三0T々", min_size=1), st.none() | _KANA)
        | st.tuples(st.text(alphabet="のを、。[]［］ い"), st.none())
    )
)
def test_any_furigana_over_whole_runs_survives_its_bracket_form(pairs: list[tuple[str, str | None]]) -> None:
    segments = merge_plain(FuriganaSegment(text=text, ruby=ruby) for text, ruby in pairs)
    source = "".join(segment.text for segment in segments)
    assert parse_brackets(to_brackets(segments), source) == segments


@_QUICK
@given(bracketed=_TEXT, source=_TEXT)
def test_whatever_a_model_writes_is_the_source_or_nothing(bracketed: str, source: str) -> None:
    segments = parse_brackets(bracketed, source)
    assert segments is None or "".join(segment.text for segment in segments) == source


@_QUICK
@given(kana=_KANA)
def test_kana_always_has_letters(analyser: Analyser, kana: str) -> None:
    assert annotate(analyser, kana).romaji


@_QUICK
@given(text=st.text(alphabet=_JAPANESE), names=st.dictionaries(st.text(alphabet="日本三 今食い", max_size=3), _KANA))
def test_any_names_bind_without_losing_a_character(analyser: Analyser, text: str, names: dict[str, str]) -> None:
    annotation = annotate(analyser, text, names)
    assert "".join(segment.text for segment in annotation.segments) == text


def test_lone_surrogates_are_symbols(analyser: Analyser) -> None:
    tokens = analyser.tokens("食べ\ud800物")
    assert "".join(token.surface for token in tokens) == "食べ\ud800物"
    assert annotate(analyser, "\udfff").romaji == ""


def test_a_text_beyond_the_analysers_limit_is_read_in_pieces(analyser: Analyser) -> None:
    for text in ("毎日料理を作ります。" * 3000, "あ" * 20_000, "ﷺ" * 9000):
        tokens = analyser.tokens(text)
        assert "".join(token.surface for token in tokens) == text
    assert all(
        token.reading != "りょうり" or token.surface == "料理"
        for token in analyser.tokens("毎日料理を作ります。" * 900)
    )


def test_ten_thousand_characters_take_less_than_five_seconds(analyser: Analyser) -> None:
    text = ("昨日、友達と三人でレストランへ行って、千二百円の定食を食べました。" * 400)[:10_000]
    start = time.perf_counter()
    annotate(analyser, text)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("sign", ["!", "\u200b", "\u3316", "\U0001f600"])
def test_a_long_run_of_one_sign_takes_no_more_than_a_moment(analyser: Analyser, sign: str) -> None:
    start = time.process_time()
    annotate(analyser, sign * 4000)
    assert time.process_time() - start < 2.0  # measured: 0.1; it once took half a minute


def test_furigana_of_ten_thousand_characters_takes_no_more_than_a_moment(analyser: Analyser) -> None:
    tokens = analyser.tokens(("食べ物と飲み物の引っ越し、" * 900)[:10_000])
    start = time.process_time()
    furigana.segments(tokens)
    assert time.process_time() - start < 2.0  # measured: 0.2; what is quadratic takes minutes

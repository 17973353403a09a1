"""Validation of proposed furigana, measured on every sentence with a known right answer."""

from __future__ import annotations

import csv
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enhancer_service.japanese import furigana
from enhancer_service.japanese.annotate import tokens_of
from enhancer_service.japanese.candidates import Readings
from enhancer_service.japanese.furigana import Segments, parse_brackets, to_brackets
from enhancer_service.japanese.lexicon import Lexicon
from enhancer_service.japanese.reading import Analyser
from enhancer_service.japanese.script import hiragana
from enhancer_service.japanese.token import Token
from enhancer_service.japanese.validation import Verdict, validate
from lesson.models import FuriganaSegment
from tests.budget import examples


@pytest.fixture(scope="module")
def lexicon() -> Iterator[Lexicon]:
    lexicon = Lexicon.load()
    yield lexicon
    lexicon.close()


@pytest.fixture(scope="module")
def readings(analyser: Analyser, lexicon: Lexicon) -> Readings:
    return Readings(analyser, lexicon)


Validate = Callable[[str], Verdict]


@pytest.fixture(scope="module")
def validated(analyser: Analyser, readings: Readings) -> Validate:
    """Validates a sentence in brackets against the analyser."""

    def validated(bracketed: str) -> Verdict:
        source = re.sub(r"\[[^\]]*\]", "", bracketed)
        proposed = parse_brackets(bracketed, source)
        assert proposed is not None
        return validate(source, analyser.tokens(source), proposed, readings)

    return validated


# --- Sentences with their right answers ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    sentence: str
    furigana: str
    also: tuple[str, ...]

    @property
    def segments(self) -> Segments:
        return _parsed(self.furigana, self.sentence)

    @property
    def ways(self) -> Iterator[str]:
        """The furigana, and with each reading that is right too."""
        yield self.furigana
        for other in self.also:
            base = re.escape(other.partition("[")[0])
            way, times = re.subn(rf"{base}\[[^\]]*\]", other, self.furigana)
            assert times, f"{other} is not in {self.furigana}"
            yield way


def _parsed(bracketed: str, sentence: str) -> Segments:
    segments = parse_brackets(bracketed, sentence)
    assert segments is not None, bracketed
    return segments


def _rows(path: Path) -> Iterator[_Row]:
    for row in csv.DictReader(path.read_text("utf-8").splitlines(), delimiter="\t"):
        also = next(value for name, value in row.items() if name.startswith("also"))
        yield _Row(row["sentence"], row["furigana"], tuple(part.strip() for part in (also or "").split(";") if part))


_FILES = sorted(Path(__file__).parent.glob("*.tsv"))
_ALL = [row for path in _FILES for row in _rows(path)]


def _kana(segments: Segments) -> str:
    return hiragana("".join(segment.ruby or segment.text for segment in segments))


def test_the_sample_is_among_the_sentences() -> None:
    assert "furigana.tsv" in [path.name for path in _FILES]
    print(f"\n{len(_ALL)} sentences of {', '.join(path.name for path in _FILES)}")


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_a_right_reading_is_never_repaired(analyser: Analyser, readings: Readings, path: Path) -> None:
    for row in _rows(path):
        for way in row.ways:
            verdict = validate(row.sentence, analyser.tokens(row.sentence), _parsed(way, row.sentence), readings)
            assert verdict.repairs == ()
            assert to_brackets(verdict.segments) == way


def test_the_analysers_own_reading_passes_without_a_remark(analyser: Analyser, readings: Readings) -> None:
    for row in _ALL:
        tokens = analyser.tokens(row.sentence)
        own = furigana.segments(tokens)
        assert validate(row.sentence, tokens, own, readings) == Verdict(own, tokens, (), ())


def test_a_sentence_is_validated_in_a_moment(analyser: Analyser, readings: Readings) -> None:
    times = []
    for _ in range(3):
        for row in _ALL:
            tokens, proposed = analyser.tokens(row.sentence), row.segments
            start = time.perf_counter()
            validate(row.sentence, tokens, proposed, readings)
            times.append(time.perf_counter() - start)
    median = sorted(times)[len(times) // 2]
    print(f"\nmedian {median * 1000:.2f} ms a sentence")
    assert median < 0.02  # measured: 0.0002


# --- Slips, by chance and by hand ---------------------------------------------------------------------------------

_KANA_ROWS = re.findall(
    r"\S+",
    """あいうえお かきくけこ がぎぐげご さしすせそ ざじずぜぞ たちつてと だぢづでど なにぬねの はひふへほ ばびぶべぼ
    ぱぴぷぺぽ まみむめも やゆよ らりるれろ わをん ゃゅょっ""",
)
_UNVOICED, _VOICED = "かきくけこさしすせそたちつてとはひふへほ", "がぎぐげござじずぜぞだぢづでどばびぶべぼ"
_REVOICED = str.maketrans(_UNVOICED + _VOICED, _VOICED + _UNVOICED)
_Slips = Callable[[str, list[str], random.Random], Iterator[str]]


def _one_kana_replaced(ruby: str, _: list[str], chance: random.Random) -> Iterator[str]:
    """At each place by one of the same row and by one of another."""
    for place, kana in enumerate(ruby):
        row = next((row for row in _KANA_ROWS if kana in row), "ー")
        others = [other for other in "".join(_KANA_ROWS) if other not in row]
        for choice in ([other for other in row if other != kana], others):
            if choice:
                yield ruby[:place] + chance.choice(choice) + ruby[place + 1 :]


def _one_kana_dropped(ruby: str, *_: object) -> Iterator[str]:
    if len(ruby) > 1:
        yield from (ruby[:place] + ruby[place + 1 :] for place in range(len(ruby)))


def _ruby_of_another_span(_: str, around: list[str], __: random.Random) -> Iterator[str]:
    yield from dict.fromkeys(around)


def _final_u_added_or_dropped(ruby: str, *_: object) -> Iterator[str]:
    yield ruby[:-1] if len(ruby) > 1 and ruby.endswith("う") else f"{ruby}う"


def _first_mora_voiced_otherwise(ruby: str, *_: object) -> Iterator[str]:
    yield ruby[0].translate(_REVOICED) + ruby[1:]


def _slipped(slips: _Slips) -> Iterator[tuple[_Row, int, Segments]]:
    """Each right sentence with one ruby of it slipped, and where that stands."""
    chance = random.Random(20)  # noqa: S311 - the same slips each time
    rubies = [[segment.ruby for segment in row.segments if segment.ruby] for row in _ALL]
    for number, row in enumerate(_ALL):
        around = rubies[number] + rubies[(number + 1) % len(_ALL)]
        right, place = row.segments, 0
        for index, segment in enumerate(right):
            for slip in slips(segment.ruby, around, chance) if segment.ruby else ():
                if slip != segment.ruby:
                    slipped = FuriganaSegment(text=segment.text, ruby=slip)
                    yield row, place, (*right[:index], slipped, *right[index + 1 :])
            place += len(segment.text)


def _is_name(token: Token) -> bool:
    return token.pos[1] == "固有名詞"


def _has_it(token: Token, proposed: Segments, analyser: Analyser, lexicon: Lexicon) -> bool:
    """Whether a dictionary has the reading proposed over exactly this word, in this conjugation form."""
    if token.is_number:
        return False
    heard, place = "", 0
    for segment in proposed:
        for part in [segment.text] if segment.ruby else segment.text:
            if token.start <= place < token.end:
                heard += segment.ruby or part
            place += len(part)
    form = "" if token.pos[5] == "*" else token.pos[5]
    return hiragana(heard) in analyser.readings(token.surface, form) | lexicon.readings(token.surface)


@pytest.mark.deep
@pytest.mark.parametrize(
    ("slips", "floor"),
    [
        (_one_kana_replaced, 0.99),
        (_one_kana_dropped, 0.95),
        (_ruby_of_another_span, 0.99),
        (_final_u_added_or_dropped, 0.99),
        (_first_mora_voiced_otherwise, 0.95),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_slips_are_caught(
    analyser: Analyser, lexicon: Lexicon, readings: Readings, slips: _Slips, floor: float
) -> None:
    """Caught: the right reading is shown again. Readings that the word really has, and names, are counted apart."""
    words = {row.sentence: analyser.tokens(row.sentence) for row in _ALL}
    right = {row.sentence: _kana(row.segments) for row in _ALL}
    count: Counter[str] = Counter()
    for row, place, proposed in list(_slipped(slips))[:: examples(4, 1)]:
        verdict = validate(row.sentence, words[row.sentence], proposed, readings)
        caught = _kana(verdict.segments) == right[row.sentence]
        token = next(token for token in words[row.sentence] if token.end > place)
        if _is_name(token):
            count["names"] += 1
            count["names, caught all the same"] += caught
        elif _has_it(token, proposed, analyser, lexicon):
            count["real readings"] += 1
            count["real readings, caught all the same"] += caught
        else:
            count["slips"] += 1
            count["caught"] += caught
    share = count["caught"] / count["slips"]
    every = sum(number for what, number in count.items() if "caught" not in what)
    caught_of_all = sum(number for what, number in count.items() if "caught" in what) / every
    print(f"\n{slips.__name__}: {share:.2%} of {count['slips']}; of all {every}: {caught_of_all:.2%}; {dict(count)}")
    assert share >= floor


@pytest.mark.parametrize(
    ("proposed", "shown"),
    [
        ("鉛筆[えんぴつ]を三本[さんほん]ください。", "三本[さんぼん]"),
        ("四時[よんじ]に会[あ]いましょう。", "四時[よじ]"),
        ("九時[きゅうじ]に寝[ね]ます。", "九時[くじ]"),
        ("四月[よんがつ]に始[はじ]まります。", "四月[しがつ]"),
        ("七月[なながつ]は暑[あつ]いです。", "七月[しちがつ]"),
        ("二十日[にじゅうにち]に行[い]きます。", "二十日[はつか]"),
        ("四月[しがつ]一日[いちにち]です。", "一日[ついたち]"),
        ("六百円[ろくひゃくえん]です。", "六百円[ろっぴゃくえん]"),
        ("一人[いちにん]で来[き]ました。", "一人[ひとり]"),
        ("二人[ににん]で行[い]きました。", "二人[ふたり]"),
        ("先生[せんせ]に聞[き]きます。", "先生[せんせい]"),
        ("学校[がっこ]が好[す]きです。", "学校[がっこう]"),
        ("仕事[しこと]を休[やす]みます。", "仕事[しごと]"),
        ("友達[ともたち]と話[はな]します。", "友達[ともだち]"),
        ("手紙[てかみ]を書[か]きます。", "手紙[てがみ]"),
        ("切符[きぷ]を買[か]います。", "切符[きっぷ]"),
        ("病院[びよういん]に行[い]きます。", "病院[びょういん]"),
        ("図書館[としょうかん]で読[よ]みます。", "図書館[としょかん]"),
        ("今年[こんねん]は寒[さむ]いです。", "今年[ことし]"),
        ("今朝[こんちょう]は早[はや]く起[お]きた。", "今朝[けさ]"),
        ("食[た]べ物[ぶつ]を買[か]います。", "食[た]べ物[もの]"),
        ("お腹[はら]が空[す]きました。", "お腹[なか]"),
        ("大人[おおひと]になりました。", "大人[おとな]"),
        ("箱[ばこ]に本[ほん]を入[い]れます。", "箱[はこ]"),
        ("友達[ともだち]が来[こ]ました。", "来[き]ました"),
        ("私[わたし]は日本人[にほんにん]です。", "日本人[にほんじん]"),
    ],
)
def test_a_typical_slip_is_repaired(validated: Validate, proposed: str, shown: str) -> None:
    verdict = validated(proposed)
    assert shown in to_brackets(verdict.segments)
    assert len(verdict.repairs) == 1


def test_a_repair_names_both_readings_and_the_reason(validated: Validate) -> None:
    assert validated("本[ほん]を三本[さんほん]").repairs == ("三本: さんほん -> さんぼん (numbers follow the rules)",)
    assert validated("食[た]べ物[ぶつ]").repairs == ("食べ物: たべぶつ -> たべもの (it has no such reading)",)


# --- Differences from the analyser --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proposed", "difference"),
    [
        ("人気[ひとけ]がある", "人気: ひとけ (analyser: にんき)"),
        ("私[わたくし]が", "私: わたくし (analyser: わたし)"),
        ("明日[あす]", "明日: あす (analyser: あした)"),
        ("日本料理[にっぽんりょうり]", "日本: にっぽん (analyser: にほん)"),
        ("今日[こんにち]の話[はなし]", "今日: こんにち (analyser: きょう)"),
        ("京都[きょうと]行[ゆ]き", "行き: ゆき (analyser: いき)"),
        ("その後[ご]、", "後: ご (analyser: あと)"),
        ("何人[なにじん]", "何人: なにじん (analyser: なんにん)"),
        ("十分[じっぷん]待[ま]つ", "十分: じっぷん (analyser: じゅっぷん)"),
        ("もう十分[じゅっぷん]です", "十分: じゅっぷん (analyser: じゅうぶん)"),
        ("七日[なぬか]に", "七日: なぬか (analyser: なのか)"),
        ("二十歳[にじゅっさい]", "二十歳: にじゅっさい (analyser: はたち)"),
        ("7人[ななにん]で", "7人: ななにん (analyser: しちにん)"),
        ("一日[ついたち]から", "一日: ついたち (analyser: いちにち)"),
        ("STOP[ストップ]を", "STOP: ストップ (analyser: STOP)"),
        ("山田[やまた]さん", "山田: やまた (analyser: やまだ)"),  # a name: it may be what he is called
        ("心愛[ここあ]さん", "心愛: ここあ (analyser: しんあい)"),
        ("龘[とう]が", "龘: とう (analyser: 龘)"),
    ],
)
def test_another_possible_reading_stands_and_is_reported(validated: Validate, proposed: str, difference: str) -> None:
    verdict = validated(proposed)
    assert (verdict.repairs, verdict.differences) == ((), (difference,))
    assert to_brackets(verdict.segments) == proposed


def test_words_follow_the_reading_that_stands(validated: Validate) -> None:
    verdict = validated("日本料理[にっぽんりょうり]と人気[ひとけ]")
    assert [(token.surface, token.reading) for token in verdict.tokens] == [
        ("日本", "にっぽん"), ("料理", "りょうり"), ("と", "と"), ("人気", "ひとけ"),
    ]  # fmt: skip


def test_a_bound_name_stands_and_a_slip_in_it_is_repaired(analyser: Analyser, readings: Readings) -> None:
    text, names, overrides = "裕子さんと今日は", {"裕子": "ひろこ"}, {"今日は": "こんにちは"}
    tokens = tokens_of(analyser, text, names, overrides)

    def validated(bracketed: str) -> Verdict:
        return validate(text, tokens, _parsed(bracketed, text), readings)

    right = "裕子[ひろこ]さんと今日[こんにち]は"
    assert validated(right) == Verdict(_parsed(right, text), tokens, (), ())
    assert validated("裕子さんと今日[こんにち]は") == Verdict(_parsed(right, text), tokens, (), ())
    verdict = validated("裕子[ゆうこ]さんと今日[きょう]は")
    assert verdict.segments == _parsed(right, text)
    assert verdict.repairs == (
        "裕子: ゆうこ -> ひろこ (the lesson's own name)",
        "今日は: きょうは -> こんにちは (a teacher's correction)",
    )


# --- Layout -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segments", "shown"),
    [
        ([("ケーキ", "けーき"), ("を", "を"), ("食", "た"), ("べる", None), ("。", "まる")], "ケーキを食[た]べる。"),
        ([("食べ物", "たべもの"), ("屋", "や")], "食[た]べ物[もの]屋[や]"),
        ([("引っ越しの日", "ひっこしのひ")], "引[ひ]っ越[こ]しの日[ひ]"),
        (
            [("本を三本買いました。", "ほんをさんぼんかいました")],
            "本[ほん]を三本[さんぼん]買[か]いました。",
        ),
        ([("学", "がっ"), ("校", "こう"), ("へ", None)], "学[がっ]校[こう]へ"),
        ([("今", "きょ"), ("日", "う"), ("は", None)], "今日[きょう]は"),
        ([("学", "が"), ("校", "っこう")], "学校[がっこう]"),
        ([("毎日料理", "まいにちりょうり"), ("する", None)], "毎日料理[まいにちりょうり]する"),
        ([("学校", "ガッコウ"), ("", "ん")], "学校[がっこう]"),
        ([("学校", "ｶﾞｯｺｳ")], "学校[がっこう]"),
        ([("T", "てぃー"), ("シャツ", None)], "T[ティー]シャツ"),
        ([("Tシャツと", None), ("CD", "")], "T[ティー]シャツとCD[シーディー]"),
        ([("4", None), ("時", "じ"), ("に10", None), ("本", "ぽん")], "4時[よじ]に10本[じゅっぽん]"),
        ([("一", "いっ"), ("ヶ", None), ("月", "げつ")], "一ヶ月[いっかげつ]"),
        ([("35", "さんじゅうご"), ("%", "パーセント")], "35%[さんじゅうごパーセント]"),
        ([("03-3261-5872", None)], "03-3261-5872"),
    ],
)
def test_layout_is_corrected_silently(
    analyser: Analyser, readings: Readings, segments: list[tuple[str, str | None]], shown: str
) -> None:
    proposed = tuple(FuriganaSegment(text=text, ruby=ruby) for text, ruby in segments)
    text = "".join(segment.text for segment in proposed)
    verdict = validate(text, analyser.tokens(text), proposed, readings)
    assert (to_brackets(verdict.segments), verdict.repairs, verdict.differences) == (shown, (), ())


@pytest.mark.parametrize(
    ("segments", "repair"),
    [
        ([("本", "book")], "本: book -> ほん (the reading is not kana)"),
        ([("本", "本")], "本: 本 -> ほん (the reading is not kana)"),
        ([("本", "")], "本: 本 -> ほん (kanji without a reading)"),
        ([("大", "だい"), ("学生", None)], "大学生: だい学生 -> だいがくせい (kanji without a reading)"),
        ([("3時", None)], "3時: 3時 -> さんじ (kanji without a reading)"),
        ([("3", None), ("本", "ほん")], "3本: 3ほん -> さんぼん (numbers follow the rules)"),
    ],
)
def test_invalid_furigana_is_replaced_by_the_analysers(
    analyser: Analyser, readings: Readings, segments: list[tuple[str, str | None]], repair: str
) -> None:
    proposed = tuple(FuriganaSegment(text=text, ruby=ruby) for text, ruby in segments)
    text = "".join(segment.text for segment in proposed)
    tokens = analyser.tokens(text)
    assert validate(text, tokens, proposed, readings) == Verdict(furigana.segments(tokens), tokens, (repair,), ())


def test_furigana_of_another_text_is_refused(analyser: Analyser, readings: Readings) -> None:
    with pytest.raises(ValueError, match="must join"):
        validate("本だ", analyser.tokens("本だ"), (FuriganaSegment(text="本", ruby="ほん"),), readings)


# --- Any text at all ----------------------------------------------------------------------------------------------

_JAPANESE = (
    "日本語今日三百二十月分円食べ物を買いました山田アメリカ人ーっょん々〆ヶ、。「」[]0123,.:％３年Tシャツ 　\n゛゙😀é龘"
    "\ud800"
)
_RUBY = st.none() | st.text(alphabet="あかがきっょうーにほんたべものアT食 ゙\ud800", max_size=6) | st.text(max_size=3)
_PIECES = st.lists(st.tuples(st.text(alphabet=_JAPANESE, max_size=5) | st.text(max_size=3), _RUBY), max_size=12)


@pytest.mark.deep
@settings(max_examples=examples(80, 1000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=_PIECES)
def test_any_furigana_of_any_text_is_validated_once_and_for_all(
    analyser: Analyser, readings: Readings, pieces: list[tuple[str, str | None]]
) -> None:
    proposed = tuple(FuriganaSegment.model_construct(text=text, ruby=ruby) for text, ruby in pieces)
    text = "".join(segment.text for segment in proposed)
    tokens = analyser.tokens(text)
    verdict = validate(text, tokens, proposed, readings)
    assert "".join(segment.text for segment in verdict.segments) == text
    assert "".join(token.surface for token in verdict.tokens) == text
    again = validate(text, tokens, verdict.segments, readings)
    assert again == Verdict(verdict.segments, verdict.tokens, (), verdict.differences)
    assert validate(text, verdict.tokens, verdict.segments, readings) == Verdict(
        verdict.segments, verdict.tokens, (), ()
    )


def test_ten_thousand_characters_of_nonsense_are_validated_in_seconds(analyser: Analyser, readings: Readings) -> None:
    source = ("東京都山田太郎毎日料理研究会員々々" * 600)[:10_000]
    tokens, ruby = analyser.tokens(source), "かきくけこさしすせそ" * 4
    proposed = tuple(FuriganaSegment(text=source[place : place + 17], ruby=ruby) for place in range(0, 10_000, 17))
    start = time.process_time()
    validate(source, tokens, proposed, readings)
    validate(source, tokens, (FuriganaSegment(text=source, ruby="か" * 30_000),), readings)
    assert time.process_time() - start < 5

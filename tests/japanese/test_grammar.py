"""Grammar by level, found in the words of a text as the analyser cuts it."""

from __future__ import annotations

import pytest

from enhancer_service.japanese.annotate import annotate
from enhancer_service.japanese.reading import Analyser
from lesson.japanese.grammar import NOT_ALLOWED, b1_notes, not_yet
from lesson.models import Level


def forms(analyser: Analyser, level: Level, text: str) -> list[str]:
    return [form.partition(", in …")[0] for form in not_yet(level, annotate(analyser, text).words)]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("雨だったら、行きません。", "conditionals (たら, と, ば, なら)"),
        ("安ければ買います。", "conditionals (たら, と, ば, なら)"),
        ("右に曲がると、駅があります。", "conditionals (たら, と, ば, なら)"),
        ("パンなら食べます。", "conditionals (たら, と, ば, なら)"),
        ("先生にほめられました。", "passive (れる, られる)"),
        ("子どもに野菜を食べさせます。", "causative (せる, させる)"),
        ("早く起きなければなりません。", "なければならない"),
        ("もう帰らなきゃ。", "なければならない"),
        ("本を読んだり映画を見たりします。", "たり"),
        ("傘を忘れてしまいました。", "てしまう"),
        ("全部食べちゃった。", "てしまう"),
        ("明日は雨だと思います。", "と思う"),
        ("おいしそうですね。", "そう, よう, らしい"),
        ("明日は寒いそうです。", "そう, よう, らしい"),
        ("だれもいないようです。", "そう, よう, らしい"),
        ("学生らしいです。", "そう, よう, らしい"),
    ],
)
def test_grammar_too_early_for_a1_is_found(analyser: Analyser, text: str, form: str) -> None:
    assert form in forms(analyser, Level.A1, text)


@pytest.mark.parametrize(
    "text",
    [
        "友達にもらったペンです。",
        "パンと卵を食べます。",
        "名前を忘れました。",
        "これをくれますか。",
        "そうですか。",
        "そうですね。",
        "はい、そうです。",
        "アンナと言います。",
        "友達といっしょに行きます。",
        "たくさん食べます。",
        "山田さんと話します。",
        "とてもおいしいです。",
        "学校に入れます。",
        "疲れました。",
        "すぐ来ました。",
        "そばを食べました。",
        "例えば、魚です。",
    ],
)
def test_lookalikes_are_no_grammar(analyser: Analyser, text: str) -> None:
    assert forms(analyser, Level.A1, text) == []


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("部下に書かせます。", "causative (せる, させる)"),
        ("もっと練習するべきです。", "べき"),
        ("だから高いわけだ。", "わけだ"),
        ("先生に対して失礼です。", "に対して"),
        ("国によって違います。", "によって"),
        ("先生がお帰りになりました。", "productive keigo (お…になる, お…する, 召し上がる)"),
        ("荷物をお持ちします。", "productive keigo (お…になる, お…する, 召し上がる)"),
        ("何を召し上がりますか。", "productive keigo (お…になる, お…する, 召し上がる)"),
    ],
)
def test_grammar_too_early_for_a2_is_found(analyser: Analyser, text: str, form: str) -> None:
    assert form in forms(analyser, Level.A2, text)


@pytest.mark.parametrize(
    "text",
    [
        "お願いします。",
        "お元気になりましたか。",
        "お帰りなさい。",
        "お世話になりました。",
        "雨だったら行きません。",
        "窓から海が見えました。",
    ],
)
def test_grammar_of_a2_passes_at_a2(analyser: Analyser, text: str) -> None:
    assert forms(analyser, Level.A2, text) == []


@pytest.mark.parametrize("level", [level for level in Level if level not in NOT_ALLOWED])
def test_other_levels_allow_all_grammar(analyser: Analyser, level: Level) -> None:
    assert forms(analyser, level, "先生がお帰りになったら、部下に書かせるべきだと思う。") == []


def test_a_grammar_note_quotes_where_it_found_the_pattern(analyser: Analyser) -> None:
    (note,) = not_yet(Level.A1, annotate(analyser, "傘を忘れてしまいました。").words)
    assert note == "てしまう, in …てしまいまし…"


def test_a_reading_of_b1_must_use_its_patterns_and_clauses() -> None:
    assert list(map(str, b1_notes("駅に行きます。パンを食べます。", ["～です"]))) == [
        "reading.text: 0 B1 patterns in reading and grammar, wanted at least 2",
        "reading.text: 0 subordinate clauses, wanted at least 2",
    ]
    rich = "忙しいので、なるべく歩くようにしている。健康のために、駅まで歩くと気分もいい。"
    assert list(b1_notes(rich, [])) == []

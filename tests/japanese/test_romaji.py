from __future__ import annotations

import pytest

from enhancer_service.japanese.annotate import annotate
from enhancer_service.japanese.hepburn import letters
from enhancer_service.japanese.reading import Analyser
from enhancer_service.japanese.words import words


@pytest.mark.parametrize(
    ("kana", "latin"),
    [
        ("がっこう", "gakkō"),
        ("まっちゃ", "matcha"),
        ("ほんや", "hon'ya"),
        ("れんあい", "ren'ai"),
        ("しんぶん", "shinbun"),
        ("せんせい", "sensei"),
        ("おいしい", "oishii"),
        ("おおきい", "ōkii"),
        ("コーヒー", "kōhī"),
        ("パーティー", "pātī"),
        ("ヴァイオリン", "vaiorin"),
        ("ウイスキー", "uisukī"),
        ("ﾃﾞｨｽﾞﾆｰ", "dizunī"),
        ("ねぇ", "nē"),
        ("ゐゑを", "ieo"),
        ("こゝろ", "kokoro"),
        ("あっ", "a"),
        ("っ", "tsu"),
        ("ー", "-"),
    ],
)
def test_kana_become_hepburn_letters(kana: str, latin: str) -> None:
    assert letters([kana]) == latin


def test_vowels_do_not_grow_long_across_a_morpheme() -> None:
    assert letters(["みず", "うみ"]) == "mizuumi"
    assert letters(["ほん", "や"]) == "hon'ya"


@pytest.mark.parametrize(
    ("text", "romaji"),
    [
        ("思う、買う、吸う、言う", "omou, kau, suu, iu"),
        ("行こう、食べよう", "ikō, tabeyō"),
        ("湖と場合と井上さん", "mizuumi to baai to inoue-san"),
        ("日本では本を読む", "nihon de wa hon o yomu"),
        ("友達へのお土産", "tomodachi e no omiyage"),
        ("母は花が好きです", "haha wa hana ga suki desu"),
        ("こんにちは。こんばんは。", "konnichiwa. konbanwa."),
        ("田中さんとお母さん", "tanaka-san to okāsan"),
        ("三百円と千円札", "sanbyaku en to sen en satsu"),
        ("五億人", "gookunin"),
        ("遊んだ。読んでいます。", "asonda. yonde imasu."),
        ("食べられませんでした", "taberaremasen deshita"),
        ("行くのに、雨なので、寒いのです", "iku noni, ame na node, samui no desu"),
        ("おいしそうだね", "oishisō da ne"),
        ("降るそうです", "furu sō desu"),
        ("飲みながら食べ始める", "nominagara tabehajimeru"),
        ("お願いします", "onegai shimasu"),
        ("三年後と十分前", "sannen go to juppun mae"),
        ("「はい！」と言った。", '"hai!" to itta.'),
        ("マリア・ガルシア（学生）", "maria garushia (gakusei)"),
        ("ええと… そう？", "ēto... sō?"),
        ("～が好きです", "~ ga suki desu"),
        ("お待ちください。お送りいたします。", "omachi kudasai. ookuri itashimasu."),
        ("何か、どこか、誰かが来た。何ですか", "nanika, dokoka, dareka ga kita. nan desu ka"),
        ("何で昨日休んだの。一日中雨だ", "nande kinō yasunda no. ichinichijū ame da"),
        ("a@b.jp、TシャツとDVD", "a@b.jp, tīshatsu to dībuidī"),
        ("でも、雨でも行く", "demo, ame de mo iku"),
        ("", ""),
        ("😀한국어", ""),
    ],
)
def test_romaji_follows_the_policy(analyser: Analyser, text: str, romaji: str) -> None:
    assert annotate(analyser, text).romaji == romaji


@pytest.mark.parametrize(
    ("style", "romaji"),
    [("macron", "gakkō de ōkii kēki"), ("double", "gakkoo de ookii keeki"), ("kana", "gakkou de ookii keeki")],
)
def test_long_vowels_follow_the_style(analyser: Analyser, style: object, romaji: str) -> None:
    assert annotate(analyser, "学校で大きいケーキ", style=style).romaji == romaji  # type: ignore[arg-type]  # parametrize


def test_words_have_english_kinds_and_places(analyser: Analyser) -> None:
    found = words(analyser.tokens("私はとても静かな東京へ、二回行きました。"))
    assert [(word.surface, word.pos) for word in found] == [
        ("私", "pronoun"), ("は", "particle"), ("とても", "adverb"), ("静か", "adjective"), ("な", "auxiliary"),
        ("東京", "name"), ("へ", "particle"), ("二回", "number"), ("行き", "verb"), ("まし", "auxiliary"),
        ("た", "auxiliary"),
    ]  # fmt: skip
    assert (found[8].lemma, found[8].reading, found[8].gloss, found[8].level) == ("行く", "いき", None, None)

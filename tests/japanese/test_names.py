from __future__ import annotations

from enhancer_service.annotator import ProposedReading
from enhancer_service.japanese.annotate import annotate
from enhancer_service.japanese.annotator import JapaneseAnnotator
from enhancer_service.japanese.furigana import to_brackets
from enhancer_service.japanese.reading import Analyser


def _furigana(analyser: Analyser, text: str, names: dict[str, str]) -> str:
    return to_brackets(annotate(analyser, text, names).segments)


def test_a_names_kana_beats_the_analyser(analyser: Analyser) -> None:
    assert _furigana(analyser, "裕子さんが来た。", {"裕子": "ひろこ"}) == "裕子[ひろこ]さんが来[き]た。"


def test_a_full_name_binds_its_parts(analyser: Analyser) -> None:
    names = {"東 海斗": "あずま かいと"}
    assert _furigana(analyser, "東さんと海斗", names) == "東[あずま]さんと海斗[かいと]"
    assert _furigana(analyser, "東海斗です", names) == "東海斗[あずまかいと]です"


def test_inside_a_longer_word_there_is_no_name(analyser: Analyser) -> None:
    assert _furigana(analyser, "花は花火を見た", {"花": "ふぁ"}) == "花[ふぁ]は花火[はなび]を見[み]た"
    assert _furigana(analyser, "健太と健太郎", {"健太": "たけた"}) == "健太[たけた]と健太郎[けんたろう]"


def test_a_name_the_tokeniser_cut_elsewhere_still_binds(analyser: Analyser) -> None:
    assert [token.surface for token in analyser.tokens("日本語花さん")] == ["日本語", "花", "さん"]
    annotation = annotate(analyser, "日本語花さん", {"語花": "ごか"})
    assert to_brackets(annotation.segments) == "日本[にほん]語花[ごか]さん"
    assert annotation.romaji == "nihon goka-san"


def test_a_names_kana_beats_the_model(annotator: JapaneseAnnotator) -> None:
    proposed = ProposedReading(furigana="裕子[ゆうこ]さんは明日[あす]来[く]る")
    annotation = annotator.annotate("裕子さんは明日来る", {"裕子": "ひろこ"}, proposed)
    assert to_brackets(annotation.segments) == "裕子[ひろこ]さんは明日[あす]来[く]る"
    assert annotation.reading == "ひろこさんはあすくる"


def test_a_name_without_kana_binds_nothing(analyser: Analyser) -> None:
    assert _furigana(analyser, "田中さん", {"田中": "Tanaka", "": "あ"}) == "田中[たなか]さん"


def test_a_name_is_a_name_among_the_words(analyser: Analyser) -> None:
    (name, *_) = annotate(analyser, "美咲さん", {"美咲": "みさき"}).words
    assert (name.pos, name.reading) == ("name", "みさき")

from __future__ import annotations

import threading

import pytest

from enhancer_service.japanese.annotate import annotate
from enhancer_service.japanese.reading import Analyser


def _read(analyser: Analyser, text: str) -> str:
    return annotate(analyser, text).reading


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("私は日本人です。", "わたしはにほんじんです。"),
        ("明日と一昨日と明後日", "あしたとおとといとあさって"),
        ("何が好きですか。何と言いますか。", "なにがすきですか。なんといいますか。"),
        ("何か食べる。何も言う。何にする。何の本", "なにかたべる。なにもいう。なににする。なんのほん"),
        ("店が開く。本を開く。", "みせがあく。ほんをひらく。"),
        ("辛いスープを飲む。辛い仕事だ。", "からいスープをのむ。つらいしごとだ。"),
        ("お腹が空いた。席が空いた。", "おなかがすいた。せきがあいた。"),
        ("一日中と午前中", "いちにちじゅうとごぜんちゅう"),
        ("一日中雨だった。豪雨と梅雨", "いちにちじゅうあめだった。ごううとつゆ"),
        ("野菜を蒸す。蒸したパン。芋を蒸かす", "やさいをむす。むしたパン。いもをふかす"),
        ("いつ店の人に聞きましたか。喫茶店", "いつみせのひとにききましたか。きっさてん"),
        ("紙の表と裏を見る。表を作る", "かみのおもてとうらをみる。ひょうをつくる"),
        ("ブラジル人が三人とアメリカ人が一人", "ブラジルじんがさんにんとアメリカじんがひとり"),
        ("人気のない道と人気のある店", "ひとけのないみちとにんきのあるみせ"),
        ("皆さん、皆で行く", "みなさん、みんなでいく"),
        ("箱に入れる", "はこにいれる"),
    ],
)
def test_everyday_words_are_read_as_a_learner_hears_them(analyser: Analyser, text: str, reading: str) -> None:
    assert _read(analyser, text) == reading


def test_katakana_stays_katakana_inside_a_word(analyser: Analyser) -> None:
    assert _read(analyser, "アメリカ人と生ビールと消しゴムとﾃｽﾄ") == "アメリカじんとなまビールとけしゴムとテスト"


def test_symbols_and_other_scripts_read_as_themselves(analyser: Analyser) -> None:
    assert _read(analyser, "😀 hello、한국어!\n") == "😀 hello、한국어!\n"


def test_an_unknown_kanji_stays_unchanged(analyser: Analyser) -> None:
    annotation = annotate(analyser, "龘が好き")
    assert (annotation.reading, annotation.romaji) == ("龘がすき", "? ga suki")


def test_the_version_names_tokeniser_and_dictionary(analyser: Analyser) -> None:
    assert analyser.version == "sudachi-0.7.0+core-20261015"


def test_threads_may_share_the_analyser(analyser: Analyser) -> None:
    results: list[int] = []

    def read() -> None:
        results.extend(len(analyser.tokens("今日は学校に行きました。")) for _ in range(200))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 800
    assert len(set(results)) == 1


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("マリアさんは何人ですか", "マリアさんはなにじんですか"),
        ("ご家族は何人ですか", "ごかぞくはなんにんですか"),
        ("田中さんは何人家族ですか", "たなかさんはなんにんかぞくですか"),
        ("何で行きますか", "なにでいきますか"),
        ("何で泣いているの", "なんでないているの"),
        ("たばこを止める", "たばこをやめる"),
        ("車を止める", "くるまをとめる"),
        ("バスは空いていた", "バスはすいていた"),
        ("電車がとても空いている", "でんしゃがとてもすいている"),
        ("席が空いている", "せきがあいている"),
        ("お腹が空いた", "おなかがすいた"),
        ("絵を描く", "えをかく"),
        ("机の下", "つくえのした"),
        ("法律の下で", "ほうりつのもとで"),
        ("レジ袋", "レジぶくろ"),
        ("袋に入れる", "ふくろにいれる"),
        ("その後、帰った", "そのあと、かえった"),
        ("三年後", "さんねんご"),
        ("牛の角", "うしのつの"),
        ("次の角", "つぎのかど"),
        ("田中家の人", "たなかけのひと"),
        ("女の方です", "おんなのかたです"),
        ("日本の方ですか", "にほんのかたですか"),
        ("日本の方が高い", "にほんのほうがたかい"),
        ("三軒の家", "さんげんのいえ"),
        ("2、3日休む", "に、さんにちやすむ"),
        ("一箱", "ひとはこ"),
        ("二三日休む", "にさんにちやすむ"),
        ("五六人来た", "ごろくにんきた"),
        ("二十三日", "にじゅうさんにち"),
        ("下の階", "したのかい"),
        ("気に入った", "きにいった"),
    ],
)
def test_a_word_with_two_readings_follows_its_context(analyser: Analyser, text: str, reading: str) -> None:
    assert annotate(analyser, text).reading == reading

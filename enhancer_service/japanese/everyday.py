"""Everyday readings where the dictionary prefers the formal one: 私 わたし, 明日 あした, 何を なにを.

A table gives default readings, and a rule for each word with several readings looks at its context. Names and a
model's accepted readings replace these later. Policy: docs/lesson-content.md, "Readings".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from enhancer_service.japanese.token import INTERJECTION, NOUN, PARTICLE, Token, joined

_WORDS: Final = {
    "私": "わたし",
    "日本": "にほん",
    "今日": "きょう",
    "明日": "あした",
    "昨日": "きのう",
    "明後日": "あさって",
    "箱": "はこ",
    "市場": "いちば",
    "上手": "じょうず",
    "お家": "おうち",
    "餃子": "ぎょうざ",
    "鶏肉": "とりにく",
    "富士山": "ふじさん",
    "米": "こめ",
    "階": "かい",
    "身体": "からだ",
}
# Words the tokeniser cuts in two.
_CUT: Final = {"一昨日": ("おととい", NOUN), "一昨年": ("おととし", NOUN), "ええと": ("ええと", INTERJECTION)} | {
    "一日中": ("いちにちじゅう", NOUN),
}
# A phrase that the tokeniser takes for one word.
_PHRASE: Final = re.compile(r"(?P<noun>気)(?P<particle>に)(?P<verb>入.+)")
_LONGEST_CUT: Final = 3
_TASTES: Final = frozenset(
    {
        "料理",
        "食べ物",
        "飲み物",
        "食べる",
        "飲む",
        "食事",
        "味",
        "甘い",
        "苦い",
        "酸っぱい",
        "美味しい",
        "おいしい",
        "カレー",
        "ラーメン",
    }
    | {"スープ", "ソース", "キムチ", "鍋", "塩", "唐辛子", "わさび", "ご飯", "うどん", "そば"}
)
_HUNGER: Final = frozenset({"お腹", "おなか", "腹", "はら"})
# Things that empty of people (すく); a seat, a room or an hour becomes free (あく).
_CROWDED: Final = frozenset(
    {"バス", "電車", "地下鉄", "新幹線", "車内", "道", "道路", "高速", "店", "店内", "レストラン", "食堂", "カフェ"}
    | {"喫茶店", "映画館", "図書館", "美術館", "館内", "プール", "公園", "スーパー", "デパート", "病院"}
)
# Things that people give up (やめる); a car, a machine or a noise stops (とめる).
_GIVEN_UP: Final = frozenset(
    {"たばこ", "タバコ", "煙草", "酒", "仕事", "会社", "学校", "大学", "アルバイト", "バイト", "練習", "勉強", "部活"}
    | {"習慣", "話", "喧嘩", "けんか", "留学", "旅行", "計画", "悪口", "ゲーム", "の", "こと", "クラブ", "運動"}
)
_ONE_PERSON: Final = frozenset(
    {"彼", "彼女", "あなた", "君", "方", "人", "先生", "さん", "ちゃん", "くん", "選手", "歌手"}
)
_MEANS: Final = frozenset(
    {"行く", "来る", "帰る", "通う", "作る", "書く", "切る", "食べる", "出来る", "できる", "払う"}
)
_HORNED: Final = frozenset({"牛", "鹿", "羊", "山羊", "やぎ", "サイ", "鬼", "動物", "獣"})
_WHO: Final = frozenset({"女", "男", "他", "ほか", "多く", "大勢", "家族", "外国", "係", "初めて", "年配", "客", "人"})
_COMPARED: Final = frozenset({"が", "へ", "に", "を", "は"})
_OVER_OTHERS: Final = frozenset({"法律", "指導", "監督", "条件", "管理", "協力", "支配"})
_WHOLE_OF: Final = tuple("日年晩夜国町街家村島")
_NAN_BEFORE: Final = tuple("たちつてとだぢづでどなにぬねの")
_NANI_PARTICLES: Final = frozenset({"に"})


def read(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """The tokens with everyday readings; joins words that the tokeniser cut in two."""
    whole = tuple(_rejoined(tokens))
    return tuple(_everyday(whole, index) for index in range(len(whole)))


def _rejoined(tokens: tuple[Token, ...]) -> Iterator[Token]:
    index = 0
    while index < len(tokens):
        count, token = _rejoined_word(tokens, index)
        yield from _split_phrase(token)
        index += count


def _split_phrase(token: Token) -> Iterator[Token]:
    """Splits 気に入る into noun, particle and verb, which is what a learner reads."""
    phrase = _PHRASE.fullmatch(token.surface)
    if phrase is None or not token.reading.startswith("きにい"):
        yield token
        return
    yield Token("気", "き", "気", NOUN, token.start)
    yield Token("に", "に", "に", PARTICLE, token.start + 1)
    yield replace(
        token, surface=phrase["verb"], reading=token.reading[2:], lemma=token.lemma[2:], start=token.start + 2
    )


def _rejoined_word(tokens: tuple[Token, ...], index: int) -> tuple[int, Token]:
    for count in range(2, _LONGEST_CUT + 1):
        parts = tokens[index : index + count]
        found = _CUT.get("".join(part.surface for part in parts))
        if found and len(parts) == count:
            return count, joined(parts, *found)
    return 1, tokens[index]


def _everyday(tokens: tuple[Token, ...], index: int) -> Token:
    token = tokens[index]
    if token.surface in _WORDS:
        return token.read(_WORDS[token.surface])
    rule = _BY_CONTEXT.get(token.surface) or _BY_CONTEXT.get(token.lemma)
    reading = rule(tokens, index) if rule else None
    return token.read(reading) if reading else token


def _surface(tokens: tuple[Token, ...], index: int) -> str:
    return tokens[index].surface if 0 <= index < len(tokens) else ""


def _say(tokens: tuple[Token, ...], index: int) -> str | None:
    """言う is spelt いう, though it sounds like ゆう."""
    reading = tokens[index].reading
    return f"い{reading[1:]}" if reading.startswith("ゆ") else None


def _what(tokens: tuple[Token, ...], index: int) -> str:
    """なん before t, d and n sounds, なに before the rest and before に; before a counter `counters` decides.

    何で行きますか asks for the means, and is なにで; 何で泣くの asks why, and is なんで.
    """
    if _surface(tokens, index + 1) == "で" and index + 2 < len(tokens) and tokens[index + 2].lemma in _MEANS:
        return "なに"
    following = tokens[index + 1].reading if index + 1 < len(tokens) else ""
    nan = following.startswith(_NAN_BEFORE) and following not in _NANI_PARTICLES
    return "なん" if nan else "なに"


def _everyone(tokens: tuple[Token, ...], index: int) -> str:
    return "みな" if _surface(tokens, index + 1) in {"さん", "様", "さま"} else "みんな"


def _open(tokens: tuple[Token, ...], index: int) -> str | None:
    """A shop opens (あく); somebody opens a book (ひらく)."""
    reading = tokens[index].reading
    return (
        f"あ{reading[2:]}" if reading.startswith("ひら") and _surface(tokens, index - 1) in {"が", "は", "も"} else None
    )


def _empty(tokens: tuple[Token, ...], index: int) -> str | None:
    """A stomach or a bus empties (すく); a seat becomes free (あく)."""
    emptied = _subject(tokens, index) in _HUNGER | _CROWDED
    return f"す{tokens[index].reading[1:]}" if emptied else None


def _subject(tokens: tuple[Token, ...], index: int) -> str:
    """The word before the preceding particle, skipping at most one adverb: 電車がとても空く."""
    before = index - 2 if index >= 2 and tokens[index - 1].pos[0] in {"副詞", "形容詞"} else index - 1
    if before >= 1 and tokens[before].pos[0] == "助詞":
        before -= 1
    return _surface(tokens, before)


def _stop(tokens: tuple[Token, ...], index: int) -> str | None:
    """People give up a habit (やめる) and stop a car (とめる)."""
    reading = tokens[index].reading
    given_up = _surface(tokens, index - 1) in {"を", "は", "も"} and _surface(tokens, index - 2) in _GIVEN_UP
    return f"や{reading[1:]}" if reading.startswith("と") and given_up else None


def _draw(tokens: tuple[Token, ...], index: int) -> str | None:
    """描く is かく in everyday speech."""
    reading = tokens[index].reading
    return f"か{reading[2:]}" if reading.startswith("えが") else None


def _below(tokens: tuple[Token, ...], index: int) -> str | None:
    """机の下 is した; 下 is もと only under rules, laws and teachers."""
    if tokens[index].reading not in {"した", "もと"}:
        return None
    over = _surface(tokens, index - 1) == "の" and _surface(tokens, index - 2) in _OVER_OTHERS
    return "もと" if over else "した"


def _bag(tokens: tuple[Token, ...], index: int) -> str | None:
    """袋 is voiced directly after a noun: レジ袋, 紙袋."""
    return "ぶくろ" if index and tokens[index - 1].pos[0] == "名詞" and not tokens[index - 1].is_number else None


def _afterwards(tokens: tuple[Token, ...], index: int) -> str | None:
    """その後 is そのあと in everyday speech."""
    return "あと" if tokens[index].reading == "ご" and _surface(tokens, index - 1) in {"その", "この"} else None


def _corner(tokens: tuple[Token, ...], index: int) -> str | None:
    """角 is かど of a street and つの of an animal."""
    return "つの" if _surface(tokens, index - 1) == "の" and _surface(tokens, index - 2) in _HORNED else None


def _house(tokens: tuple[Token, ...], index: int) -> str | None:
    """家 after a family name is け: 田中家."""
    return "け" if tokens[index].reading == "か" and index and "人名" in tokens[index - 1].pos else None


def _person(tokens: tuple[Token, ...], index: int) -> str | None:
    """方 is かた for a person (女の方, 日本の方ですか) and ほう in comparisons and directions (の方が, の方へ)."""
    if tokens[index].reading != "ほう" or _surface(tokens, index - 1) != "の" or index < 2:
        return None
    country = "地名" in tokens[index - 2].pos and _surface(tokens, index + 1) not in _COMPARED
    return "かた" if country or tokens[index - 2].surface in _WHO else None


def _nationality(tokens: tuple[Token, ...], index: int) -> str | None:
    """何人 is なにじん for one person's nationality (マリアさんは何人ですか), else なんにん (ご家族は何人ですか)."""
    asked = _surface(tokens, index + 1) in {"です", "でしょう", "だ", "なの", "？", "?", "か", ""}
    about = tokens[index - 2].surface if index >= 2 and _surface(tokens, index - 1) == "は" else ""
    return "なにじん" if asked and about in _ONE_PERSON else None


def _hot(tokens: tuple[Token, ...], index: int) -> str | None:
    """辛い is からい near words for food, else つらい."""
    reading = tokens[index].reading
    tastes = any(token.lemma in _TASTES for token in _sentence(tokens, index))
    return f"から{reading[2:]}" if reading.startswith("つら") and tastes else None


def _sentence(tokens: tuple[Token, ...], index: int) -> Iterator[Token]:
    """At most a dozen words before and after this one, within its sentence."""
    for direction in (tokens[max(0, index - 12) : index][::-1], tokens[index + 1 : index + 13]):
        yield from itertools.takewhile(lambda token: token.pos[1] != "句点", direction)


def _rain(tokens: tuple[Token, ...], index: int) -> str | None:
    """雨 after 一日中 is the word あめ, not the ending of 豪雨."""
    return "あめ" if tokens[index].reading == "う" and _surface(tokens, index - 1).endswith("中") else None


def _native(tokens: tuple[Token, ...], index: int) -> str | None:
    """人 after a country is じん (ブラジル人); the counter is にん."""
    from_a_place = index > 0 and "地名" in tokens[index - 1].pos
    return "じん" if tokens[index].reading == "にん" and from_a_place else None


def _steam(tokens: tuple[Token, ...], index: int) -> str | None:
    """蒸す is むす; ふかす is spelt 蒸かす."""
    reading = tokens[index].reading
    return f"む{reading[2:]}" if reading.startswith("ふか") and tokens[index].surface[1:2] != "か" else None


def _shop(tokens: tuple[Token, ...], index: int) -> str | None:
    """店 is みせ as a word of its own, not as an ending: 喫茶店, 東京店."""
    ends_a_word = index > 0 and tokens[index - 1].pos[0] in {"名詞", "接尾辞"} and not tokens[index - 1].is_number
    return None if tokens[index].reading != "てん" or ends_a_word else "みせ"


def _front(tokens: tuple[Token, ...], index: int) -> str | None:
    """表 beside 裏 is おもて."""
    beside = {_surface(tokens, index - 2), _surface(tokens, index + 2)}
    return "おもて" if tokens[index].reading == "ひょう" and "裏" in beside else None


def _throughout(tokens: tuple[Token, ...], index: int) -> str | None:
    """中 is じゅう in 一日中, 今年中, 家中 and ちゅう in 午前中, 食事中."""
    return "じゅう" if tokens[index].reading == "ちゅう" and _surface(tokens, index - 1).endswith(_WHOLE_OF) else None


def _presence(tokens: tuple[Token, ...], index: int) -> str | None:
    """人気のない道 is an empty street (ひとけ), not an unpopular one (にんき)."""
    after = _surface(tokens, index + 1), tokens[index + 2].lemma if index + 2 < len(tokens) else ""
    return "ひとけ" if after in {("の", "ない"), ("の", "無い")} else None


def _medicine(tokens: tuple[Token, ...], index: int) -> str | None:
    """三回薬を飲む: after a count 薬 is the word くすり, not the suffix やく."""
    return "くすり" if index and tokens[index - 1].is_number else None


_BY_CONTEXT: Final[dict[str, Callable[[tuple[Token, ...], int], str | None]]] = {
    "言う": _say,
    "何": _what,
    "皆": _everyone,
    "開く": _open,
    "空く": _empty,
    "辛い": _hot,
    "中": _throughout,
    "雨": _rain,
    "蒸す": _steam,
    "店": _shop,
    "表": _front,
    "人": _native,
    "人気": _presence,
    "薬": _medicine,
    "止める": _stop,
    "描く": _draw,
    "下": _below,
    "袋": _bag,
    "後": _afterwards,
    "角": _corner,
    "家": _house,
    "方": _person,
    "何人": _nationality,
}

"""Everyday readings where the dictionary prefers the formal one: 私 わたし, 明日 あした, 何を なにを.

The defaults and the rules by context are those of notes/japanese.md section 2, in general form; names and a model's
accepted readings are laid over them later.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Final

from enhancer_service.japanese.token import Token, joined

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
}
# Words the tokeniser cuts in two.
_CUT: Final = {"一昨日": "おととい", "一昨年": "おととし"}
_NOUN: Final = ("名詞", "普通名詞", "一般", "*", "*", "*")
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
_WHOLE_OF: Final = tuple("日年晩夜国町街家村島")
_NAN_BEFORE: Final = tuple("たちつてとだぢづでどなにぬねの")
_NANI_PARTICLES: Final = frozenset({"に"})


def read(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """The tokens with everyday readings; a word the tokeniser cut in two is put together again."""
    whole = tuple(_mended(tokens))
    return tuple(_everyday(whole, index) for index in range(len(whole)))


def _mended(tokens: tuple[Token, ...]) -> Iterator[Token]:
    index = 0
    while index < len(tokens):
        count, token = _cut_word(tokens, index)
        yield token
        index += count


def _cut_word(tokens: tuple[Token, ...], index: int) -> tuple[int, Token]:
    for count in range(2, _LONGEST_CUT + 1):
        parts = tokens[index : index + count]
        found = _CUT.get("".join(part.surface for part in parts))
        if found and len(parts) == count:
            return count, joined(parts, found, _NOUN)
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
    """言う is written いう, though it sounds ゆう."""
    reading = tokens[index].reading
    return f"い{reading[1:]}" if reading.startswith("ゆ") else None


def _what(tokens: tuple[Token, ...], index: int) -> str:
    """なん before t, d and n sounds, なに before the rest and before に; before a counter it is the number's affair."""
    following = tokens[index + 1].reading if index + 1 < len(tokens) else ""
    nan = following.startswith(_NAN_BEFORE) and following not in _NANI_PARTICLES
    return "なん" if nan else "なに"


def _everyone(tokens: tuple[Token, ...], index: int) -> str:
    return "みな" if _surface(tokens, index + 1) in {"さん", "様", "さま"} else "みんな"


def _open(tokens: tuple[Token, ...], index: int) -> str | None:
    """A shop あく, but a book is ひらく."""
    reading = tokens[index].reading
    return (
        f"あ{reading[2:]}" if reading.startswith("ひら") and _surface(tokens, index - 1) in {"が", "は", "も"} else None
    )


def _empty(tokens: tuple[Token, ...], index: int) -> str | None:
    """A stomach is すく; a seat あく."""
    hungry = any(_surface(tokens, place) in _HUNGER for place in range(index - 2, index))
    return f"す{tokens[index].reading[1:]}" if hungry else None


def _hot(tokens: tuple[Token, ...], index: int) -> str | None:
    """辛い is からい where food is spoken of, else つらい."""
    reading = tokens[index].reading
    tastes = any(token.lemma in _TASTES for token in _sentence(tokens, index))
    return f"から{reading[2:]}" if reading.startswith("つら") and tastes else None


def _sentence(tokens: tuple[Token, ...], index: int) -> Iterator[Token]:
    """The words around one, a dozen each way at most, as far as its sentence goes."""
    for direction in (tokens[max(0, index - 12) : index][::-1], tokens[index + 1 : index + 13]):
        yield from itertools.takewhile(lambda token: token.pos[1] != "句点", direction)


def _throughout(tokens: tuple[Token, ...], index: int) -> str | None:
    """一日中, 今年中, 家中 are じゅう; 午前中 and 食事中 stay ちゅう."""
    return "じゅう" if tokens[index].reading == "ちゅう" and _surface(tokens, index - 1).endswith(_WHOLE_OF) else None


def _presence(tokens: tuple[Token, ...], index: int) -> str | None:
    """人気のない道: nobody is there (ひとけ), which is not about being liked (にんき)."""
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
    "人気": _presence,
    "薬": _medicine,
}

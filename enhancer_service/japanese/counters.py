"""Joins numbers with their counters, times and dates into one word each, read with the counter's sound changes.

Counters fall into classes by their first sound (h, f, p, k, s), each with its gemination and voicing; 時 月 人 年 円
日 つ 歳 have tables of their own. The tokeniser reads digit by digit or without sound changes, so its reading of a
number is never kept. Policy: docs/lesson-content.md, "Readings".
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from enhancer_service.japanese import numbers
from enhancer_service.japanese.script import DIGIT
from enhancer_service.japanese.token import NUMBER, Token, joined

_VOICED: Final = dict(
    zip("かきくけこさしすせそたちつてとはひふへほ", "がぎぐげござじずぜぞだぢづでどばびぶべぼ", strict=True)
)
_PLOSIVE: Final = dict(zip("はひふへほ", "ぱぴぷぺぽ", strict=True))


@dataclass(frozen=True, slots=True)
class _Sounds:
    """The number endings that double before a counter, and those that voice its first kana or turn it into p."""

    doubling: frozenset[str] = frozenset()
    voicing: frozenset[str] = frozenset()
    plosive: frozenset[str] = frozenset()


_NASAL: Final = frozenset({"3", "1000", "10000", "何"})
_H: Final = frozenset({"1", "6", "8", "10", "100"})
_S: Final = frozenset({"1", "8", "10"})
# Each class: its sound changes and its counters with their readings.
_CLASSES: Final[tuple[tuple[_Sounds, str], ...]] = (
    (_Sounds(_H, _NASAL, _H), "本=ほん 杯=はい 匹=ひき 票=ひょう"),
    (_Sounds(_H, plosive=_H | _NASAL | {"4"}), "分=ふん 分間=ふんかん 泊=はく"),
    (_Sounds(_H, plosive=_H | _NASAL), "歩=ほ 発=はつ"),
    (_Sounds(_H, frozenset({"3", "何"})), "階=かい 階建て=かいだて 軒=けん"),
    (_Sounds(_S, frozenset({"3", "1000", "何"})), "足=そく"),
    (_Sounds(_S), "点=てん 頭=とう 通=つう 着=ちゃく 丁=ちょう 丁目=ちょうめ 滴=てき トン=トン 等=とう 棟=とう"),
    (
        _Sounds(frozenset({"8", "10"})),
        "ページ=ページ パーセント=パーセント %=パーセント ％=パーセント ポイント=ポイント パック=パック",
    ),
    (_Sounds(_H, plosive=_H | {"3"}), "箱=はこ"),
    (
        _Sounds(_H),
        """回=かい 回戦=かいせん 個=こ 課=か 件=けん 曲=きょく 校=こう 巻=かん 級=きゅう 画=かく 戸=こ 機=き 区=く
        局=きょく 脚=きゃく 缶=かん か月=かげつ ヶ月=かげつ ヵ月=かげつ カ月=かげつ ケ月=かげつ 箇月=かげつ
        か月間=かげつかん ヶ月間=かげつかん カ月間=かげつかん か国=かこく ヶ国=かこく カ国=かこく か国語=かこくご
        ヶ国語=かこくご カ国語=かこくご か所=かしょ ヶ所=かしょ カ所=かしょ 箇所=かしょ""",
    ),
    (
        _Sounds(frozenset({"6", "10", "100"})),
        """キロ=キロ キログラム=キログラム キロメートル=キロメートル kg=キログラム km=キロメートル
        カロリー=カロリー kcal=キロカロリー カップ=カップ""",
    ),
    (
        _Sounds(_S),
        """歳=さい 才=さい 冊=さつ 週=しゅう 週間=しゅうかん 種類=しゅるい 世紀=せいき 席=せき 章=しょう 周=しゅう
        周年=しゅうねん 隻=せき 社=しゃ 食=しょく 勝=しょう セット=セット センチ=センチ センチメートル=センチメートル
        cm=センチメートル""",
    ),
    (
        _Sounds(),
        """枚=まい 台=だい 番=ばん 番線=ばんせん 名=めい 名様=めいさま 度=ど 倍=ばい 秒=びょう 秒間=びょうかん 号=ごう
        号車=ごうしゃ 号室=ごうしつ 問=もん 行=ぎょう 文字=もじ 段=だん 膳=ぜん 羽=わ 部=ぶ 割=わり 位=い 代=だい
        年代=ねんだい 両=りょう 便=びん 面=めん 人=にん 人前=にんまえ 人分=にんぶん 年=ねん 年間=ねんかん
        年生=ねんせい 月=がつ 日=にち 日間=にちかん 日分=にちぶん 時=じ 時間=じかん 円=えん 錠=じょう 畳=じょう 話=わ
        字=じ 語=ご 限=げん 時限=じげん 学期=がっき 歳児=さいじ 名分=めいぶん 玉=たま 瓶=びん 株=かぶ 駅=えき
        部屋=へや 通り=とおり つ=つ 晩=ばん 皿=さら 切れ=きれ 口=くち 袋=ふくろ 束=たば 粒=つぶ 曜日=ようび ドル=ドル
        ユーロ=ユーロ メートル=メートル ミリ=ミリ グラム=グラム リットル=リットル ミリリットル=ミリリットル
        m=メートル mm=ミリメートル g=グラム L=リットル ml=ミリリットル mL=ミリリットル ℃=ど""",
    ),
)
_COUNTERS: Final[dict[str, tuple[str, _Sounds]]] = {
    surface: (reading, sounds)
    for sounds, entries in _CLASSES
    for surface, _, reading in (entry.partition("=") for entry in entries.split())
}
_LONGEST: Final = max(map(len, _COUNTERS))
_DAYS: Final = {
    2: "ふつか",
    3: "みっか",
    4: "よっか",
    5: "いつか",
    6: "むいか",
    7: "なのか",
    8: "ようか",
    9: "ここのか",
    10: "とおか",
} | {
    14: "じゅうよっか",
    20: "はつか",
    24: "にじゅうよっか",
}
_THINGS: Final = ("ひとつ", "ふたつ", "みっつ", "よっつ", "いつつ", "むっつ", "ななつ", "やっつ", "ここのつ")
# Whole-word readings by value.
_WHOLE: Final[dict[str, dict[int, str]]] = {
    "日": _DAYS,
    "日間": {value: f"{day}かん" for value, day in _DAYS.items()},
    "日分": {value: f"{day}ぶん" for value, day in _DAYS.items()},
    "人": {1: "ひとり", 2: "ふたり"},
    "人分": {1: "ひとりぶん", 2: "ふたりぶん"},
    "歳": {20: "はたち"},
    "才": {20: "はたち"},
    "時": {0: "れいじ"},
    "つ": dict(enumerate(_THINGS, start=1)),
} | {
    counter: {1: f"ひと{reading}", 2: f"ふた{reading}"}
    for counter, (reading, _) in _COUNTERS.items()
    if counter in {"晩", "皿", "切れ", "口", "袋", "束", "粒", "箱", "玉", "瓶", "株", "駅", "部屋", "通り"}
}
# Readings of the last digit before some counters, where it is not よん, なな, きゅう.
_YO: Final = {"4": "よ"}
_YO_SHICHI: Final = _YO | {"7": "しち"}
_YO_SHICHI_KU: Final = _YO_SHICHI | {"9": "く"}
_LAST: Final[dict[str, dict[str, str]]] = {
    "時": _YO_SHICHI_KU,
    "時間": _YO_SHICHI_KU,
    "月": {"4": "し", "7": "しち", "9": "く"},
    "日": {"7": "しち", "9": "く"},
    "日間": {"7": "しち", "9": "く"},
    "人": _YO_SHICHI,
    "人前": _YO_SHICHI,
    "人分": _YO_SHICHI,
    "年": _YO,
    "年間": _YO,
    "年生": _YO,
    "円": _YO,
}
_UNNAMED: Final = {"何": "なん", "数": "すう"}

_NUMBER = re.compile(rf"第?(?:(?P<unnamed>[何数])(?P<power>[十百千万億])?|(?P<named>{numbers.PATTERN}))")
_COUNTED_FOR_SURE = re.compile(rf"[何{DIGIT}]")
_NOT_COUNTED: Final = frozenset({"十分", "百足", "一行"})
_COUNTS_SURELY: Final = tuple("人本杯匹階軒足回個冊歳枚台度分泊")
"""Counters that always count: 三軒 is also a surname, but a learner's sentence counts houses."""
_SUFFIX = re.compile(r"(?P<half>半)?(?P<nth>目)?")
_CLOCK = re.compile(rf"(?<![{DIGIT}:：])(?P<hour>[{DIGIT}]{{1,2}})[:：](?P<minute>[{DIGIT}]{{2}})(?![{DIGIT}:：])")
_TELEPHONE = re.compile(rf"(?<![{DIGIT}])[{DIGIT}]+(?:[-‐–－][{DIGIT}]+){{2,}}(?![{DIGIT}])")
_ABOUT = re.compile(rf"[{DIGIT}{numbers.KANJI_DIGITS}][、，]$")
_PART = re.compile(rf"分の(?:{numbers.PATTERN})")
_TEN_MINUTES = re.compile(r"十分(?=前|後|間|ほど|くらい|ぐらい|以内|以上|か[かけ]|歩|待)")


def join(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Joins each number, its counter and 半, 間, 目 into one token (3時半, 五本目); keeps other tokens."""
    borders = _Borders(tokens)
    joining = list(_numbers("".join(token.surface for token in tokens), borders))
    result: list[Token] = []
    place = 0
    for first, last, reading in joining:
        result += tokens[place:first]
        result.append(joined(tokens[first:last], reading, NUMBER))
        place = last
    return (*result, *tokens[place:])


class _Borders:
    """Token borders: a number counts only if it fills whole tokens."""

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        self._tokens = tokens
        self._starts = [token.start for token in tokens]
        self._ends = {token.end for token in tokens}

    def begins(self, place: int) -> bool:
        index = bisect.bisect_left(self._starts, place)
        return index < len(self._starts) and self._starts[index] == place

    def ends(self, place: int) -> bool:
        return place in self._ends

    def span(self, start: int, end: int) -> tuple[int, int]:
        return bisect.bisect_left(self._starts, start), bisect.bisect_left(self._starts, end)

    def a_word_itself(self, start: int, end: int) -> bool:
        """Whether the dictionary has one word here that is not a count: 百足 a centipede, 八戸 a town."""
        first, last = self.span(start, end)
        token = self._tokens[first]
        if last - first > 1 or token.is_number or _COUNTED_FOR_SURE.search(token.surface):
            return False
        return token.surface in _NOT_COUNTED or ("固有名詞" in token.pos and not token.surface.endswith(_COUNTS_SURELY))


def _numbers(text: str, borders: _Borders) -> Iterator[tuple[int, int, str]]:
    """For each number in the text, in order: its first token, the token after its last, and its reading."""
    digits = {place for match in _TELEPHONE.finditer(text) for place in range(match.start(), match.end())}
    place = 0
    while match := _NUMBER.search(text, place):
        place = match.end()
        end, reading = _whole_word(text, match, borders, spell=match.start() in digits)
        if end:
            yield *borders.span(match.start(), end), reading
            place = end


def _whole_word(text: str, match: re.Match[str], borders: _Borders, *, spell: bool) -> tuple[int, str]:
    """End and reading of the longest word that starts with this number; end 0 if it is not a number."""
    if not borders.begins(match.start()) or match[0] == "万":  # 万 alone is no number: 万年, 万歳
        return 0, ""
    if spell and borders.ends(match.end()):
        return match.end(), numbers.digit_by_digit(match[0])
    for words in (_clock, _ten_minutes, _counted, _without_counter):
        for end, reading in words(text, match):
            if borders.ends(end) and (words is _ten_minutes or not borders.a_word_itself(match.start(), end)):
                return end, reading
    return 0, ""


_Candidates = Iterator[tuple[int, str]]


def _clock(text: str, match: re.Match[str]) -> _Candidates:
    clock = _CLOCK.match(text, match.start())
    if clock and int(clock["hour"]) <= 24 and int(clock["minute"]) < 60:
        minute = int(clock["minute"])
        hours = _with_counter(numbers.read(str(int(clock["hour"]))), "時")
        yield clock.end(), hours + (_with_counter(numbers.read(str(minute)), "分") if minute else "")


def _ten_minutes(text: str, match: re.Match[str]) -> _Candidates:
    """十分 means enough (じゅうぶん) unless the following word takes a duration."""
    if _TEN_MINUTES.match(text, match.start()):
        yield match.start() + 2, "じゅっぷん"


def _counted(text: str, match: re.Match[str]) -> _Candidates:
    number = _two_digits_in_a_row(match[0]) or _number(match)
    prefix = "だい" if match[0].startswith("第") else ""
    for length in range(min(_LONGEST, len(text) - match.end()), 0, -1):
        counter = text[match.end() : match.end() + length]
        date = _follows_month(text, match)
        about = _two_digits_in_a_row(match[0]) is not None or _ABOUT.search(text, 0, match.start()) is not None
        reading = _with_counter(number, counter, date=date, about=about) if counter in _COUNTERS else ""
        if _PART.match(text, match.end()) and counter == "分":
            reading = f"{number.reading}ぶん"
        if counter == "分" and text.startswith(("度", "℃"), match.start() - 1) and match.start():
            reading = f"{number.reading}ぶ"  # 38度5分: tenths of a degree
        if reading:
            yield from _with_suffix(text, match.end() + length, prefix + reading)


def _with_suffix(text: str, end: int, reading: str) -> _Candidates:
    suffix = _SUFFIX.match(text, end)
    if suffix and suffix[0]:
        yield suffix.end(), reading + ("はん" if suffix["half"] else "") + ("め" if suffix["nth"] else "")
    if suffix and suffix["half"] and suffix["nth"]:
        yield suffix.end("half"), f"{reading}はん"
    yield end, reading


def _without_counter(_: str, match: re.Match[str]) -> _Candidates:
    """A number without a counter; 何 and 数 alone are words."""
    if match["named"]:
        yield match.end(), ("だい" if match[0].startswith("第") else "") + numbers.read(match["named"]).reading


def _two_digits_in_a_row(written: str) -> numbers.Number | None:
    """Reads 二三 before a counter as two or three, not twenty-three; None for other numbers."""
    digits = [numbers.KANJI_DIGITS.index(digit) for digit in written if digit in "一二三四五六七八九"]
    if len(digits) != 2 or len(written) != 2 or digits[1] != digits[0] + 1:
        return None
    first = {4: "し", 7: "しち"}.get(digits[0] - 1) or numbers.DIGITS[digits[0] - 1]
    value = digits[1] - 1
    return numbers.Number(first + numbers.DIGITS[value], str(value), None)


def _number(match: re.Match[str]) -> numbers.Number:
    if match["named"]:
        return numbers.read(match["named"])
    unnamed, power = match["unnamed"], match["power"]
    if not power:
        return numbers.Number(_UNNAMED[unnamed], unnamed, None)
    size = numbers.read(power)
    reading = size.reading.removeprefix("いち")
    voiced = {"何百": "びゃく", "何千": "ぜん"}.get(unnamed + power, reading)
    return numbers.Number(_UNNAMED[unnamed] + voiced, size.tail, None)


def _follows_month(text: str, match: re.Match[str]) -> bool:
    return text.startswith("月", match.start() - 1) and match.start() > 0


def _with_counter(number: numbers.Number, counter: str, *, date: bool = False, about: bool = False) -> str:
    """Reads a number with its counter; "" for an impossible count (十つ, 13月).

    `date`: a day of a month; `about`: the second of two numbers, 2、3日 (にさんにち).
    """
    reading, sounds = _COUNTERS[counter]
    whole = _WHOLE.get(counter, {}).get(-1 if number.value is None else number.value)
    if counter == "日" and about:
        return number.reading + reading
    if counter == "日" and (number.value == 1 or number.tail == "数"):
        return ("ついたち" if date else "いちにち") if number.value == 1 else "すうじつ"
    if whole or counter == "つ":
        return whole or ""
    if counter == "曜日" and number.tail != "何":
        return ""
    return _front(number, counter, sounds) + _back(number, reading, sounds)


def _front(number: numbers.Number, counter: str, sounds: _Sounds) -> str:
    last = _LAST.get(counter, {}).get(number.tail)
    if last and number.value is not None:
        return number.reading.removesuffix(numbers.DIGITS[int(number.tail)]) + last
    return numbers.geminated(number.reading) if number.tail in sounds.doubling else number.reading


def _back(number: numbers.Number, reading: str, sounds: _Sounds) -> str:
    first = reading[0]
    if number.tail in sounds.voicing:
        first = _VOICED.get(first, first)
    elif number.tail in sounds.plosive:
        first = _PLOSIVE.get(first, first)
    return first + reading[1:]

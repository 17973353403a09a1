"""Checks whether a lesson sounds human: dialogue like speech, usual spelling, Japanese without additions.

The rules come from docs/lesson-content.md, "What makes a lesson feel made by a person". The built-in lessons must keep
all of them. For a model's lesson they give notes; one over which a learner would stumble is worth a single re-ask.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Final

from lesson.items import extract_items, sentences
from lesson.japanese.levels import language_notes
from lesson.models import Content, Dialogue, Issue, IssueSeverity, Level, SectionName, issue_at
from lesson.script import HIRAGANA, KANJI, KATAKANA

STYLE = IssueSeverity.STYLE


def style_issues(content: Content, level: Level) -> tuple[Issue, ...]:
    """All style issues, in the order of the sections."""
    found = [fault for name in content.written for fault in _section_issues(name, content)]
    if content.dialogue is not None:
        found += _dialogue_issues(content.dialogue, level)
    return tuple(found)


def issues_to_reask(issues: tuple[Issue, ...]) -> tuple[Issue, ...]:
    """All issues of each section with a STYLE issue, as STYLE: one re-ask mends them all."""
    sections = {issue.section for issue in issues if issue.severity is STYLE}
    return tuple(issue.model_copy(update={"severity": STYLE}) for issue in issues if issue.section in sections)


# --- Japanese and its spelling ----------------------------------------------------------------------------------------

_FURIGANA = re.compile(f"[{KANJI}][(（\\[［][{HIRAGANA}{KATAKANA}]+[)）\\]］]")
_MARKDOWN = re.compile(r"\*\*|__|^#{1,6}\s|^\s*[-*]\s|`", re.MULTILINE)
_ROMAJI = re.compile(r"[(（][a-zA-ZāīūēōĀĪŪĒŌ' ]{4,}[)）]")


def _section_issues(name: SectionName, content: Content) -> Iterator[Issue]:
    section = content.section(name)
    assert section is not None  # noqa: S101 - `written` names only existing sections
    for note in language_notes(name, section):
        yield note.model_copy(update={"severity": STYLE})
    for item in extract_items(name, section):
        yield from _text_issues(item.id, item.text)


def _text_issues(path: str, text: str) -> Iterator[Issue]:
    for pattern, what in ((_FURIGANA, "furigana"), (_MARKDOWN, "Markdown"), (_ROMAJI, "romaji or a translation")):
        if pattern.search(text):
            yield issue_at(path, f"holds {what}, wanted plain Japanese", STYLE)
    for unusual, usual in _kana_words():
        if found := unusual.search(text):
            yield issue_at(path, f"{found[0]} is usually written in kana ({usual})")


@cache
def _kana_words() -> tuple[tuple[re.Pattern[str], str], ...]:
    lines = resources.files("lesson.japanese").joinpath("kana_words.txt").read_text(encoding="utf-8").splitlines()
    entries = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return tuple((re.compile(pattern), usual) for pattern, usual in entries)


# --- Dialogue as speech -----------------------------------------------------------------------------------------------

_ME = re.compile("わたし(?!たち)|私(?!たち|達)|ぼく|僕(?!たち|達)|俺")
_THIRD_PERSON = re.compile("彼女|彼(?![氏岸])")
_REACTION: Final = re.compile(
    r"(?:^|[。、！？…])(?:へえ|へー|え[、？！っ…]|えっ|えー|ええ[、。！]|ええと|えーと|あ[、っ！。]|ああ|あのう?、|うん|ううん|うーん|うわあ?|わあ|お[、っ]|おお"
    r"|はい[、。]|いえ[、。]|いいえ|いや、|そうですか|そうですね|そうなんです|そうでしたか|そうか|そっか|そうなんだ|そうだね|そう[。、！？]|なるほど|本当|ほんと|まさか"
    r"|まあ|やった|よかった|すごい|いい(?:です)?ね|もちろん|たしかに|確かに|じゃ[あ、]|では、|たいへん|大変|さあ|ね[、。]|ふうん|ははは|あはは|まじ|あれ|しまった)"
)
_FEWEST_REACTIONS = 2
_REPAIR: Final = re.compile(
    r"もう一度|もういちど|って(?:いう)?こと|ということ(?:です|だ)|でいいですか|でいい[？?]|でよろしい|ですよね|ますよね|だよね|よね[。？?]|ですね[？?]|でしょう[？?]|だっけ|でしたっけ"
    r"|え[、？！っ]|えっ|本当ですか|ほんと[？?]|どういう(?:こと|意味)|聞こえ|すみません、(?:もう|今|何)"
)
_TAG: Final = re.compile(r"(?:ね|よ|よね|ねえ|よね？)[。！？!?…]*$")
_TAGS_LOW, _TAGS_HIGH = 0.2, 0.6
_CLOSING: Final = re.compile(
    r"じゃ[あ、。]|では、|それでは|また|ありがとう|失礼|お願い|いただきます|ごちそう|しょう[。！か]|しよう|こう[。！ねよか]|よう[。！ねよか]|お疲れ|どうぞ|どうも|楽しみ|了解"
    r"|わかりました|わかった|承知|かしこまり|ごゆっくり|お待ち|気をつけ|おやすみ|さようなら|バイバイ|よろしく|がんば|頑張|いってらっしゃい|行ってきます|いってきます|決まり|安心"
)
_REPEATED = 0.6
_SHORT_TURN = 6
_SIGNS = re.compile(r"[\s、。！？!?…・「」『』（）()ー―～〜]")


def _dialogue_issues(dialogue: Dialogue, level: Level) -> Iterator[Issue]:
    texts = [turn.text for turn in dialogue.turns]
    yield from _person_issues(dialogue, level)
    if sum(bool(_REACTION.search(text)) for text in texts) < _FEWEST_REACTIONS:
        yield issue_at(
            "dialogue.turns", f"fewer than {_FEWEST_REACTIONS} reactions or fillers (へえ, ええと, そうですか)"
        )
    tags = sum(bool(_TAG.search(text.strip())) for text in texts) / len(texts)
    if not _TAGS_LOW <= tags <= _TAGS_HIGH:
        yield issue_at("dialogue.turns", f"{tags:.0%} of the turns end in ね, よ or よね, wanted 20 to 60 %")
    if not any(map(_REPAIR.search, texts)) and not any(_echoes(before, text) for before, text in pairwise(texts)):
        yield issue_at("dialogue.turns", "nobody confirms or repairs anything")
    if not _CLOSING.search(texts[-1]):
        yield issue_at(f"dialogue.turns.{len(texts) - 1}.text", "does not close the conversation")
    for index, (before, text) in enumerate(pairwise(texts), start=1):
        if repeated(before, text) > _REPEATED:
            yield issue_at(f"dialogue.turns.{index}.text", "repeats most of the turn before", STYLE)


def _person_issues(dialogue: Dialogue, level: Level) -> Iterator[Issue]:
    me: Counter[str] = Counter()
    for index, turn in enumerate(dialogue.turns):
        path = f"dialogue.turns.{index}.text"
        me[turn.speaker_id] += len(_ME.findall(turn.text))
        if "あなた" in turn.text:
            yield issue_at(path, "says あなた, wanted the name or nothing", STYLE)
        if level in (Level.A1, Level.A2) and _THIRD_PERSON.search(turn.text):
            yield issue_at(path, f"says 彼 or 彼女 at {level}", STYLE)
    for speaker, number in me.items():
        if number > 1:
            yield issue_at("dialogue.turns", f"{speaker} says わたし {number} times, wanted at most once")


def repeated(before: str, text: str) -> float:
    """The share (0 to 1) of the turn's character pairs that the turn before also has; 0 for a very short turn."""
    old, new = (_pairs(_SIGNS.sub("", turn)) for turn in (before, text))
    if sum(new.values()) < _SHORT_TURN:
        return 0.0
    return sum((new & old).values()) / sum(new.values())


def _pairs(text: str) -> Counter[str]:
    return Counter(text[at : at + 2] for at in range(len(text) - 1))


def _echoes(before: str, text: str) -> bool:
    """Whether the turn is a question that repeats a part of the turn before: え、朝も昼もですか; 7時ですね？"""
    first = sentences(text)[0] if text.strip() else ""
    asks = re.search(r"(?:か。?|[？?]|ですね。?)\s*$", first)
    return bool(asks) and bool((_pairs(_SIGNS.sub("", first)) & _pairs(_SIGNS.sub("", before))).total() >= 2)

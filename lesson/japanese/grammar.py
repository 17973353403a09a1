"""Grammar by level: the forms that A1 and A2 do not use yet, and those that B1 must use.

The rows follow the project's level table (docs/adr/0002). The checks look at the analyser's words of a text, so that
もらった does not count as a conditional or 忘れる as a passive. Texts without words give no findings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lesson.models import Issue, Level, Word, issue_at

Found = Callable[[Sequence[Word], int], bool]
"""Whether the form occurs at the word of that index."""


@dataclass(frozen=True)
class Form:
    """A grammar form: its name, for prompts and notes, and its test."""

    name: str
    occurs: Found

    def found(self, words: Sequence[Word]) -> str | None:
        """The words around the first occurrence; None without one."""
        for index in range(len(words)):
            if self.occurs(words, index):
                return "".join(word.surface for word in words[max(0, index - 1) : index + 2])
        return None


def _at(words: Sequence[Word], index: int) -> Word | None:
    return words[index] if 0 <= index < len(words) else None


def _lemma(words: Sequence[Word], index: int, *lemmas: str) -> bool:
    word = _at(words, index)
    return word is not None and word.lemma in lemmas


def _auxiliary(*lemmas: str) -> Found:
    return lambda words, index: words[index].pos == "auxiliary" and words[index].lemma in lemmas


def _particle(*surfaces: str) -> Found:
    return lambda words, index: words[index].pos == "particle" and words[index].surface in surfaces


_PREDICATES: Final = frozenset({"verb", "adjective", "auxiliary"})
_QUOTING: Final = frozenset(
    {"思う", "言う", "いう", "聞く", "書く", "考える", "答える", "呼ぶ", "伝える", "話す", "申す", "感じる"}
)


def _conditional(words: Sequence[Word], index: int) -> bool:
    word, before = words[index], _at(words, index - 1)
    if word.pos == "auxiliary":
        return word.surface in {"たら", "だら", "なら", "ならば"}
    if word.pos != "particle" or before is None or before.pos not in _PREDICATES:
        return False
    after = _at(words, index + 1)
    # なければならない is a separate form; と言う and と思う quote.
    if word.surface == "ば":
        return not _lemma(words, index + 1, "なる", "いける")
    quotes = after is not None and (after.lemma in _QUOTING or after.pos in {"particle", "auxiliary"})
    return word.surface == "と" and not quotes and not before.surface.endswith(("う", "ろ", "れ", "た", "だ"))


def _obligation(words: Sequence[Word], index: int) -> bool:
    word = words[index]
    if word.lemma != "ない" or word.surface not in {"なけれ", "なきゃ", "なくちゃ", "なく", "ない"}:
        return False
    if word.surface in {"なきゃ", "なくちゃ"}:
        return True
    tail = "".join(other.surface for other in words[index : index + 4])
    return re.match(r"なければ(?:なら|なり|いけ)|なくては(?:なら|なり|いけ)|ないと(?:いけ|だめ)", tail) is not None


def _regret(words: Sequence[Word], index: int) -> bool:
    word, before = words[index], _at(words, index - 1)
    if word.lemma in {"しまう", "仕舞う"}:
        return before is not None and before.surface in {"て", "で"}
    return word.lemma in {"ちゃう", "じゃう", "ちまう"}


def _thought(words: Sequence[Word], index: int) -> bool:
    return _lemma(words, index, "思う") and (before := _at(words, index - 1)) is not None and before.surface == "と"


def _seeming(words: Sequence[Word], index: int) -> bool:
    word, before = words[index], _at(words, index - 1)
    if word.lemma == "らしい":
        return word.pos in {"auxiliary", "suffix"}
    after_predicate = before is not None and (before.pos in _PREDICATES or before.surface == "の")
    return word.surface in {"そう", "よう"} and word.pos in {"adjective", "noun", "auxiliary"} and after_predicate


def _with_te(particle: str, *lemmas: str) -> Found:
    """Finds に対して and によって: the verb between its particle and て."""
    return lambda words, index: (
        words[index].lemma in lemmas
        and (before := _at(words, index - 1)) is not None
        and before.surface == particle
        and (after := _at(words, index + 1)) is not None
        and after.surface == "て"
    )


KEIGO: Final = "productive keigo"
_HUMBLE_AND_HONORIFIC: Final = frozenset(
    {
        "召し上がる",
        "おっしゃる",
        "なさる",
        "伺う",
        "申し上げる",
        "拝見",
        "拝見する",
        "ご覧",
        "参る",
        "存じる",
        "存ずる",
        "差し上げる",
    }
)


def _keigo(words: Sequence[Word], index: int) -> bool:
    """Finds お待ちになる, お持ちする and keigo verbs, but not set phrases such as お願いします, learnt as a whole."""
    word = words[index]
    if word.lemma in _HUMBLE_AND_HONORIFIC:
        return not word.surface.startswith("なさい")  # お帰りなさい is a set phrase
    if word.pos != "prefix" or word.surface not in {"お", "ご"}:
        return False
    stem, after, last = _at(words, index + 1), _at(words, index + 2), _at(words, index + 3)
    if stem is None or after is None or stem.lemma in {"願う", "願い", "邪魔", "世話"}:
        return False
    becomes = after.surface == "に" and last is not None and last.lemma == "なる"
    from_verb = stem.pos == "verb" and after.lemma in {"する", "いたす", "致す"}
    return (stem.pos in {"verb", "noun"} and becomes and stem.lemma not in {"世話", "元気"}) or from_verb


_CAUSATIVE: Final = Form("causative (せる, させる)", _auxiliary("せる", "させる"))
_A1: Final = (
    Form("conditionals (たら, と, ば, なら)", _conditional),
    Form("passive (れる, られる)", _auxiliary("れる", "られる")),
    _CAUSATIVE,
    Form("なければならない", _obligation),
    Form("たり", _particle("たり", "だり")),
    Form("てしまう", _regret),
    Form("と思う", _thought),
    Form("そう, よう, らしい", _seeming),
)
_A2: Final = (
    _CAUSATIVE,
    Form("べき", _auxiliary("べし", "べき")),
    Form("わけだ", lambda words, index: words[index].surface == "わけ" and words[index].pos in {"noun", "auxiliary"}),
    Form("に対して", _with_te("に", "対する")),
    Form("によって", _with_te("に", "よる")),
    Form(f"{KEIGO} (お…になる, お…する, 召し上がる)", _keigo),
)
NOT_ALLOWED: Final[dict[Level, tuple[Form, ...]]] = {Level.A1: _A1, Level.A2: _A2}
"""By level. Levels without an entry allow everything."""

B1_PATTERNS: Final = re.compile(
    r"ように(?:する|し|なる|なっ|なり)|ために|のに|らしい|ようだ|ようで|ような|みたい|そうだ|そうです|によ(?:って|ると|り)|に対し|として|ばかり"
    r"|うちに|たまま|はず|わけ|べき|[てで]しま|[てで]おく|[てで]おい|[てで]ある|ことに(?:する|し|なる|なっ)|させ|られ|といっても|ながら|ても|でも"
    r"|[とど]おり|たびに|ところ|かどうか|てほしい|かもしれ|[てで]くる|[てで]きた|[てで]いく|っぱなし|さえ|こそ|ほど|にくい|やすい|すぎ|について|にとって"
    r"|という|ことがある|のほうが|くせに|おかげ|せい(?:で|か)|最中|ば[^。]{1,12}ほど|なら|たら|れば|そうに|がち"
)
"""Patterns that textbooks teach between N4 and N3. A repeated pattern counts once."""
B1_PATTERNS_WANTED: Final = 2
SUBORDINATE: Final = re.compile(
    r"ので|のに|ながら|たら|だら|[えけげせてねべめれ]ば|ても|でも|ために|ように|とき|時、|うちに|という|まま|から、|けれど|けど|なら、|前に|[たの]後"
)
SUBORDINATE_WANTED: Final = 2


def not_yet(level: Level, words: Sequence[Word]) -> Iterator[str]:
    """The forms in one text that are above the level, each with the words around it."""
    for form in NOT_ALLOWED.get(level, ()):
        where = form.found(words)
        if where is not None:
            yield f"{form.name}, in …{where}…"


def b1_notes(reading: str, patterns: Iterable[str]) -> Iterator[Issue]:
    """Notes on a B1 reading with too few B1 patterns or subordinate clauses."""
    found = {match[0] for text in (reading, *patterns) for match in B1_PATTERNS.finditer(text)}
    if len(found) < B1_PATTERNS_WANTED:
        yield issue_at(
            "reading.text", f"{len(found)} B1 patterns in reading and grammar, wanted at least {B1_PATTERNS_WANTED}"
        )
    clauses = len(SUBORDINATE.findall(reading))
    if clauses < SUBORDINATE_WANTED:
        yield issue_at("reading.text", f"{clauses} subordinate clauses, wanted at least {SUBORDINATE_WANTED}")

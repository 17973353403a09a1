"""Which characters a text may hold: one rule for requests, imported lists, overrides and all that a model writes.

A text is what a person can see. Characters that nobody sees can carry orders to a model, hide words from a teacher or
turn a line around; others are the marks of a server that lost or leaked something (half a character, tokens of its
model's template). Sources: Unicode 15.1, chapter 23 and UAX 9, 31 and 51.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Most texts have nothing else, and need no look at each character.
_PLAIN: Final = re.compile(
    r"[ -~\u00a1-\u00ac\u00ae-\u02ff\u3000-\u3029\u3030-\u3096\u3099-\u30ff\u4e00-\u9fff\uff01-\uff9f…‘’“”—–・→]*"
)
_TOKENS: Final = re.compile(
    r"""<0x[0-9A-Fa-f]{2}>                     # a byte that belongs to no character
      | <[|｜][^<>\s]{1,40}[|｜]>               # <|im_end|> and the like
      | </?s> | <(?:unk|pad|bos|eos|mask)>     # sentence pieces
      | <(?:start|end)_of_(?:turn|image|text)> | <eot_id> | <extra_id_\d+>
      | </?think(?:ing)?> | \[/?INST\] | <</?SYS>>""",
    re.VERBOSE,
)
_INVISIBLE: Final = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2064\u206a-\u206f\u2800\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0080-\U000e00ff\U000e01f0-\U000e0fff"
)
_KINDS: Final = (
    ("\x00-\x1f\x7f-\x9f", "a control character"),
    ("\ud800-\udfff", "half a character"),
    ("\ufffd", "the mark of a lost character"),
    ("\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069", "a mark of direction"),
    ("\u2028\u2029", "a separator of lines"),
    ("\ue000-\uf8ff\U000f0000-\U0010ffff", "a private character"),
    ("\ufdd0-\ufdef\ufffe\uffff", "no character"),
    ("\U000e0000-\U000e007f", "an invisible tag"),
    (_INVISIBLE, "an invisible character"),
)
_NAMED: Final = tuple((re.compile(f"[{characters}]"), name) for characters, name in _KINDS)
_DIRECTIONS: Final = frozenset("\u200e\u200f\u061c")
_JOINERS: Final = frozenset("\u200c\u200d")
_RIGHT_TO_LEFT: Final = re.compile(r"[\u0590-\u061b\u061d-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_JOINED: Final = re.compile(r"[\u0590-\u0dff\u0e00-\u109f\u1780-\u18af]")
"""Scripts whose letters need joiners."""
_SELECTORS: Final = (("\ufe00", "\ufe0f"), ("\U000e0100", "\U000e01ef"), ("\u180b", "\u180d"))
_PRESENTED: Final = ("So", "Sm", "Po", "Lo", "Sk")
"""Categories of the characters that are shown as text or as emoji."""
_IDEOGRAPH: Final = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def character_problem(text: str, *, lines: bool = False) -> str:
    """What a text holds that no text may hold, such as "U+202E, a mark of direction"; empty: nothing.

    `lines` allows line ends and tabs. A text of invisible characters alone is a problem, an empty text is none.
    """
    if _PLAIN.fullmatch(text) and "<" not in text and "[" not in text:
        return ""
    for index, character in enumerate(text):
        name = _name(text, index, character, lines=lines)
        if name:
            return f"U+{ord(character):04X}, {name}"
    if _TOKENS.search(text):
        return "a token of a model's template"
    if text.strip(" \t\r\n") and not any(map(_is_visible, text)):
        return "nothing that can be seen"
    return ""


def _name(text: str, index: int, character: str, *, lines: bool) -> str:
    """What the character is, when it has no place there."""
    if " " <= character <= "~" or (lines and character in "\n\r\t"):
        return ""
    if character in _JOINERS:
        return "" if _joins(text, index) else "an invisible joiner"
    if _is_selector(character):
        return "" if _selects(text, index, character) else "a selector of variants without its character"
    if character in _DIRECTIONS and _RIGHT_TO_LEFT.search(text):
        return ""
    named = next((name for characters, name in _NAMED if characters.match(character)), "")
    return named or ("no character" if _is_noncharacter(character) else "")


def _joins(text: str, index: int) -> bool:
    """A joiner joins two letters of a script that needs it, or two emoji."""
    before, after = text[:index][-1:], text[index + 1 : index + 2]
    if _JOINED.match(before) and (not after or _JOINED.match(after) or not after.isalnum()):
        return True
    emoji = unicodedata.category(before or " ") in ("So", "Sk", "Mn") and unicodedata.category(after or " ") == "So"
    return text[index] == "\u200d" and emoji


def _is_selector(character: str) -> bool:
    return any(low <= character <= high for low, high in _SELECTORS)


def _selects(text: str, index: int, character: str) -> bool:
    """A selector stands once, behind a character that has variants."""
    before = text[:index][-1:]
    kind = unicodedata.category(before or "a")
    if "\u180b" <= character <= "\u180d":
        return "\u1820" <= before <= "\u18aa"
    if character in "\ufe0e\ufe0f":
        return before in "0123456789#*" if before.isascii() else kind in _PRESENTED
    return bool(_IDEOGRAPH.match(before)) or kind == "Sm"


def _is_noncharacter(character: str) -> bool:
    """Unassigned in every version: the last two of each plane. Others may be newer than our tables."""
    return ord(character) & 0xFFFE == 0xFFFE or character > "\U00030000"


def _is_visible(character: str) -> bool:
    return unicodedata.category(character) not in ("Zs", "Zl", "Zp", "Cc", "Cf", "Mn", "Me")

"""Checks translations cheaply, without knowledge of the language."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

_LATIN: Final = r"A-Za-z\u00c0-\u024f\u1e00-\u1eff"
_CYRILLIC: Final = r"\u0400-\u052f"
_HAN: Final = r"\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003fffd"
_JAPANESE: Final = rf"\u3041-\u30ff\uff66-\uff9f{_HAN}"
_KANA: Final = r"\u3041-\u30fa\uff66-\uff9f"
_SCRIPTS: Final = {
    "Latn": _LATIN,
    "Cyrl": _CYRILLIC,
    "Arab": r"\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff",
    "Hebr": r"\u0590-\u05ff",
    "Thai": r"\u0e00-\u0e7f",
    "Deva": r"\u0900-\u097f",
    "Grek": r"\u0370-\u03ff\u1f00-\u1fff",
    "Hang": r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "Hani": _HAN,
}
_NAMES: Final = {
    "Latn": "Latin", "Cyrl": "Cyrillic", "Arab": "Arabic", "Hebr": "Hebrew", "Thai": "Thai", "Deva": "Devanagari",
    "Grek": "Greek", "Hang": "Hangul", "Hani": "Chinese",
}  # fmt: skip
_LANGUAGES: Final = {
    language: script
    for script, languages in {
        "Latn": """en fr de es pt it nl sv da nb nn no fi is et lv lt pl cs sk sl hr bs hu ro sq tr az vi id ms tl fil
            sw eu ca gl ga cy mt af eo la""",
        "Cyrl": "ru uk bg be mk",
        "Arab": "ar fa ur",
        "Hebr": "he yi",
        "Thai": "th",
        "Deva": "hi mr ne",
        "Grek": "el",
        "Hang": "ko",
        "Hani": "zh",
    }.items()
    for language in languages.split()
}
_SUBTAGS: Final = {"Hans": "Hani", "Hant": "Hani", "Kore": "Hang"}
_JAPANESE_SHARE: Final = 0.3  # of the letters, because a translation may quote a Japanese word


# What models and careless code write in place of a translation.
_PLACEHOLDER = re.compile(
    r"""[(\[<{*]\s*(?:pending|no|missing|insert|add|your|sample|english)?\s*translation[^)\]>}*]*[)\]>}*]
      | \btranslation\s+(?:is\s+)?(?:pending|unavailable|missing|needed|goes\s+here|not\s+available)\b
      | \b(?:lorem\s+ipsum|placeholder)\b
      | ^(?:translation|translate|todo|tbd|tba|n/?a|null|undefined|string|mock-\w+)[.:]?$""",
    re.IGNORECASE | re.VERBOSE,
)


_NUMBER = re.compile(r"[0-9０-９〇一二三四五六七八九十百千万何半]")


def translation_problems(source: str, translation: str | None, language: str) -> tuple[str, ...]:
    """Faults of a translation of `source` into a BCP-47 language, one short line each.

    A good translation is not empty, is not a placeholder, does not repeat the source, and uses the language's script. A
    language outside the table gets no check of its script. In Japanese any text counts.
    """
    text = unicodedata.normalize("NFC", translation or "").strip()
    if not text:
        return ("the translation is missing",)
    primary = language.split("-", maxsplit=1)[0].lower()
    if primary == "ja":
        return ()
    if text == unicodedata.normalize("NFC", source).strip() and not (primary == "zh" and not _count(_KANA, source)):
        return ("the translation is the Japanese sentence again",)
    if _PLACEHOLDER.search(text) or re.fullmatch(rf"{re.escape(primary)}(?:[-_]\w+)?", text, re.IGNORECASE):
        return ("the translation is a placeholder",)
    if text.isascii() and not any(map(str.isalpha, text)) and not _NUMBER.search(source):
        return ("the translation says nothing",)
    script = _script(language)
    return tuple(_script_problems(text, script)) if script else ()


def _script(language: str) -> str | None:
    """The script that the tag names (sr-Latn), else the usual script of its language."""
    primary, *rest = language.split("-")
    named = next((part.title() for part in rest if len(part) == 4 and part.isalpha()), "")
    named = _SUBTAGS.get(named, named)
    return named if named in _SCRIPTS else _LANGUAGES.get(primary.lower())


def _script_problems(text: str, script: str) -> Iterator[str]:
    letters = sum(character.isalpha() for character in text)
    if not letters and any(character.isdigit() for character in text):
        return  # 3:00 is its own translation
    own, foreign = _count(_SCRIPTS[script], text), _count(_KANA if script == "Hani" else _JAPANESE, text)
    if not own:
        yield f"the translation has no {_NAMES[script]} letters"
    if foreign > _JAPANESE_SHARE * letters:
        yield (
            "the translation is mostly Japanese"
            if foreign > letters / 2
            else "the translation has too much Japanese in it"
        )


def _count(letters: str, text: str) -> int:
    return len(re.findall(rf"[{letters}]", text))

"""One rule for the characters of a text: what nobody sees, and what a server leaked, is refused; all scripts pass."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesson.characters import character_problem
from tests.budget import examples

FINE = [
    "",
    "魚が好きです。　１２３ＡＢＣ（笑）〜…「はい」",
    "𠮷野家で𩸽を食べました。",
    "辻\U000e0100さん",
    "葛\ufe00城",
    "㊙️ ☕️ ☎︎ 1️⃣ #️⃣",
    "👩‍🍳と👨‍👩‍👧、👍🏽、🏳️‍🌈",
    "क्‍ष और नमस्‌ते",
    "می‌خواهم",
    "עברית\u200f, العربية",
    "e\u0301te\u0301, ä, Ångström, œuvre, Żółć",
    "Tiếng Việt, ไทย, 한국어, ქართული",
    "a < b and c > d; <em>, [1], I <3 it, x|y",
    "が\u3099",
    "1 234 € — “quoted” ‘so’",
]
REFUSED = {
    "lost": ["食\ufffdべる"],
    "bytes": ["<0xE3><0x81>", "a<0x0a>"],
    "tokens": ["食べます<|im_end|>", "<|endoftext|>", "<｜end▁of▁sentence｜>", "a</s>", "<s>", "<unk>", "<pad>",
               "<start_of_turn>", "<end_of_turn>", "[INST] x", "[/INST]", "<<SYS>>", "<think>", "</think>", "<eot_id>"],
    "controls": ["a\x00", "\x1b[31m", "a\x07", "a\x7f", "a\x9b", "a\x85b", "\x0b", "a\x0cb"],
    "directions": ["a\u202eb", "a\u2066b\u2069", "a\u200eb", "\u200fabc", "a\u061cb", "\u202dab\u202c"],
    "separators": ["a\u2028b", "a\u2029b"],
    "private": ["\ue000", "a\uf8ff", "\U000f0001", "\U0010fffd"],
    "noncharacters": ["\ufdd0", "a\ufffe", "\uffff", "\U0001ffff"],
    "halves": ["\ud83d", "a\udc00"],
    "tags": ["a\U000e0041\U000e0042", "\U000e0001"],
    "zero width": ["a\u200bb", "a\u2060b", "\ufeffabc", "a\u00adb", "a\u034fb", "a\u2063b", "a\u206ab", "\u180ea"],
    "fillers": ["\u3164", "a\u115fb", "a\uffa0b", "\u2800", "a\u2800b"],
    "joiners": ["a\u200db", "食\u200cべ", "\u200d", "a\u200d\u200d\u200db"],
    "selectors": ["a\ufe00b", "a\ufe0fb", "食\U000e0100\U000e0101\U000e0102", "\ufe0f", "ab\U000e01efc", "\u180b"],
    "annotations": ["a\ufff9b\ufffac\ufffb"],
    "nothing visible": ["\u3000\u00a0\u2003"],
}  # fmt: skip


@pytest.mark.parametrize("text", FINE)
def test_what_people_write_passes(text: str) -> None:
    assert character_problem(text) == ""


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in REFUSED.items() for text in texts])
def test_what_nobody_writes_is_refused_with_its_name(kind: str, text: str) -> None:
    problem = character_problem(text)
    assert problem
    assert problem.isascii()
    assert "<" not in problem
    assert character_problem(f"魚が{text}好き" if kind not in ("selectors", "nothing visible") else text)


def test_line_ends_stand_only_where_they_are_allowed() -> None:
    for text in ("a\nb", "a\tb", "a\r\nb"):
        assert character_problem(text)
        assert character_problem(text, lines=True) == ""
    assert character_problem(" \n ", lines=True) == ""


@settings(max_examples=examples(200, 5000), deadline=None)
@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    assert isinstance(character_problem(text), str)


def test_a_long_text_takes_time_in_proportion() -> None:
    began = time.process_time()
    for text in ("魚が好きです。" * 10_000, "é" * 60_000, "<" * 60_000, "क्‍ष" * 15_000, "<|" * 30_000):
        character_problem(text)
    assert time.process_time() - began < 3.0

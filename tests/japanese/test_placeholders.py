"""Placeholder texts do not count as translations; the earlier system accepted them."""

from __future__ import annotations

import pytest

from enhancer_service.translation import translation_problems


@pytest.mark.parametrize(
    "text",
    [
        "(pending translation)",
        "(pending translation) 水",
        "[translation]",
        "[Translation needed]",
        "<English translation>",
        "Translation pending",
        "translation unavailable",
        "N/A",
        "TODO",
        "placeholder text",
        "Lorem ipsum dolor",
        "string",
        "mock-translation",
        "null",
    ],
)
def test_a_placeholder_is_no_translation(text: str) -> None:
    assert translation_problems("水を飲みます。", text, "en") == ("the translation is a placeholder",)


@pytest.mark.parametrize(
    "text",
    [
        "None of it.",
        "I am pending a reply.",
        "My translation is bad.",
        "(laughs) Really?",
        "The translation of this book sold well.",
        "Null hypothesis.",
        "(I) drink water.",
        "A string of beads.",
        "We add sugar (a little).",
    ],
)
def test_a_sentence_about_such_words_is_a_translation(text: str) -> None:
    assert translation_problems("水を飲みます。", text, "en") == ()

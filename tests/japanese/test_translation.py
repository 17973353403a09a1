from __future__ import annotations

import pytest

from enhancer_service.translation import translation_problems


@pytest.mark.parametrize(
    ("source", "translation", "language"),
    [
        ("寿司が好きです。", "I like sushi.", "en"),
        ("「いただきます」と言います。", "We say いただきます before a meal, every day.", "en"),
        ("3時です。", "3:00", "en"),
        ("学生", "学生", "zh-Hans"),
        ("学生です。", "我是学生。", "zh"),
        ("学生です。", "학생입니다.", "ko"),
        ("学生です。", "Я студент.", "ru"),
        ("学生です。", "Ja sam student.", "sr-Latn"),
        ("学生です。", "أنا طالب.", "ar"),
        ("学生です。", "אני סטודנט.", "he"),
        ("学生です。", "ฉันเป็นนักเรียน", "th"),
        ("学生です。", "मैं छात्र हूँ।", "hi"),
        ("学生です。", "Είμαι φοιτητής.", "el-GR"),
        ("学生です。", "Tôi là sinh viên.", "vi"),
        ("学生です。", "学生です。", "ja"),
        ("学生です。", "ես ուսանող եմ", "hy"),
    ],
)
def test_a_translation_in_the_learners_script_has_no_problem(source: str, translation: str, language: str) -> None:
    assert translation_problems(source, translation, language) == ()


@pytest.mark.parametrize(
    ("translation", "language", "problem"),
    [
        (None, "en", "the translation is missing"),
        (" \n", "ja", "the translation is missing"),
        (" 学生です。", "en", "the translation is the Japanese sentence again"),
        ("学生です。", "hy", "the translation is the Japanese sentence again"),
        ("わたしは学生だよ", "en", "the translation has no Latin letters"),
        ("Student です", "en", ""),
        ("Я студент.", "en", "the translation has no Latin letters"),
        ("I am a student.", "ru", "the translation has no Cyrillic letters"),
        ("I am a student.", "ko-KR", "the translation has no Hangul letters"),
        ("I am a student.", "zh-Hant", "the translation has no Chinese letters"),
        ("学生ですよね", "zh", "the translation is mostly Japanese"),
        ("I 学生 です", "en", "the translation is mostly Japanese"),
        ("Student, 学生です", "en", "the translation has too much Japanese in it"),
        ("…", "en", "the translation has no Latin letters"),
        ("1234567890", "en", "the translation says nothing"),
        ("1.1.2.1", "en", "the translation says nothing"),
        ("en", "en", "the translation is a placeholder"),
        ("en_US", "en-GB", "the translation is a placeholder"),
        ("tea", "en", ""),
    ],
)
def test_a_wrong_translation_is_named(translation: str | None, language: str, problem: str) -> None:
    found = translation_problems("学生です。", translation, language)
    assert (problem in found) if problem else found == ()

"""Which faults of syntax are repaired, with which note, and which are refused, for which reason."""

from __future__ import annotations

import pytest

from servicekit.llm.extraction import ExtractError, extract, strict_loads

KEYS = ("reading", "dialogue", "grammar")

REPAIRED = {
    "a trailing comma": ('{"reading": ["朝",], "grammar": 1,}', ["朝"], "trailing_comma"),
    "a line comment": ('{"reading": // greeting\n "朝"}', "朝", "comment"),
    "a block comment": ('{/* lesson */ "reading": "朝" /* end */}', "朝", "comment"),
    "a hash comment": ('{"reading": "朝" # greeting\r\n}', "朝", "comment"),
    "a raw line break in a string": ('{"reading": "朝\n昼\t夜"}', "朝\n昼\t夜", "control_character"),
    "an escaped apostrophe": (r"""{"reading": "It\'s"}""", "It's", "escaped_apostrophe"),
    "full-width structure": ('｛"reading"：［"朝"，{"a"：1}］｝', ["朝", {"a": 1}], "full_width"),
    "full-width commas throughout": ('{"reading": ["りんご"，"みかん"]}', ["りんご", "みかん"], "full_width"),
    "ideographic spaces": ('{　"reading"　:　"朝"　}', "朝", "space"),
    "zero-width and no-break spaces": ('\ufeff{\u200b"reading":\u00a0"朝"\u2060}', "朝", "space"),
    "smart quotes": ("{“reading”: “朝”}", "朝", "smart_quotes"),
    "full-width quotes": ("{＂reading＂: ＂朝＂}", "朝", "smart_quotes"),
    "low and closing smart quotes": ("{„reading“: ”朝”}", "朝", "smart_quotes"),
    "a raw line break at the end of a string": ('{"reading": "朝\n",\n"grammar": 1}', "朝\n", "control_character"),
    "some unquoted keys": (
        '{"reading": [{ja: "朝", "n": 1}, {"n": 2, m: 3}]}',
        [{"ja": "朝", "n": 1}, {"n": 2, "m": 3}],
        "unquoted_key",
    ),
    "an unquoted key after strings, twice": (
        '{"reading": [{"ja": "朝", en: "a"}, {"ja": "夜", en: "b"}]}',
        [{"ja": "朝", "en": "a"}, {"ja": "夜", "en": "b"}],
        "unquoted_key",
    ),
    "unquoted keys": ('{reading: {title: "朝", text_2: 1}}', {"title": "朝", "text_2": 1}, "unquoted_key"),
    "python literals": ('{"reading": [True, False, None, 1]}', [True, False, None, 1], "python_literal"),
    "python repr": (repr({"reading": ["It's", 'a "b"', "朝\n", None]}), ["It's", 'a "b"', "朝\n", None], "python_repr"),
    "python escapes": (r"{'reading': '\x41\u5bff\U0001f363\\'}", "A寿🍣\\", "python_repr"),
    "escaped surrogate pairs": ('{"reading": "\\ud83c\\udf63",}', "🍣", "trailing_comma"),
    "one brace too many at the very end": (
        '{"reading": {"title": "朝"}, "grammar": [1]}}',
        {"title": "朝"},
        "stray_brace",
    ),
    "one bracket too many at the very end": ('{"reading": "朝", "grammar": [1]}\n]\n```', "朝", "stray_bracket"),
    "an envelope": ('{"output": {"reading": "朝"}}', "朝", "envelope:output"),
    "envelopes and lists in each other": ('[{"data": [{"reading": "朝"}]},]', "朝", "one_element_list"),
    "the same lesson twice": ('{"reading": "朝"}\nAgain:\n{"reading": "朝"}', "朝", "repeated"),
    "a key nobody asked for": ('{"level": "A1", "reading": "朝"}', "朝", "ignored_key:level"),
}


@pytest.mark.parametrize("fault", REPAIRED)
def test_what_cannot_change_the_meaning_is_repaired_and_noted(fault: str) -> None:
    text, reading, note = REPAIRED[fault]
    extracted = extract(text, KEYS)
    assert extracted.value["reading"] == reading
    assert set(extracted.value) <= set(KEYS)
    assert note in extracted.notes


def test_clean_json_has_no_notes() -> None:
    assert extract('ok ```json\n{"reading": "...", "grammar": "// no"}\n```', KEYS).notes == ()


REFUSED = {
    "an open object": ('{"reading": {"title": "朝"}', "truncated"),
    "an open string": ('{"reading": "朝', "truncated"),
    "a cut number": ('{"reading": 12', "truncated"),
    "a cut literal": ('{"reading": tru', "unexpected_literal"),
    "a fence closed on a cut object": ('```json\n{"reading": ["朝"\n```', "truncated"),
    "an open list around": ('[{"reading": "朝"}', "truncated"),
    "a cut object without a wanted key": ('{"rea', "truncated"),
    "reasoning without end": ('<think>{"reading": "朝"}', "truncated"),
    "nothing": ("", "no_json"),
    "only reasoning": ('{"reading": "朝"}</think> done', "no_json"),
    "a lesson one level too deep": ('{"schema": {"reading": {"type": "object"}}}', "no_json"),
    "an eaten brace": ('"reading": {"title": "朝"}, "grammar": {"dialogue": 1}}', "no_json"),
    "double encoding": ('"{\\"reading\\": \\"朝\\"}"', "no_json"),
    "too many objects": ('{"a": 1} ' * 17 + '{"reading": "朝"}', "no_json"),
    "two lessons": ('{"reading": "朝"} or {"reading": "夜"}', "ambiguous"),
    "1 and true": ('{"reading": 1} {"reading": true}', "ambiguous"),
    "lines of sections": ('{"reading": "朝"}\n{"grammar": "は"}', "ambiguous"),
    "a key twice": ('{"reading": 1, "reading": 1}', "duplicate_key"),
    "a key twice, deep": ('{"reading": [{"ja": "朝", "ja": "夜"}]}', "duplicate_key"),
    "a key twice in repaired text": ('{"reading": [{"ja": "朝", "ja": "夜",}]}', "duplicate_key"),
    "dots": ('{"reading": ["朝", ...]}', "elision"),
    "an ellipsis": ('{"reading": ["朝", …]}', "elision"),
    "dots for a value": ('{"reading": ...}', "elision"),
    "dots among keys": ('{"reading": {"title": "朝", ...}}', "elision"),
    "a comment that leaves out": ('{"reading": ["朝" /* remaining turns omitted */]}', "elision"),
    "the same in Japanese": ('{"reading": ["朝" // 以下省略\n]}', "elision"),
    "a comment with dots": ('{"reading": ["朝" // …\n]}', "elision"),
    "a comment with quoted text": ('{"reading": "http:" // "example.com"\n}', "unexpected_comment"),
    "a wrong bracket": ('{"reading": ["朝"}, "grammar": 1}', "bracket_mismatch"),
    "a wrong bracket for a brace": ('{"reading": {"title": "朝"]}', "bracket_mismatch"),
    "two stray brackets": ('{"reading": "朝"}]]', "bracket_mismatch"),
    "a stray bracket that may belong to the text before": ('[see: {"reading": "朝"}]]', "bracket_mismatch"),
    "a bracket too many somewhere": ('{"reading": [["朝"]], "grammar": []}]', "bracket_mismatch"),
    "a brace too many somewhere": ('{"reading": {"a": {"b": 1}}, "c": 2}}', "bracket_mismatch"),
    "a missing comma": ('{"reading": [{"a": 1} {"a": 2}]}', "missing_comma_or_stray_quote"),
    "unescaped quotes": ('{"reading": "彼は"はい"と言った"}', "missing_comma_or_stray_quote"),
    "quotes around full-width commas": (
        '{"reading": ["りんご"，"みかん"], "grammar": 1}',
        "missing_comma_or_stray_quote",
    ),
    "smart quotes of both kinds": ('{“reading": "朝”}', "missing_comma_or_stray_quote"),
    "a missing colon": ('{"reading" {"title": "朝"}, "grammar": 1}', "missing_comma_or_stray_quote"),
    "an escape of no meaning": ('{"reading": "Wel\\come"}', "bad_escape"),
    "a cut unicode escape": ('{"reading": "\\u30"}', "bad_escape"),
    "an escape that Python and JSON read differently": ("{'reading': 'a\\b'}", "bad_escape"),
    "two commas": ('{"reading": ["朝",,"夜"]}', "unexpected_comma"),
    "a comma first": ('{"reading": [,"朝"]}', "unexpected_comma"),
    "two colons": ('{"reading":: "朝"}', "unexpected_colon"),
    "a bare word": ('{"reading": 朝}', "unexpected_character"),
    "a bare ASCII word": ('{"reading": hello}', "unexpected_literal"),
    "undefined": ('{"reading": undefined}', "unexpected_literal"),
    "single quotes in JSON": ("{\"reading\": '朝'}", "unexpected_quote"),
    "JSON literals in Python": ("{'reading': [true]}", "unexpected_literal"),
    "quotes that repr would not write": ("{'reading': \"朝\"}", "unexpected_quote"),
    "a misspelt section": ('{"reading": "朝", "dialog": ["はい"], "grammar": "は"}', "unexpected_key"),
    "a section in other letters": ('{"reading": "朝", "dialogue": ["はい"], "Grammar ": "は"}', "unexpected_key"),
    "keys with and without quotes": ('{"reading": "First", remember: "x"}', "unexpected_key"),
    "a line break that was the layout's": ('{"reading": {"title": "朝\n"  ,}}', "unexpected_control_character"),
    "a leading zero": ('{"reading": 05}', "unexpected_number"),
    "a number with a unit": ('{"reading": 12min}', "unexpected_number"),
    "a lone surrogate escaped": ('{"reading": "\\ud83c"}', "lone_surrogate"),
    "a lone surrogate in a key": ('{"reading": {"\\udf63": 1}}', "lone_surrogate"),
    "a lone surrogate raw": ('{"reading": "\ud83c"}', "lone_surrogate"),
    "a lone surrogate in repaired text": ('{"reading": "\\ud83c",}', "lone_surrogate"),
    "NaN": ('{"reading": NaN}', "non_finite"),
    "minus infinity in repaired text": ('{"reading": [-Infinity,]}', "non_finite"),
    "a number beyond floats": ('{"reading": 1e999}', "non_finite"),
    "the same in repaired text": ('{"reading": [1e999,]}', "non_finite"),
    "an integer of 5000 digits": ('{"reading": ' + "1" * 5000 + "}", "too_large"),
    "the same, repaired": ('{"reading": [' + "1" * 5000 + ",]}", "too_large"),
    "400,001 characters": ('{"reading": "朝"}' + " " * 400_000, "too_large"),
    "33 levels": ('{"reading": ' + "[" * 32 + "1" + "]" * 32 + "}", "too_deep"),
    "33 levels, repaired": ('{"reading": ' + "[" * 32 + "1," + "]" * 32 + "}", "too_deep"),
    "100,000 levels": ('{"reading": ' + "[" * 100_000, "too_deep"),
    "a root closed too early": ('{"reading": {"title": "朝"}}, "grammar": [1]}', "content_after_root"),
    "a wanted key somewhere after the root": ('{"reading": "朝"} and "grammar": none', "content_after_root"),
    "a bare wanted key after the root": ('{reading: "朝"} grammar: [1]}', "content_after_root"),
    "a list of two": ('[{"reading": "朝"}, {"level": 1}]', "content_after_root"),
    "a good draft and a broken correction": ('{"reading": "朝"}\n{"reading": "夜', "truncated"),
    "an empty section": ('{"reading": []}', "empty_section"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_could_change_the_meaning_is_refused_for_its_reason(fault: str) -> None:
    text, reason = REFUSED[fault]
    with pytest.raises(ExtractError) as refused:
        extract(text, KEYS)
    assert refused.value.reason == reason
    assert refused.value.detail
    assert 0 <= refused.value.pos <= len(text)


@pytest.mark.parametrize("finish_reason", ["length", "content_filter", "refusal", "tool_calls"])
def test_an_answer_that_did_not_finish_is_refused_under_that_name(finish_reason: str) -> None:
    with pytest.raises(ExtractError) as refused:
        extract('{"reading": "朝"}', KEYS, finish_reason)
    assert refused.value.reason == finish_reason


def test_thirty_two_levels_are_read() -> None:
    text = '{"reading": ' + "[" * 31 + "1" + "]" * 31 + "}"
    assert extract(text, KEYS).value
    assert extract(text.replace("1", "1,"), KEYS).notes == ("trailing_comma",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "duplicate_key"),
        ("[NaN]", "non_finite"),
        ('"\\ud83c"', "lone_surrogate"),
        ("[1, 2", "truncated"),
        ('"朝', "truncated"),
        ("[1 2]", "missing_comma_or_stray_quote"),
        ('"\\x"', "bad_escape"),
        ("[1,]", "unexpected_character"),
        ("[1] [2]", "content_after_root"),
        ("", "truncated"),
        (" " * 400_001, "too_large"),
    ],
)
def test_strict_loads_repairs_nothing(text: str, reason: str) -> None:
    with pytest.raises(ExtractError) as refused:
        strict_loads(text)
    assert refused.value.reason == reason

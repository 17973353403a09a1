"""`python -m servicekit.llm.extraction`, as an operator runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest


def run(*arguments: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "servicekit.llm.extraction", *arguments]
    return subprocess.run(command, input=text, capture_output=True, check=False, timeout=30)


def answer(*arguments: str, text: str) -> dict[str, Any]:
    process = run(*arguments, text=text.encode())
    assert (process.returncode, process.stderr) == (0, b"")
    line: dict[str, Any] = json.loads(process.stdout)
    return line


def test_an_accepted_answer_is_printed_with_its_value_and_sections() -> None:
    text = 'Here:\r\n{"reading": {"title": "朝"}, "grammar": ["は"],}'
    assert answer("--keys", "reading,grammar", "--finish", "stop", "--chunk", "3", text=text) == {
        "accepted": True,
        "value": {"reading": {"title": "朝"}, "grammar": ["は"]},
        "notes": ["trailing_comma"],
        "sections": ["reading", "grammar"],
    }


def test_a_refused_answer_is_printed_with_its_reason_and_the_sections_before_it() -> None:
    line = answer("--keys", "reading,grammar", text='{"reading": "朝", "grammar": ["は"')
    assert (line["accepted"], line["reason"], line["sections"]) == (False, "truncated", ["reading"])
    assert line["detail"]


def test_bytes_that_are_no_utf_8_are_refused_as_such() -> None:
    process = run("--keys", "reading", text=b'{"reading": "\xff"}')
    assert json.loads(process.stdout)["reason"] == "lone_surrogate"


@pytest.mark.parametrize("arguments", [[], ["--keys", ","], ["--keys", "a", "--chunk", "0"], ["--keys", "a", "--x"]])
def test_wrong_usage_exits_with_2_and_says_why(arguments: list[str]) -> None:
    process = run(*arguments)
    assert process.returncode == 2
    assert b"error" in process.stderr


def test_help_teaches_by_example() -> None:
    process = run("--help")
    assert process.returncode == 0
    assert b"--chunk" in process.stdout
    assert b"< answer.txt" in process.stdout

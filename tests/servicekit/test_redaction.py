"""A key that comes back in what a server says."""

from __future__ import annotations

import pytest

from servicekit.llm.redaction import without_key


@pytest.mark.parametrize(
    ("said", "key", "told"),
    [
        ("Incorrect API key provided: sk-canary-1.", "sk-canary-1", "Incorrect API key provided: [key]."),
        ("'Bearer sk-canary-1'; xsk-canary-1x", "sk-canary-1", "'Bearer [key]'; x[key]x"),
        ("GET /?key=sk%2Fcanary%2B1", "sk/canary+1", "GET /?key=[key]"),
        ("the key EMPTY is not it; EMPTY-HANDED, (EMPTY)", "EMPTY", "the key [key] is not it; EMPTY-HANDED, ([key])"),
        ("no key, no change", "", "no key, no change"),
        ("a.b is it, axb is not", "a.b", "[key] is it, axb is not"),
    ],
)
def test_a_key_is_taken_out_of_what_a_server_said(said: str, key: str, told: str) -> None:
    assert without_key(said, key) == told

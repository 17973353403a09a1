"""Whatever arrives, a process of the server answers it in JSON and goes on serving."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.budget import examples
from tests.offline.asking import CHAT, chat, item, stage1, stage2
from tests.offline.conftest import Started

pytestmark = pytest.mark.deep
bounded = settings(
    max_examples=examples(40, 600),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "text", "type", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)
VALID = [stage1(["frame", "culture"]), stage2("model", [item("魚"), item("肉", "2")])]
BODY_FIELDS = (
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "response_format"
)  # fmt: skip


def answered(process: Started, body: bytes) -> None:
    """Posts the body; any answer must be a whole one or a refusal in OpenAI's words."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
    try:
        connection.request("POST", CHAT, body)
        response = connection.getresponse()
        text = response.read()
    finally:
        connection.close()
    assert response.status in (200, 400, 404), text
    if response.status == 200:
        assert text.endswith(b"data: [DONE]\n\n") or json.loads(text)["choices"]
    else:
        assert json.loads(text)["error"]["message"]


@bounded
@given(st.binary(max_size=300))
def test_any_bytes_are_answered(process: Started, body: bytes) -> None:
    answered(process, body)


@bounded
@given(st.sampled_from(VALID), st.dictionaries(st.sampled_from(BODY_FIELDS), JSON, min_size=1, max_size=3))
def test_any_value_in_any_field_of_a_request_is_answered(
    process: Started, data: dict[str, Any], changed: dict[str, Any]
) -> None:
    answered(process, json.dumps(chat(data) | changed).encode())


@bounded
@given(st.sampled_from(VALID), st.data(), st.booleans())
def test_any_value_anywhere_in_the_data_block_is_answered(
    process: Started, valid: dict[str, Any], data: st.DataObject, stream: bool
) -> None:
    changed = json.loads(json.dumps(valid))
    node: Any = changed
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            node[key] = data.draw(JSON)
            break
        node = inner
    block = json.dumps(changed)
    message = {"role": "user", "content": f"<data>\n{block}\n</data>"}
    answered(process, json.dumps({"model": "nidan-offline", "messages": [message], "stream": stream}).encode())


def test_half_a_surrogate_pair_in_an_id_goes_back_as_it_came(process: Started) -> None:
    answered(process, json.dumps(chat(stage2("model", [item("魚", "\ud83c")]))).encode())


def test_it_still_serves_after_all_that(process: Started) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read() == b'{"status":"ok","lessons":12}'
    connection.close()
    assert process.process.poll() is None

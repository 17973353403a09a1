"""What a foreign gateway, a key or a model is named controls no terminal, and keys go where they belong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nidan.services.plan import Providers, public_plan
from servicekit.safe_json import one_safe_line, safe_dumps, safe_json
from tests.nidan.command import nidan

BAD = "\x1b[31m\x9b\x7f\u202e\u2066\u200b\u2028\ud83d\U000e0041\x00"


def test_json_of_ours_escapes_what_nobody_sees() -> None:
    text = safe_dumps({"a": f"食{BAD}べる"})
    assert json.loads(text) == {"a": f"食{BAD}べる"}
    assert "食" in text
    assert text.isprintable()


def test_json_of_a_foreign_gateway_is_the_same_json_and_harmless() -> None:
    raw = '{"a": "x\x1b[31m\u009b\u202e食"}'
    text = safe_json(raw)
    assert text.isprintable()
    assert json.loads(text)["a"] == "x\x1b[31m\u009b\u202e食"
    assert safe_json('{\n  "a": "食"\n}') == '{\n  "a": "食"\n}'


def test_a_line_is_one_line_of_what_can_be_seen() -> None:
    assert one_safe_line(f"a{BAD}\nb\t c", 80) == "a [31m b c"
    assert len(one_safe_line("x" * 10_000, 100)) == 100


@pytest.mark.parametrize("name", ["[/x]", "[link=x]w[/link]", "[bold]"])
def test_names_are_text_and_never_markup(tmp_path: Path, name: str) -> None:
    file = str(tmp_path / "keys.toml")
    assert nidan("keys", "add", name, "--scope", "generate", "--file", file).returncode == 0
    listed = nidan("keys", "list", "--file", file)
    assert listed.returncode == 0, listed.stderr
    assert name in listed.stdout.replace("\n", "")
    models = nidan("models", CANDO_AI_STAGE1_MODEL="[/x]", CANDO_AI_STAGE1_PROVIDER="ollama")
    assert models.returncode in (0, 1)
    assert "[/x]" in models.stdout


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_keys_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "keys.toml"
    assert nidan("keys", "add", "web", "--scope", "generate", "--file", str(file)).returncode == 0
    file.chmod(mode)
    refused = nidan("keys", "list", "--file", str(file))
    assert refused.returncode == 1
    assert f"chmod go-w {file}" in " ".join(refused.stderr.split())


def test_each_service_gets_its_own_key_alone() -> None:
    told = {
        "OPENAI_API_KEY": "sk-one",
        "GEMINI_API_KEY": "two",
        "VLLM_API_KEY": "three",
        "NIDAN_API_KEY": "mine",
        "CANDO_AI_STAGE1_PROVIDER": "openai",
        "CANDO_AI_STAGE2_PROVIDER": "gemini",
    }
    plan = public_plan(told, Providers("openai", "gemini"))
    given = {service.name: plan.environment_of(service) for service in plan.services}
    keys = {name: {key for key in variables if key.endswith("_API_KEY")} for name, variables in given.items()}
    assert keys == {"content_service": {"OPENAI_API_KEY"}, "enhancer_service": {"GEMINI_API_KEY"}, "gateway": set()}


def test_a_keys_file_that_is_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "keys.toml"
    os.mkfifo(pipe, 0o600)
    refused = nidan("keys", "list", "--file", str(pipe))
    assert refused.returncode == 1
    assert "it is no regular file" in " ".join(refused.stderr.split())

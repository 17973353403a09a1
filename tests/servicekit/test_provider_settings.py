"""A stage's settings for its model server: what is wrong ends it at start, with the name of the variable."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from servicekit.llm.capabilities import Provider
from servicekit.llm.settings import ModelServerSettings, model_client
from servicekit.settings import SettingsError, load


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080/v1",
        '"http://127.0.0.1:8080/v1"',
        "http://127.0.0.1:8080/v 1",
        "ftp://127.0.0.1/v1",
        "http://",
        "http://127.0.0.1:0/v1",
        "http://127.0.0.1:port/v1",
        "http://name:secret@127.0.0.1/v1",
        "http://127.0.0.1/v1?key=secret",
        "http://127.0.0.1/v1#x",
        "http://127.0.0.1/v1\x00",
        "http://bücher.example/v1",
    ],
)
def test_an_address_that_no_call_could_use_is_refused(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ModelServerSettings(openai_base_url=url)
    (error,) = refused.value.errors()
    assert error["loc"] == ("openai_base_url",)
    assert "secret" not in error["msg"]


@pytest.mark.parametrize("url", ["", "  ", "\r\n"])
def test_a_blank_address_is_the_presets(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert load(ModelServerSettings).address(Provider.OPENAI) == "https://api.openai.com/v1"


def test_a_line_end_behind_an_address_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", "http://127.0.0.1:8000/v1\r")
    assert load(ModelServerSettings).address(Provider.VLLM) == "http://127.0.0.1:8000/v1"


def test_a_key_comes_from_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-of-a-file\n", encoding="utf-8")
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(file))
    settings = load(ModelServerSettings)
    assert settings.key(Provider.OPENAI) == "sk-of-a-file"
    assert "sk-of-a-file" not in repr(settings)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    with pytest.raises(SettingsError, match="OPENAI_API_KEY and OPENAI_API_KEY_FILE are both set"):
        load(ModelServerSettings)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot read"),
        (b"\xff\xfe\x00", "holds no text"),
        (b"x" * 9000, "no file with a key alone"),
        ("schlüssel".encode(), "no HTTP header can hold"),
    ],
)
def test_a_file_that_holds_no_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("GEMINI_API_KEY_FILE", str(file))
    with pytest.raises(SettingsError, match=problem) as refused:
        load(ModelServerSettings)
    assert "GEMINI_API_KEY_FILE" in str(refused.value)


def test_an_empty_file_is_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(SettingsError, match="OPENAI_API_KEY: is not set"):
        model_client(load(ModelServerSettings), Provider.OPENAI, "CANDO_AI_STAGE1_PROVIDER")


@pytest.mark.parametrize(
    ("variable", "content"), [("SSL_CERT_FILE", None), ("SSL_CERT_FILE", "no certificate"), ("SSL_CERT_DIR", None)]
)
def test_authorities_that_cannot_be_read_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, content: str | None
) -> None:
    path = tmp_path / "authorities"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(SettingsError, match=variable) as refused:
        model_client(load(ModelServerSettings), Provider.OLLAMA, "CANDO_AI_STAGE1_PROVIDER")
    assert str(path) in str(refused.value)


def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(SettingsError, match="ALL_PROXY"):
        model_client(load(ModelServerSettings), Provider.OPENAI, "CANDO_AI_STAGE1_PROVIDER")

"""The offline model's settings: environment variables, checked before the port opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_PORT = 50080


class SettingsError(ValueError):
    """An unusable setting. The message names its variable."""


@dataclass(frozen=True)
class Settings:
    port: int
    """0 lets the system choose; the started event logs the result."""
    bind: str
    chunk_delay_seconds: float
    """A pause before each chunk of a stream, to watch a lesson arrive; 0 sends at full speed."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """OFFLINE_MODEL_PORT, BIND and OFFLINE_MODEL_CHUNK_DELAY_MS; unset or empty means the default.

        Raises SettingsError.
        """
        return cls(
            port=_integer(environment, "OFFLINE_MODEL_PORT", DEFAULT_PORT, highest=65_535),
            bind=environment.get("BIND") or "127.0.0.1",
            chunk_delay_seconds=_integer(environment, "OFFLINE_MODEL_CHUNK_DELAY_MS", 0, highest=10_000) / 1000,
        )


def _integer(environment: Mapping[str, str], name: str, default: int, highest: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= highest and len(text) <= 9):
        raise SettingsError(f"{name} must be a whole number from 0 to {highest}, not {text[:40]!r}")
    return int(text)

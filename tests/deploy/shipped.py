"""Reads what is shipped for deployment, and what the code says about the same things."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from offline_model.settings import Settings as OfflineSettings
from servicekit.settings import ServiceSettings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
ENV_EXAMPLE = ROOT / ".env.example"

MODULES = {
    "gateway": "gateway",
    "content": "content_service",
    "enhancer": "enhancer_service",
    "offline-model": "offline_model",
}
"""The service of docker-compose.yml -> the module that it runs."""


# --- the settings that the code reads -------------------------------------------------------------------------


def settings_class(module: str) -> type[ServiceSettings]:
    """The one settings class that `module`.settings defines."""
    names = vars(importlib.import_module(f"{module}.settings")).values()
    own = [
        kind
        for kind in names
        if isinstance(kind, type) and issubclass(kind, ServiceSettings) and kind.__module__ == f"{module}.settings"
    ]
    assert len(own) == 1, f"{module}.settings defines {len(own)} settings classes"
    return own[0]


def defaults(module: str) -> dict[str, str]:
    """Every variable that `module` reads, with its default as one would write it; "" when it is empty."""
    if module == "offline_model":
        return _offline_defaults()
    fields = settings_class(module).model_fields
    assert all(field.validation_alias is None for field in fields.values()), "a field's name is its variable"
    return {name.upper(): written(field.get_default()) for name, field in fields.items()}


def written(value: Any) -> str:
    """A default as one would write it into the environment."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)


class _Asked(Mapping[str, str]):
    """An empty environment that remembers what it was asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _offline_defaults() -> dict[str, str]:
    asked = _Asked()
    settings = OfflineSettings.from_environment(asked)
    told = {
        "OFFLINE_MODEL_PORT": written(settings.port),
        "BIND": settings.bind,
        "OFFLINE_MODEL_CHUNK_DELAY_MS": written(settings.chunk_delay_seconds * 1000),
    }
    assert asked.names == told.keys()
    return told


# --- docker-compose.yml ---------------------------------------------------------------------------------------

_INTERPOLATION = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


@dataclass(frozen=True)
class Compose:
    """The services of a compose file, anchors resolved, variables not yet."""

    services: dict[str, Any]
    """Those that run a module of ours."""
    others: dict[str, Any]
    """What watches them; images that others built."""
    networks: dict[str, Any]

    @classmethod
    def of(cls, text: str) -> Compose:
        whole = yaml.load(text, yaml.CSafeLoader)
        every = whole["services"]
        own = {name: service for name, service in every.items() if "build" in service}
        return cls(own, {name: service for name, service in every.items() if name not in own}, whole["networks"])

    @property
    def every(self) -> dict[str, Any]:
        return self.services | self.others

    def environment(self, service: str, given: Mapping[str, str]) -> dict[str, str]:
        """What the container gets when .env says `given`."""
        raw: dict[str, str] = self.services[service]["environment"]
        return {name: resolved(str(value), given) for name, value in raw.items()}


def resolved(text: str, given: Mapping[str, str]) -> str:
    """Compose's own rule for ${NAME} and ${NAME:-default}: empty counts as unset."""
    result = _INTERPOLATION.sub(lambda found: given.get(found["name"]) or found["default"] or "", text)
    assert "$" not in result, f"a form of interpolation that this reader does not know: {text}"
    return result


def interpolated(text: str) -> list[str]:
    """Names of the variables in a value."""
    return [found["name"] for found in _INTERPOLATION.finditer(text)]


def seconds(duration: str) -> float:
    """Compose's duration in its simplest form, 90s."""
    assert re.fullmatch(r"\d+s", duration), f"write it in seconds: {duration}"
    return float(duration[:-1])


COMPOSES_OWN = {"COMPOSE_PROFILES": "offline", "GRAFANA_ADMIN_PASSWORD": ""}
"""Variables of .env that no service of ours reads, as the example sets them."""


# --- .env.example ---------------------------------------------------------------------------------------------


def assignments(text: str) -> dict[str, str]:
    """NAME=value lines that count."""
    return dict(re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE))


def suggestions(text: str) -> dict[str, str]:
    """NAME=value lines behind a comment sign."""
    return dict(re.findall(r"^# (\w+)=(\S*)$", text, flags=re.MULTILINE))


# --- Dockerfile, .dockerignore, pyproject.toml ----------------------------------------------------------------


def instructions(text: str) -> list[tuple[str, str]]:
    """(INSTRUCTION, the rest in one line) for each, comments left out."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def dockerfile() -> list[tuple[str, str]]:
    return instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))


def health_check() -> tuple[dict[str, str], list[str]]:
    """The image's health check: its options, and its command."""
    (told,) = [rest for word, rest in dockerfile() if word == "HEALTHCHECK"]
    options, _, command = told.partition("CMD ")
    return dict(re.findall(r"--([a-z-]+)=(\S+)", options)), json.loads(command)


def allowed_into_the_build() -> set[str]:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines, "everything is kept out that is not let in by name"
    return {line[1:] for line in lines if line.startswith("!")}


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def packages() -> list[str]:
    """The packages that the wheel holds."""
    found: list[str] = pyproject()["tool"]["setuptools"]["packages"]["find"]["include"]
    return [name.removesuffix("*") for name in found]

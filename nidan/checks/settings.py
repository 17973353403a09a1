"""Checks of the services' settings.

A process of each service reads the environment as the service does at its start, so that every default and every rule
exists once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nidan.checks.finding import Finding
from nidan.checks.python import output_of, start_python
from nidan.services.service import CONTENT, ENHANCER, GATEWAY, Service

# Prints the settings as JSON, secrets masked by their type; or exits with the service's own message on stderr.
_READ_SETTINGS = """
import importlib, json, sys
from servicekit.settings import SettingsError, load
module = importlib.import_module(sys.argv[1] + ".settings")
kind = getattr(module, sys.argv[2])
try:
    settings = load(kind)
except SettingsError as error:
    sys.exit(str(error))
chains = {name: list(getattr(settings, name, ())) for name in ("stage1_models", "stage2_models")}
print(json.dumps(settings.model_dump(mode="json") | chains))
"""
_KINDS = {GATEWAY.name: "GatewaySettings", CONTENT.name: "ContentSettings", ENHANCER.name: "EnhancerSettings"}


class SettingsProbe:
    """A process that reads a service's settings, while other probes run."""

    def __init__(self, service: Service, environment: Mapping[str, str]) -> None:
        self._process = start_python(_READ_SETTINGS, environment, service.name, _KINDS[service.name])

    def read(self) -> dict[str, Any] | str:
        """The settings, or the message that says what is wrong."""
        out, problem = output_of(self._process)
        if self._process.returncode:
            return problem.strip() or "its settings cannot be read"
        values: dict[str, Any] = json.loads(out)
        return values


def settings_of(service: Service, environment: Mapping[str, str]) -> dict[str, Any] | str:
    """The service's settings here, secrets masked; or the message that says what is wrong."""
    return SettingsProbe(service, environment).read()


def settings_finding(name: str, settings: dict[str, Any] | str) -> Finding:
    """Valid settings, or the service's message."""
    title = f"settings of {name}"
    if isinstance(settings, str):
        return Finding(title, "fail", settings.splitlines()[-1], "Set or unset the variable that is named.")
    return Finding(title, "ok", "complete and valid")

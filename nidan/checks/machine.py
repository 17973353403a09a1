"""Checks of this machine: Python, ports, the analyser's dictionary, and access to a gateway."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping

from nidan.checks.finding import Finding
from nidan.checks.python import output_of
from nidan.credentials import Access, AccessError
from nidan.errors import StartError
from nidan.services.plan import configured
from nidan.services.ports import LOOPBACK, is_free
from nidan.services.service import GATEWAY, Service


def python_version(version: tuple[int, ...]) -> Finding:
    """Whether nidan supports this version, as (major, minor)."""
    shown = ".".join(str(part) for part in version)
    if (3, 11) <= version < (3, 14):
        return Finding("Python", "ok", platform.python_version())
    return Finding("Python", "fail", f"{shown} is not supported", "Use Python 3.11, 3.12 or 3.13.")


def access_finding(environment: Mapping[str, str]) -> Finding:
    """How `nidan generate` would call a gateway. Calls none, and never shows the key."""
    address = environment.get("NIDAN_ADDRESS", "")
    try:
        access = Access.from_environment(environment)
        if address:
            access.check(address)
    except AccessError as error:
        return Finding("gateway access", "fail", f"{error.name}: {error}", "Set or unset the variable that is named.")
    key = "NIDAN_API_KEY is set" if access.key else "no key (NIDAN_API_KEY); a gateway of this machine needs none"
    how = "TLS" if access.tls else "plaintext"
    return Finding("gateway access", "ok", f"{address or GATEWAY.address}, {how}, {key} (not called)")


def port_finding(service: Service, environment: Mapping[str, str]) -> Finding:
    """Whether the service's ports are free for `nidan up`, or the service already serves there."""
    title = f"ports of {service.name}"
    try:
        service = configured(service, environment)
    except StartError as error:
        return Finding(title, "fail", str(error), "Set it to a port, or unset it.")
    taken = {variable: port for variable, port in service.ports.items() if not is_free(port)}
    if not taken:
        return Finding(title, "ok", f"{', '.join(str(port) for port in service.ports.values())} free on {LOOPBACK}")
    if service.is_serving():
        return Finding(title, "ok", f"{service.name} is serving at {service.address}")
    named = ", ".join(f"{port} ({variable})" for variable, port in taken.items())
    step = "Stop what listens there, or set the variable to another port; `nidan generate` finds its own."
    return Finding(title, "warn", f"taken by another program: {named}", step)


def dictionary_finding(imported: subprocess.Popen[str]) -> Finding:
    """Whether analyser and dictionary are installed, importable, and of the pinned versions."""
    pair = {name: _version(name) for name in ("sudachipy", "sudachidict_core")}
    versions = ", ".join(f"{name} {version or 'missing'}" for name, version in pair.items())
    _, problem = output_of(imported)
    step = "Install the locked requirements anew: make setup."
    if not all(pair.values()):
        return Finding("dictionary", "fail", versions, step)
    if imported.returncode:
        return Finding("dictionary", "fail", f"{versions}: {(problem.strip() or 'no reason').splitlines()[-1]}", step)
    odd = [f"{name}=={wanted}" for name, wanted in _pins(pair).items() if wanted != pair[name]]
    if odd:
        return Finding("dictionary", "warn", f"{versions}; nidan is made for {', '.join(odd)}", step)
    return Finding("dictionary", "ok", versions)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _pins(names: Mapping[str, str]) -> dict[str, str]:
    """The versions that nidan's metadata pins; empty when nidan is not installed."""
    try:
        requirements = importlib.metadata.requires("nidan") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    split = (requirement.partition("==") for requirement in requirements)
    return {name: version.strip() for name, _, version in split if name.strip() in names}

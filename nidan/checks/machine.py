"""This machine: its Python, its ports, the analyser's dictionary, and how it would call a gateway."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping

from nidan.checks.finding import Finding
from nidan.checks.python import end_of
from nidan.credentials import Access, AccessError
from nidan.errors import StartError
from nidan.services.plan import configured
from nidan.services.ports import LOOPBACK, is_free
from nidan.services.service import GATEWAY, Service


def python_version(version: tuple[int, ...]) -> Finding:
    told = ".".join(str(part) for part in version)
    if (3, 11) <= version < (3, 14):
        return Finding("Python", "ok", platform.python_version())
    return Finding("Python", "fail", f"{told} is not supported", "Use Python 3.11, 3.12 or 3.13.")


def access_finding(environment: Mapping[str, str]) -> Finding:
    """With which key, and how, `nidan generate` would call a gateway. Calls none, and never tells the key."""
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
    """Whether `nidan up` could have the service's ports, or the service has them already."""
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
    """The analyser's dictionary: installed, importable, and the pair of versions that belongs together."""
    pair = {name: _version(name) for name in ("sudachipy", "sudachidict_core")}
    told = ", ".join(f"{name} {version or 'missing'}" for name, version in pair.items())
    _, problem = end_of(imported)
    step = "Install the locked requirements anew: make setup."
    if not all(pair.values()):
        return Finding("dictionary", "fail", told, step)
    if imported.returncode:
        return Finding("dictionary", "fail", f"{told}: {(problem.strip() or 'no reason').splitlines()[-1]}", step)
    odd = [f"{name}=={wanted}" for name, wanted in _pins(pair).items() if wanted != pair[name]]
    if odd:
        return Finding("dictionary", "warn", f"{told}; nidan is made for {', '.join(odd)}", step)
    return Finding("dictionary", "ok", told)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _pins(names: Mapping[str, str]) -> dict[str, str]:
    """What nidan's own metadata pins; empty when nidan is not installed."""
    try:
        requirements = importlib.metadata.requires("nidan") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    split = (requirement.partition("==") for requirement in requirements)
    return {name: version.strip() for name, _, version in split if name.strip() in names}

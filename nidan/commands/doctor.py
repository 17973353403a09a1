"""`nidan doctor`: what would keep nidan from working here, and what to do about it. Needs no network.

Each check is a function that returns its findings. Settings are judged by the services themselves: a process of each
reads the environment exactly as the service does at its start, so no default and no rule is written down twice.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nidan.credentials import Access, AccessError
from nidan.errors import StartError
from nidan.services.plan import configured
from nidan.services.ports import LOOPBACK, is_free
from nidan.services.service import CONTENT, ENHANCER, GATEWAY, OFFLINE_MODEL, Service
from nidan.terminal.sanitize import clean
from servicekit.llm.capabilities import Provider, base_url_variable, capabilities, key_variable, preset

State = Literal["ok", "warn", "fail"]
_STYLES: Mapping[State, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}
_WARN_DAYS, _FAIL_DAYS = 60, 7
_PROBE_SECONDS = 60.0


@dataclass(frozen=True)
class Finding:
    """One line of the table; `next_step` is empty when there is nothing to do."""

    name: str
    state: State
    message: str
    next_step: str = ""


def doctor(today: date, environment: Mapping[str, str], as_json: bool) -> int:
    """Prints the findings; 1 when one of them is a fail, else 0."""
    findings = list(examine(today, environment))
    healthy = all(finding.state != "fail" for finding in findings)
    if as_json:
        checks = [asdict(finding) for finding in findings]
        print(json.dumps({"ok": healthy, "checks": checks}, ensure_ascii=False))
    else:
        _print(findings)
    return 0 if healthy else 1


def examine(today: date, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Every finding, in the order of the table."""
    probes = {service.name: _SettingsProbe(service, environment) for service in (GATEWAY, CONTENT, ENHANCER)}
    dictionary = _python("import sudachipy, sudachidict_core", environment)
    yield python_version(sys.version_info[:2])
    settings = {name: probe.read() for name, probe in probes.items()}
    yield from (_settings_finding(name, settings[name]) for name in settings)
    yield from _model_findings(settings, today, environment)
    yield access_finding(environment)
    yield from (port_finding(service, environment) for service in (GATEWAY, CONTENT, ENHANCER, OFFLINE_MODEL))
    yield dictionary_finding(dictionary)


# --- Python, settings -------------------------------------------------------------------------------------------


def python_version(version: tuple[int, ...]) -> Finding:
    told = ".".join(str(part) for part in version)
    if (3, 11) <= version < (3, 14):
        return Finding("Python", "ok", platform.python_version())
    return Finding("Python", "fail", f"{told} is not supported", "Use Python 3.11, 3.12 or 3.13.")


# Prints the settings as JSON (secrets masked by their type), or ends with the service's own words on stderr.
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


class _SettingsProbe:
    """A process that reads a service's settings; it runs while others do."""

    def __init__(self, service: Service, environment: Mapping[str, str]) -> None:
        self._process = _python(_READ_SETTINGS, environment, service.name, _KINDS[service.name])

    def read(self) -> dict[str, Any] | str:
        """The settings, or what is wrong with them."""
        out, problem = _ended(self._process)
        if self._process.returncode:
            return problem.strip() or "its settings cannot be read"
        values: dict[str, Any] = json.loads(out)
        return values


def settings_of(service: Service, environment: Mapping[str, str]) -> dict[str, Any] | str:
    """What the service would read here, secrets masked; or what is wrong with it."""
    return _SettingsProbe(service, environment).read()


def _settings_finding(name: str, settings: dict[str, Any] | str) -> Finding:
    title = f"settings of {name}"
    if isinstance(settings, str):
        return Finding(title, "fail", settings.splitlines()[-1], "Set or unset the variable that is named.")
    return Finding(title, "ok", "complete and valid")


# --- providers, key, models -------------------------------------------------------------------------------------


def _model_findings(
    settings: Mapping[str, dict[str, Any] | str], today: date, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Nothing where the gateway's own settings are wrong: its chains are not known then."""
    gateway = settings[GATEWAY.name]
    if isinstance(gateway, str):
        return
    providers = [Provider(gateway[f"cando_ai_stage{stage}_provider"]) for stage in (1, 2)]
    yield from key_findings(providers, environment)
    for stage, provider in enumerate(providers, start=1):
        yield from chain_findings(stage, provider, gateway[f"stage{stage}_models"], today)


def key_findings(providers: Sequence[Provider], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Key and address of each model server that is asked over the network. No key is ever told."""
    asked = [provider for provider in dict.fromkeys(providers) if provider not in (Provider.OFFLINE, Provider.NONE)]
    if not asked:
        yield Finding("keys", "ok", "none needed: no stage asks a provider")
    for provider in asked:
        yield _key(provider, environment)
        yield _base_url(base_url_variable(provider), environment.get(base_url_variable(provider), ""), provider)


def _key(provider: Provider, environment: Mapping[str, str]) -> Finding:
    name, wanted = key_variable(provider), preset(provider).key
    key = environment.get(name, "")
    if not key and wanted != "yes":
        return Finding(name, "ok", f"not set; {provider} {'needs none' if wanted == 'no' else 'may do without'}")
    if not key:
        chosen = any(environment.get(f"CANDO_AI_STAGE{stage}_PROVIDER") == provider for stage in (1, 2))
        return Finding(
            name,
            "fail" if chosen else "warn",
            f"is not set, and the provider is {provider}",
            "Set it for real lessons; built-in lessons need none: nidan generate JF:349 --offline.",
        )
    if key != key.strip() or not key.isascii() or not key.isprintable():
        return Finding(name, "fail", "holds white space or odd characters", "Set it anew, without quotes.")
    return Finding(name, "ok", "is set")


def _base_url(name: str, given: str, provider: Provider) -> Finding:
    url = given or preset(provider).base_url
    try:
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        parts, shown = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return Finding(name, "fail", "is no http or https address", f"As {preset(provider).base_url}.")
    return Finding(name, "ok", f"{shown} (not called)")


def chain_findings(stage: int, provider: Provider, models: Sequence[str], today: date) -> Iterator[Finding]:
    """The end dates of a stage's models: what ends soon, and whether anything is left when they end."""
    title = f"Stage {stage} models"
    if not models:
        yield Finding(title, "ok", "none: the analyser alone")
        return
    ends = {model: capabilities(provider, model).shutdown for model in models}
    findings = [_ending(stage, provider, model, end, today) for model, end in ends.items() if end is not None]
    yield from (finding for finding in findings if finding.state != "ok")
    days = set(ends.values())
    if len(days) == 1 and None not in days:
        yield Finding(
            title,
            "warn",
            f"{', '.join(models)}: all end on {days.pop()}; nothing is left then",
            f"Add a model that stays to CANDO_AI_STAGE{stage}_FALLBACK_MODELS.",
        )
    elif all(finding.state == "ok" for finding in findings):
        yield Finding(title, "ok", f"{', '.join(models)} ({provider.value})")


def _ending(stage: int, provider: Provider, model: str, end: date, today: date) -> Finding:
    title, left = f"Stage {stage} models", (end - today).days
    successor = capabilities(provider, model).successor
    step = f"Replace it in CANDO_AI_STAGE{stage}_MODEL or _FALLBACK_MODELS"
    step += f"; its provider names {successor}." if successor else "."
    if left >= _WARN_DAYS:
        return Finding(title, "ok", f"{model} ends on {end}")
    message = f"{model} ends on {end}, in {left} days" if left > 0 else f"{model} ended on {end}"
    return Finding(title, "fail" if left < _FAIL_DAYS else "warn", message, step)


# --- the gateway to ask ---------------------------------------------------------------------------------------------


def access_finding(environment: Mapping[str, str]) -> Finding:
    """With which key, and how, `nidan generate` would call a gateway. Calls none, and never tells the key."""
    address = environment.get("NIDAN_ADDRESS", "")
    try:
        access = Access.told(environment)
        if address:
            access.check(address)
    except AccessError as error:
        return Finding("gateway access", "fail", f"{error.name}: {error}", "Set or unset the variable that is named.")
    key = "NIDAN_API_KEY is set" if access.key else "no key (NIDAN_API_KEY); a gateway of this machine needs none"
    how = "TLS" if access.tls else "plaintext"
    return Finding("gateway access", "ok", f"{address or GATEWAY.address}, {how}, {key} (not called)")


# --- ports, dictionary ------------------------------------------------------------------------------------------


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
    _, problem = _ended(imported)
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


# --- processes, printing ----------------------------------------------------------------------------------------


def _python(code: str, environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own code, no shell
        [sys.executable, "-P", "-c", code, *arguments],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Its output and errors; one that hangs is killed and then has failed."""
    try:
        return process.communicate(timeout=_PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()


def _print(findings: Sequence[Finding]) -> None:
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("Check", no_wrap=True)
    table.add_column("Finding")
    for finding in findings:
        told = Text(clean(finding.message))
        if finding.next_step:
            told.append(f"\n→ {clean(finding.next_step)}", style="italic")
        table.add_row(Text(finding.state, style=_STYLES[finding.state]), finding.name, told)
    Console(highlight=False).print(table)

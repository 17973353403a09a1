"""Checks of providers: keys, addresses, and the end dates of their models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from nidan.checks.finding import Finding
from nidan.services.service import CONTENT, ENHANCER, GATEWAY
from servicekit.llm.capabilities import Provider, base_url_variable, capabilities, key_variable, preset
from servicekit.llm.settings import address_problem

_WARN_DAYS, _FAIL_DAYS = 60, 7


def model_findings(
    settings: Mapping[str, dict[str, Any] | str], today: date, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Checks keys and chains. Yields nothing where the gateway's settings are wrong: its chains are unknown then."""
    gateway = settings[GATEWAY.name]
    if isinstance(gateway, str):
        return
    providers = [Provider(gateway[f"cando_ai_stage{stage}_provider"]) for stage in (1, 2)]
    yield from key_findings(providers, environment)
    for stage, provider in enumerate(providers, start=1):
        models = gateway[f"stage{stage}_models"]
        yield from chain_findings(stage, provider, models, today)
        service = settings[CONTENT.name if stage == 1 else ENHANCER.name]
        if not isinstance(service, str):
            yield from effort_findings(stage, provider, models, service[f"ai_stage{stage}_reasoning_effort"])


def key_findings(providers: Sequence[Provider], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Key and address of each provider on the network. Never shows a key."""
    remote = [provider for provider in dict.fromkeys(providers) if provider not in (Provider.OFFLINE, Provider.NONE)]
    if not remote:
        yield Finding("keys", "ok", "none needed: no stage asks a provider")
    for provider in remote:
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
    if problem := address_problem(url.strip()):
        return Finding(name, "fail", problem, f"As {preset(provider).base_url}.")
    return Finding(name, "ok", f"{shown} (not called)")


def chain_findings(stage: int, provider: Provider, models: Sequence[str], today: date) -> Iterator[Finding]:
    """The end dates of a stage's models: which end soon, and whether all end on one day."""
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


def effort_findings(stage: int, provider: Provider, models: Sequence[str], effort: str) -> Iterator[Finding]:
    """The models of a stage that reason, but not at the configured effort."""
    able = {model: capabilities(provider, model) for model in models}
    sent = {model: able[model].effort(effort) for model in models if able[model].reasons}
    for model, nearest in sent.items():
        if nearest != effort:
            efforts = ", ".join(able[model].reasoning_efforts)
            yield Finding(
                f"Stage {stage} effort",
                "warn",
                f"{model} does not take {effort}: {nearest} is sent",
                f"Set AI_STAGE{stage}_REASONING_EFFORT to one of its own for another one: {efforts}.",
            )


def _ending(stage: int, provider: Provider, model: str, end: date, today: date) -> Finding:
    title, left = f"Stage {stage} models", (end - today).days
    successor = capabilities(provider, model).successor
    step = f"Replace it in CANDO_AI_STAGE{stage}_MODEL or _FALLBACK_MODELS"
    step += f"; its provider names {successor}." if successor else "."
    if left >= _WARN_DAYS:
        return Finding(title, "ok", f"{model} ends on {end}")
    message = f"{model} ends on {end}, in {left} days" if left > 0 else f"{model} ended on {end}"
    return Finding(title, "fail" if left < _FAIL_DAYS else "warn", message, step)

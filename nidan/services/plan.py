"""What to start, on which ports, and what to tell it by environment variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nidan.errors import MissingKeyError
from nidan.services.ports import LOOPBACK, free_ports, port_of
from nidan.services.service import CONTENT, ENHANCER, GATEWAY, OFFLINE_MODEL, Service
from servicekit.llm.capabilities import Provider, key_variable, preset

_NEED_KEYS = tuple(one for one in Provider if one is not Provider.NONE and preset(one).key == "yes")
_ACCESS_VARIABLES = ("TLS_", "GATEWAY_TLS_", "GATEWAY_KEYS_", "GATEWAY_CALLER_", "GATEWAY_ALLOW_", "NIDAN_API_KEY")


@dataclass(frozen=True)
class Providers:
    """Who serves the models of each stage, as the environment or --offline chose it."""

    stage1: str
    stage2: str

    @classmethod
    def chosen(cls, environment: Mapping[str, str], offline: bool) -> Providers:
        """--offline is for both stages. Raises MissingKeyError: the offline model is chosen and never fallen into."""
        if offline:
            return cls(Provider.OFFLINE.value, Provider.OFFLINE.value)
        providers = cls(*(environment.get(f"CANDO_AI_{stage}_PROVIDER") or "openai" for stage in ("STAGE1", "STAGE2")))
        for provider in _NEED_KEYS:
            if providers.uses(provider) and not environment.get(key_variable(provider)):
                raise MissingKeyError(provider.value, key_variable(provider))
        return providers

    def uses(self, provider: Provider) -> bool:
        return provider.value in (self.stage1, self.stage2)


@dataclass(frozen=True)
class Plan:
    """What to start, in order, and what to tell it."""

    services: tuple[Service, ...]
    environment: Mapping[str, str]

    @property
    def gateway(self) -> Service:
        return self.services[-1]


def private_plan(environment: Mapping[str, str], providers: Providers) -> Plan:
    """A trio for one command, on ports that are free now; nobody else is meant to find it."""
    services = _on_free_ports(_wanted(providers))
    return Plan(services, _environment(_without_access(environment), providers, services))


def enhancer_plan(environment: Mapping[str, str], romaji_style: str = "") -> Plan:
    """An enhancer for one command, and nothing beside it: the analyser alone, without key or model.

    An empty style leaves ROMAJI_STYLE to the environment.
    """
    services = _on_free_ports((ENHANCER,))
    told = _environment(_without_access(environment), Providers(Provider.NONE.value, Provider.NONE.value), services)
    return Plan(services, told | ({"ROMAJI_STYLE": romaji_style} if romaji_style else {}))


def public_plan(environment: Mapping[str, str], providers: Providers) -> Plan:
    """The trio on the ports that its variables name, else on the default ones. Raises StartError."""
    services = tuple(configured(service, environment) for service in _wanted(providers))
    return Plan(services, _environment(environment, providers, services))


def _without_access(environment: Mapping[str, str]) -> dict[str, str]:
    """No certificates, no keys, no limits of callers: the services are for this one command, on this machine."""
    return {name: value for name, value in environment.items() if not name.startswith(_ACCESS_VARIABLES)}


def _on_free_ports(services: Sequence[Service]) -> tuple[Service, ...]:
    ports = free_ports(len(services))
    return tuple(
        Service(service.name, service.grpc_name, service.prefix, port)
        for service, port in zip(services, ports, strict=True)
    )


def configured(service: Service, environment: Mapping[str, str]) -> Service:
    """The service with the ports that the environment names. Raises StartError for what is no port."""
    ports = [port_of(variable, environment.get(variable, ""), default) for variable, default in service.ports.items()]
    return Service(service.name, service.grpc_name, service.prefix, *ports)


def _wanted(providers: Providers) -> tuple[Service, ...]:
    model = (OFFLINE_MODEL,) if providers.uses(Provider.OFFLINE) else ()
    return (*model, CONTENT, ENHANCER, GATEWAY)


def _environment(base: Mapping[str, str], providers: Providers, services: tuple[Service, ...]) -> dict[str, str]:
    """What the services inherit. All of it stays on this machine; no key is given to a run that does not ask for it."""
    by_name = {service.name: service for service in services}
    told = dict(base)
    for provider in Provider:
        if not providers.uses(provider):
            told.pop(key_variable(provider), None)
    told |= {variable: str(port) for service in services for variable, port in service.ports.items()}
    told |= {
        "BIND": LOOPBACK,
        "CANDO_AI_STAGE1_PROVIDER": providers.stage1,
        "CANDO_AI_STAGE2_PROVIDER": providers.stage2,
    }
    told |= {
        f"{stage.prefix}_ADDRESS": by_name[stage.name].address for stage in (CONTENT, ENHANCER) if stage.name in by_name
    }
    if OFFLINE_MODEL.name in by_name:
        told["OFFLINE_MODEL_URL"] = f"http://{by_name[OFFLINE_MODEL.name].address}/v1"
    # Where a proxy is set, gRPC and HTTP would ask it for our own ports.
    for name in ("no_proxy", "NO_PROXY"):
        told[name] = ",".join(part for part in (told.get(name, ""), LOOPBACK, "localhost") if part)
    return told

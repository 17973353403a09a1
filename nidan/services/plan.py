"""Plans: which services to start, on which ports, with which environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nidan.errors import MissingKeyError
from nidan.services.ports import LOOPBACK, free_ports, read_port
from nidan.services.service import CONTENT, ENHANCER, GATEWAY, OFFLINE_MODEL, Service
from servicekit.llm.capabilities import Provider, key_variable, preset

_NEED_KEYS = tuple(one for one in Provider if one is not Provider.NONE and preset(one).key == "yes")
_CHOICE = {CONTENT.name: "CANDO_AI_STAGE1_PROVIDER", ENHANCER.name: "CANDO_AI_STAGE2_PROVIDER"}
_ACCESS_VARIABLES = ("TLS_", "GATEWAY_TLS_", "GATEWAY_KEYS_", "GATEWAY_CALLER_", "GATEWAY_ALLOW_", "NIDAN_API_KEY")


@dataclass(frozen=True)
class Providers:
    """The provider of each stage, from the environment or --offline."""

    stage1: str
    stage2: str

    @classmethod
    def chosen(cls, environment: Mapping[str, str], offline: bool) -> Providers:
        """--offline sets both stages. Raises MissingKeyError: a missing key never selects the offline model."""
        if offline:
            return cls(Provider.OFFLINE.value, Provider.OFFLINE.value)
        providers = cls(*(environment.get(f"CANDO_AI_{stage}_PROVIDER") or "openai" for stage in ("STAGE1", "STAGE2")))
        for provider in _NEED_KEYS:
            name = key_variable(provider)
            if providers.uses(provider) and not (environment.get(name) or environment.get(f"{name}_FILE")):
                raise MissingKeyError(provider.value, key_variable(provider))
        return providers

    def uses(self, provider: Provider) -> bool:
        return provider.value in (self.stage1, self.stage2)


@dataclass(frozen=True)
class Plan:
    """The services to start, in order, and their environment."""

    services: tuple[Service, ...]
    environment: Mapping[str, str]

    def environment_of(self, service: Service) -> dict[str, str]:
        """What one service gets: a stage has the key of its own provider, and no other service any key."""
        chosen = self.environment.get(_CHOICE.get(service.name, ""), "")
        others = {name for provider in Provider if provider.value != chosen for name in _key_variables(provider)}
        return {name: value for name, value in self.environment.items() if name not in others | {"NIDAN_API_KEY"}}

    @property
    def gateway(self) -> Service:
        return self.services[-1]


def private_plan(environment: Mapping[str, str], providers: Providers) -> Plan:
    """A trio for one command alone, on ports that are free now."""
    services = _on_free_ports(_wanted(providers))
    return Plan(services, _environment(_without_access(environment), providers, services))


def enhancer_plan(environment: Mapping[str, str], romaji_style: str = "") -> Plan:
    """An enhancer for one command: the analyser alone, without key or model.

    An empty style keeps ROMAJI_STYLE of the environment.
    """
    services = _on_free_ports((ENHANCER,))
    providers = Providers(Provider.NONE.value, Provider.NONE.value)
    variables = _environment(_without_access(environment), providers, services)
    return Plan(services, variables | ({"ROMAJI_STYLE": romaji_style} if romaji_style else {}))


def public_plan(environment: Mapping[str, str], providers: Providers) -> Plan:
    """The trio on the ports that its variables name, else on the defaults. Raises StartError."""
    services = tuple(configured(service, environment) for service in _wanted(providers))
    return Plan(services, _environment(environment, providers, services))


def _key_variables(provider: Provider) -> tuple[str, str]:
    return key_variable(provider), f"{key_variable(provider)}_FILE"


def _without_access(environment: Mapping[str, str]) -> dict[str, str]:
    """Without certificates, keys and limits of callers: these services serve one command on this machine."""
    return {name: value for name, value in environment.items() if not name.startswith(_ACCESS_VARIABLES)}


def _on_free_ports(services: Sequence[Service]) -> tuple[Service, ...]:
    ports = free_ports(len(services))
    return tuple(
        Service(service.name, service.grpc_name, service.prefix, port)
        for service, port in zip(services, ports, strict=True)
    )


def configured(service: Service, environment: Mapping[str, str]) -> Service:
    """The service with the ports that the environment names. Raises StartError for an invalid port."""
    ports = [read_port(variable, environment.get(variable, ""), default) for variable, default in service.ports.items()]
    return Service(service.name, service.grpc_name, service.prefix, *ports)


def _wanted(providers: Providers) -> tuple[Service, ...]:
    model = (OFFLINE_MODEL,) if providers.uses(Provider.OFFLINE) else ()
    return (*model, CONTENT, ENHANCER, GATEWAY)


def _environment(base: Mapping[str, str], providers: Providers, services: tuple[Service, ...]) -> dict[str, str]:
    """The environment of the services. They listen on loopback, and get only the keys that their providers need."""
    by_name = {service.name: service for service in services}
    variables = dict(base)
    for provider in Provider:
        for name in () if providers.uses(provider) else _key_variables(provider):
            variables.pop(name, None)
    variables |= {variable: str(port) for service in services for variable, port in service.ports.items()}
    variables |= {
        "BIND": LOOPBACK,
        "CANDO_AI_STAGE1_PROVIDER": providers.stage1,
        "CANDO_AI_STAGE2_PROVIDER": providers.stage2,
    }
    variables |= {
        f"{stage.prefix}_ADDRESS": by_name[stage.name].address for stage in (CONTENT, ENHANCER) if stage.name in by_name
    }
    if OFFLINE_MODEL.name in by_name:
        variables["OFFLINE_MODEL_URL"] = f"http://{by_name[OFFLINE_MODEL.name].address}/v1"
    # gRPC and HTTP would send calls between the services through a proxy of the environment.
    for name in ("no_proxy", "NO_PROXY"):
        variables[name] = ",".join(part for part in (variables.get(name, ""), LOOPBACK, "localhost") if part)
    return variables

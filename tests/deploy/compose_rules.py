"""What must hold for docker-compose.yml, as rules: each tells its faults in words, none when all is well."""

from __future__ import annotations

import importlib.util
import ipaddress
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from offline_model.__main__ import DRAIN_SECONDS
from tests.deploy.shipped import MODULES, Compose, defaults, health_check, interpolated, seconds

Rule = Callable[[Compose], Iterator[str]]

LONGEST_CALL = {
    "gateway": "LESSON_DEADLINE_SECONDS",
    "content": "AI_STAGE1_TIMEOUT_SECONDS",
    "enhancer": "AI_STAGE2_TIMEOUT_SECONDS",
}

KEYS = {"OPENAI_API_KEY", "GEMINI_API_KEY", "LLAMACPP_API_KEY", "VLLM_API_KEY"}
PUBLISHED = {"gateway": "50050", "grafana": "3000"}
FIXED = re.compile(r"[A-Z_]+_PORT")
"""Settings that a container has no use for: nothing else in it wants the port."""


def port(service: str, kind: str = "PORT") -> str:
    """The default that the code has for a service's port."""
    prefix = service.upper().replace("-", "_")
    return defaults(MODULES[service])[f"{prefix}_{kind}"]


def runs_real_modules(compose: Compose) -> Iterator[str]:
    for name, service in compose.services.items():
        module = service["command"][-1]
        if service["command"] != ["python", "-m", module] or module != MODULES.get(name):
            yield f"{name} runs {service['command']}, not its module"
        elif importlib.util.find_spec(f"{module}.__main__") is None:
            yield f"{name} runs {module}, which cannot be run"


def sets_only_what_is_read(compose: Compose) -> Iterator[str]:
    for name, service in compose.services.items():
        read = defaults(MODULES[name]).keys() | ({"NO_PROXY"} if name in {"content", "enhancer"} else set())
        for variable in sorted(service["environment"].keys() - read):
            yield f"{name} is given {variable}, which it does not read"


def passes_every_setting(compose: Compose) -> Iterator[str]:
    for name, service in compose.services.items():
        for variable in sorted(defaults(MODULES[name]).keys() - service["environment"].keys()):
            if not FIXED.fullmatch(variable):
                yield f"{name} reads {variable}, which .env cannot set"


def passes_variables_under_their_own_names(compose: Compose) -> Iterator[str]:
    for name, service in compose.services.items():
        for variable, value in service["environment"].items():
            if interpolated(str(value)) not in ([], [variable]):
                yield f"{name}: {variable} is taken from {interpolated(str(value))}"


def agrees_on_what_services_share(compose: Compose) -> Iterator[str]:
    """Gateway and stage must hold the same provider, however .env is written."""
    told: dict[str, str] = {}
    for name, service in compose.services.items():
        for variable, value in service["environment"].items():
            if told.setdefault(variable, str(value)) != str(value):
                yield f"{name} is given another {variable} than the service before it"


def uses_the_ports_of_the_settings(compose: Compose) -> Iterator[str]:
    gateway = compose.services["gateway"]["environment"]
    expected = {
        "CONTENT_ADDRESS": f"content:{port('content')}",
        "ENHANCER_ADDRESS": f"enhancer:{port('enhancer')}",
    }
    for variable, address in expected.items():
        if gateway[variable] != address:
            yield f"gateway: {variable} is {gateway[variable]}, not {address}"
    for name in LONGEST_CALL:
        environment, check = compose.services[name]["environment"], compose.services[name]["healthcheck"]["test"]
        if check[-1] != port(name, "HEALTH_PORT"):
            yield f"{name}: its health check asks port {check[-1]}"
        url = urlsplit(environment.get("OFFLINE_MODEL_URL", f"http://offline-model:{port('offline-model')}/v1"))
        if (url.hostname, str(url.port)) != ("offline-model", port("offline-model")):
            yield f"{name}: OFFLINE_MODEL_URL is {url.geturl()}"
    if compose.services["offline-model"]["healthcheck"]["test"][-1] != port("offline-model"):
        yield "offline-model: its health check asks another port"


def listens_where_other_containers_reach_it(compose: Compose) -> Iterator[str]:
    for name, service in compose.services.items():
        if service["environment"].get("BIND") != "0.0.0.0":
            yield f"{name}: BIND is not 0.0.0.0"


def publishes_only_gateway_and_grafana_and_only_on_loopback(compose: Compose) -> Iterator[str]:
    for name, service in compose.every.items():
        for published in service.get("ports", []):
            parts = re.fullmatch(r"(?P<address>[\d.]+):\d+:(?P<target>\d+)", str(published))
            if parts is None or not ipaddress.ip_address(parts["address"]).is_loopback:
                yield f"{name}: {published} is not bound to loopback"
            elif parts["target"] != PUBLISHED.get(name):
                yield f"{name}: {published} is published"
        if service.get("network_mode"):
            yield f"{name}: network_mode"
        if name in PUBLISHED and not service.get("ports"):
            yield f"{name}: nothing is published"


def asks_health_in_words_without_spaces(compose: Compose) -> Iterator[str]:
    """Podman's Docker-compatible socket joins the words of a check and cuts them again at every space."""
    for name, service in compose.every.items():
        words = service["healthcheck"]["test"]
        if words[0] != "CMD" or any(len(str(word).split()) != 1 for word in words):
            yield f"{name}: {words}"


def waits_for_health(compose: Compose) -> Iterator[str]:
    for name, service in compose.every.items():
        for other, how in service.get("depends_on", {}).items():
            if other not in compose.every:
                yield f"{name} depends on {other}, which is no service"
                continue
            if how.get("condition") != "service_healthy":
                yield f"{name} does not wait for the health of {other}"
            if how.get("required", True) == bool(compose.every[other].get("profiles")):
                yield f"{name}: {other} must be required unless a profile may leave it out"
    if {"content", "enhancer"} - compose.services["gateway"].get("depends_on", {}).keys():
        yield "gateway does not wait for both stages"


def checks_health_as_the_image_does(compose: Compose) -> Iterator[str]:
    options, command = health_check()
    for name, service in compose.every.items():
        check = service["healthcheck"]
        told = {key.replace("_", "-"): str(value) for key, value in check.items() if key != "test"}
        if told != options:
            yield f"{name}: health check at {told}, the image's at {options}"
        if name in LONGEST_CALL and check["test"][:-1] != ["CMD", *command[:-1]]:
            yield f"{name}: another health check than the image's"


def stops_later_than_the_longest_call(compose: Compose) -> Iterator[str]:
    for name, service in compose.services.items():
        read = defaults(MODULES[name])
        longest = float(read[LONGEST_CALL[name]]) if name in LONGEST_CALL else DRAIN_SECONDS
        longest += float(read.get("SHUTDOWN_DELAY_SECONDS", "0"))
        if seconds(service["stop_grace_period"]) < longest + 5:
            yield f"{name}: killed after {service['stop_grace_period']}, and a call may take {longest:g} s"


def is_hardened(compose: Compose) -> Iterator[str]:
    for name, service in compose.every.items():
        kept = {
            "read_only": service.get("read_only") is True,
            "tmpfs": [entry.split(":")[0] for entry in service.get("tmpfs", [])] == ["/tmp"],  # noqa: S108
            "cap_drop": service.get("cap_drop") == ["ALL"] and "cap_add" not in service,
            "security_opt": service.get("security_opt") == ["no-new-privileges:true"],
            "pids": 0 < service.get("deploy", {}).get("resources", {}).get("limits", {}).get("pids", 0) <= 500,
            "privileged": not service.get("privileged"),
            "memory": bool(service.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory")),
            "restart": service.get("restart") == "unless-stopped",
        }
        yield from (f"{name}: {key}" for key, holds in kept.items() if not holds)


def keeps_stages_and_metrics_on_internal_networks(compose: Compose) -> Iterator[str]:
    """Only the gateway and what watches share a network with a stage, and none of those leads outside."""
    internal = {name for name, told in compose.networks.items() if told.get("internal")}
    for name, service in compose.every.items():
        shared = set(service.get("networks", ["default"]))
        yield from (f"{name}: {network} is not declared" for network in sorted(shared - compose.networks.keys()))
        for other, its in compose.every.items():
            common = shared & set(its.get("networks", ["default"]))
            stage = name in {"content", "enhancer"} and other not in {"content", "enhancer"}
            if stage and common - internal:
                yield f"{other} shares {sorted(common - internal)} with {name}"
            if stage and common and other not in {"gateway", "offline-model", "prometheus"}:
                yield f"{other} reaches {name}"


def gives_the_key_only_to_the_stages(compose: Compose) -> Iterator[str]:
    for name, service in compose.services.items():
        held = KEYS & service["environment"].keys()
        if held != (KEYS if name in {"content", "enhancer"} else set()):
            yield f"{name} is given {sorted(held)}"
        if "env_file" in service:
            yield f"{name}: env_file hands over everything in it"


def mounts_what_is_shipped_and_lets_nothing_write_to_it(compose: Compose) -> Iterator[str]:
    volumes = re.compile(r"(?P<source>[^:]+):(?P<target>/[^:]+)(?P<mode>:ro)?")
    for name, service in compose.every.items():
        for told in service.get("volumes", []):
            parts = volumes.fullmatch(told)
            if parts is None or parts["source"].startswith(".") != bool(parts["mode"]):
                yield f"{name}: {told} is neither a folder from here, read-only, nor a named volume"
            elif parts["mode"] and not parts["source"].startswith("./deploy/"):
                yield f"{name}: {told} is not from deploy/"


def pins_the_images_of_others(compose: Compose) -> Iterator[str]:
    for name, service in compose.others.items():
        if not re.fullmatch(r"docker\.io/[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", str(service.get("image"))):
            yield f"{name}: {service.get('image')} is not one version"


def lets_nobody_into_grafana_without_a_password_of_their_own(compose: Compose) -> Iterator[str]:
    told = compose.others["grafana"]["environment"]
    wanted = {
        "GF_SECURITY_ADMIN_PASSWORD": "${GRAFANA_ADMIN_PASSWORD:-}",
        "GF_AUTH_ANONYMOUS_ENABLED": "false",
        "GF_USERS_ALLOW_SIGN_UP": "false",
    }
    yield from (f"grafana: {name} is {told.get(name)}" for name, value in wanted.items() if told.get(name) != value)


RULES: tuple[Rule, ...] = (
    runs_real_modules,
    sets_only_what_is_read,
    passes_every_setting,
    passes_variables_under_their_own_names,
    agrees_on_what_services_share,
    uses_the_ports_of_the_settings,
    listens_where_other_containers_reach_it,
    publishes_only_gateway_and_grafana_and_only_on_loopback,
    waits_for_health,
    asks_health_in_words_without_spaces,
    checks_health_as_the_image_does,
    stops_later_than_the_longest_call,
    is_hardened,
    gives_the_key_only_to_the_stages,
    keeps_stages_and_metrics_on_internal_networks,
    mounts_what_is_shipped_and_lets_nothing_write_to_it,
    pins_the_images_of_others,
    lets_nobody_into_grafana_without_a_password_of_their_own,
)

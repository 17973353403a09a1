"""docker-compose.yml and .env.example, held to the code without a Docker engine."""

from __future__ import annotations

import os

import pytest

from offline_model.settings import Settings as OfflineSettings
from servicekit.settings import SettingsError, load
from tests.deploy import compose_rules as rules
from tests.deploy.shipped import (
    COMPOSE,
    COMPOSES_OWN,
    ENV_EXAMPLE,
    MODULES,
    Compose,
    assignments,
    defaults,
    settings_class,
)
from tests.deploy.shipped import suggestions as commented

TEXT = COMPOSE.read_text(encoding="utf-8")
SHIPPED = Compose.of(TEXT)
EXAMPLE = ENV_EXAMPLE.read_text(encoding="utf-8")

BREAKAGES: tuple[tuple[rules.Rule, str, str], ...] = (
    (rules.runs_real_modules, "-m, content_service]", "-m, content]"),
    (rules.runs_real_modules, "[python, -m, gateway]", "python -m gateway"),
    (rules.sets_only_what_is_read, "ROMAJI_STYLE: ${ROMAJI_STYLE:-}", "ROMANJI_STYLE: ${ROMAJI_STYLE:-}"),
    (rules.sets_only_what_is_read, "STAGE2_RESERVE_SECONDS:", "STAGE2_RESERVE:"),
    (rules.passes_every_setting, "      CATALOGUE_FILE: ${CATALOGUE_FILE:-}\n", ""),
    (rules.passes_every_setting, "      VLLM_API_KEY: ${VLLM_API_KEY:-}\n", ""),
    (rules.passes_variables_under_their_own_names, "${STAGE2_RESERVE_SECONDS:-}", "${RESERVE:-}"),
    (
        rules.agrees_on_what_services_share,
        "${CANDO_AI_STAGE1_PROVIDER:-offline}",
        "${CANDO_AI_STAGE1_PROVIDER:-openai}",
    ),
    (rules.uses_the_ports_of_the_settings, "content:50051", "content:50052"),
    (rules.uses_the_ports_of_the_settings, "enhancer:50052", "enhancer_service:50052"),
    (rules.uses_the_ports_of_the_settings, 'servicekit.probe, "50061"', 'servicekit.probe, "50051"'),
    (rules.uses_the_ports_of_the_settings, "http://offline-model:50080", "http://offline:50080"),
    (rules.uses_the_ports_of_the_settings, 'offline_model.probe, "50080"', 'offline_model.probe, "8080"'),
    (rules.asks_health_in_words_without_spaces, 'offline_model.probe, "50080"', '"-c", "import offline_model"'),
    (rules.asks_health_in_words_without_spaces, "test: [CMD, wget", "test: [CMD-SHELL, wget"),
    (rules.listens_where_other_containers_reach_it, "BIND: 0.0.0.0", "BIND: 127.0.0.1"),
    (rules.publishes_only_gateway_and_grafana_and_only_on_loopback, "127.0.0.1:50050:50050", "0.0.0.0:50050:50050"),
    (rules.publishes_only_gateway_and_grafana_and_only_on_loopback, "127.0.0.1:50050:50050", "50050:50050"),
    (rules.publishes_only_gateway_and_grafana_and_only_on_loopback, "127.0.0.1:50050:50050", "127.0.0.1:50050:50060"),
    (rules.publishes_only_gateway_and_grafana_and_only_on_loopback, "127.0.0.1:3000:3000", "3000:3000"),
    (
        rules.publishes_only_gateway_and_grafana_and_only_on_loopback,
        "- --cluster.listen-address=",
        "- x\n    ports: ['127.0.0.1:9093:9093']",
    ),
    (rules.waits_for_health, "enhancer: {condition", "enhancerr: {condition"),
    (rules.waits_for_health, "content: {condition: service_healthy}", "content: {condition: service_started}"),
    (rules.waits_for_health, ", required: false}", "}"),
    (rules.waits_for_health, "prometheus: {condition: service_healthy}", "prometheus: {condition: service_started}"),
    (rules.checks_health_as_the_image_does, "servicekit.probe", "servicekit.server"),
    (rules.checks_health_as_the_image_does, "interval: 5s", "interval: 60s"),
    (rules.stops_later_than_the_longest_call, "stop_grace_period: 330s", "stop_grace_period: 300s"),
    (rules.stops_later_than_the_longest_call, "stop_grace_period: 210s", "stop_grace_period: 90s"),
    (rules.stops_later_than_the_longest_call, "stop_grace_period: 90s", "stop_grace_period: 60s"),
    (rules.stops_later_than_the_longest_call, "stop_grace_period: 15s", "stop_grace_period: 8s"),
    (rules.is_hardened, "read_only: true", "read_only: false"),
    (rules.is_hardened, "cap_drop: [ALL]", "cap_drop: [NET_RAW]"),
    (rules.is_hardened, '"no-new-privileges:true"', '"no-new-privileges:false"'),
    (rules.is_hardened, "memory: 768M", "cpus: 1"),
    (rules.is_hardened, ", pids: 200", ""),
    (rules.keeps_stages_and_metrics_on_internal_networks, "stages: {internal: true}", "stages: {}"),
    (rules.keeps_stages_and_metrics_on_internal_networks, "networks: [alerts, people]", "networks: [people, watched]"),
    (rules.keeps_stages_and_metrics_on_internal_networks, "networks: [stages]", "networks: [stage]"),
    (rules.is_hardened, "restart: unless-stopped", "restart: always"),
    (rules.gives_the_key_only_to_the_stages, "CONTENT_ADDRESS: content:50051", "OPENAI_API_KEY: x"),
    (rules.gives_the_key_only_to_the_stages, "CONTENT_ADDRESS: content:50051", "VLLM_API_KEY: x"),
    (rules.gives_the_key_only_to_the_stages, "profiles: [offline]", "env_file: .env"),
    (rules.is_hardened, "- prometheus-data:/prometheus", "- prometheus-data:/prometheus\n    read_only: false"),
    (rules.mounts_what_is_shipped_and_lets_nothing_write_to_it, "deploy/compose/gateway:/etc/nidan:ro", "x:/etc:ro"),
    (rules.mounts_what_is_shipped_and_lets_nothing_write_to_it, "/etc/prometheus:ro", "/etc/prometheus"),
    (rules.mounts_what_is_shipped_and_lets_nothing_write_to_it, "./deploy/grafana/dashboards", "/srv/dashboards"),
    (rules.pins_the_images_of_others, "grafana/grafana:12.4.0", "grafana/grafana:latest"),
    (rules.pins_the_images_of_others, "prom/prometheus:v2.53.3", "prom/prometheus:v2"),
    (
        rules.lets_nobody_into_grafana_without_a_password_of_their_own,
        'GF_AUTH_ANONYMOUS_ENABLED: "false"',
        'GF_AUTH_ANONYMOUS_ENABLED: "true"',
    ),
    (
        rules.lets_nobody_into_grafana_without_a_password_of_their_own,
        "${GRAFANA_ADMIN_PASSWORD:-}",
        "${GRAFANA_ADMIN_PASSWORD:-admin}",
    ),
)


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_the_shipped_compose_file(rule: rules.Rule) -> None:
    assert list(rule(SHIPPED)) == []


@pytest.mark.parametrize(("rule", "right", "wrong"), BREAKAGES)
def test_a_broken_compose_file_is_caught(rule: rules.Rule, right: str, wrong: str) -> None:
    assert right in TEXT
    assert list(rule(Compose.of(TEXT.replace(right, wrong, 1)))) != []


def test_every_rule_has_been_seen_to_catch_something() -> None:
    assert {rule for rule, _, _ in BREAKAGES} == set(rules.RULES)


# --- .env.example ---------------------------------------------------------------------------------------------


def test_every_line_of_the_example_reaches_every_service_that_reads_it() -> None:
    for name in (assignments(EXAMPLE) | commented(EXAMPLE)).keys() - COMPOSES_OWN.keys():
        readers = [service for service, module in MODULES.items() if name in defaults(module)]
        assert readers, f"{name} is read by no service"
        for service in readers:
            told = SHIPPED.environment(service, {name: "as told"})
            assert told.get(name) == "as told", f"{service} does not get {name}"


def test_every_variable_that_compose_takes_is_in_the_example() -> None:
    every = {name: "as told" for module in MODULES.values() for name in defaults(module)}
    taken = {
        name for service in MODULES for name, value in SHIPPED.environment(service, every).items() if value == "as told"
    }
    assert taken == (assignments(EXAMPLE) | commented(EXAMPLE)).keys() - COMPOSES_OWN.keys()


def test_the_defaults_that_the_example_shows_are_those_of_the_code() -> None:
    known = {name: value for module in MODULES.values() for name, value in defaults(module).items()}
    told = commented(EXAMPLE)
    assert told == {name: known[name] for name in told}


def test_the_example_starts_the_offline_model_that_its_providers_name() -> None:
    given = assignments(EXAMPLE)
    assert SHIPPED.services["offline-model"]["profiles"] == [given["COMPOSE_PROFILES"]] == ["offline"]
    assert (given["CANDO_AI_STAGE1_PROVIDER"], given["CANDO_AI_STAGE2_PROVIDER"]) == ("offline", "offline")
    assert given["OPENAI_API_KEY"] == ""


def test_only_the_example_with_the_offline_model_lets_callers_in_without_a_key() -> None:
    assert assignments(EXAMPLE)["GATEWAY_ALLOW_ANONYMOUS"] == "true"
    assert SHIPPED.environment("gateway", {})["GATEWAY_ALLOW_ANONYMOUS"] == ""


def test_the_example_holds_no_secret() -> None:
    secret = {name: value for name, value in assignments(EXAMPLE).items() if name.endswith(("_KEY", "_PASSWORD"))}
    assert len(secret) == 5
    assert set(secret.values()) == {""}


# --- what the containers get ----------------------------------------------------------------------------------

OPEN = {"GATEWAY_ALLOW_ANONYMOUS": "true"}
REAL_KEY = {"CANDO_AI_STAGE1_PROVIDER": "openai", "CANDO_AI_STAGE2_PROVIDER": "none", "OPENAI_API_KEY": "sk-x"} | OPEN


def environ(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """The process's environment for the time of a test: `environment`, and no other variable that a service reads."""
    for name in {name for module in MODULES.values() for name in defaults(module)} & os.environ.keys():
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("service", ["gateway", "content", "enhancer"])
@pytest.mark.parametrize(
    ("given", "stage1", "stage2"),
    [(OPEN, "offline", "offline"), (assignments(EXAMPLE), "offline", "offline"), (REAL_KEY, "openai", "none")],
    ids=["with the least", "with the example", "with a real key"],
)
def test_a_service_starts_with_the_settings_that_compose_gives_it(
    monkeypatch: pytest.MonkeyPatch, service: str, given: dict[str, str], stage1: str, stage2: str
) -> None:
    environ(monkeypatch, SHIPPED.environment(service, given))
    settings = load(settings_class(MODULES[service])).model_dump()
    assert settings["bind"] == "0.0.0.0"
    assert settings.get("cando_ai_stage1_provider", stage1) == stage1
    assert settings.get("cando_ai_stage2_provider", stage2) == stage2


def test_without_a_word_on_who_may_call_the_gateway_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    environ(monkeypatch, SHIPPED.environment("gateway", {}))
    with pytest.raises(SettingsError, match=r"GATEWAY_KEYS_FILE .* GATEWAY_ALLOW_ANONYMOUS=true"):
        load(settings_class("gateway"))


@pytest.mark.parametrize("service", ["gateway", "content", "enhancer"])
def test_every_suggestion_of_the_example_is_a_value_that_the_services_accept(
    monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    environ(monkeypatch, SHIPPED.environment(service, assignments(EXAMPLE) | commented(EXAMPLE)))
    assert load(settings_class(MODULES[service])).bind == "0.0.0.0"


def test_the_offline_model_starts_with_what_compose_gives_it() -> None:
    settings = OfflineSettings.from_environment(SHIPPED.environment("offline-model", {}))
    assert (settings.bind, settings.port) == ("0.0.0.0", 50080)

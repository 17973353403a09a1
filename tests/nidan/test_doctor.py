"""`nidan doctor`: each check by its function, with the day given, and the whole as a process."""

from __future__ import annotations

import json
import socket
from datetime import date, timedelta

import pytest

from nidan.checks.finding import Finding
from nidan.checks.machine import port_finding, python_version
from nidan.checks.providers import chain_findings, effort_findings, key_findings
from nidan.services.ports import free_ports
from nidan.services.service import CONTENT, GATEWAY, Service
from nidan.services.supervisor import Trio
from servicekit.llm.capabilities import Provider, capabilities
from tests.nidan.command import nidan, nidan_process

_GPT_5_ENDS = capabilities(Provider.OPENAI, "gpt-5").shutdown
assert _GPT_5_ENDS is not None


def _chain(days_before: int, *models: str) -> list[Finding]:
    assert _GPT_5_ENDS is not None
    return list(chain_findings(1, Provider.OPENAI, models, _GPT_5_ENDS - timedelta(days=days_before)))


@pytest.mark.parametrize(
    ("days_before", "state"),
    [(400, "ok"), (60, "ok"), (59, "warn"), (7, "warn"), (6, "fail"), (0, "fail"), (-30, "fail")],
)
def test_a_model_near_its_end_is_reported_with_its_successor(days_before: int, state: str) -> None:
    (finding,) = _chain(days_before, "gpt-5", "gpt-6.1-sol")
    assert finding.state == state
    if state != "ok":
        assert "gpt-5 end" in finding.message
        assert "CANDO_AI_STAGE1_MODEL" in finding.next_step
        assert "gpt-6.1-sol" in finding.next_step


def test_a_chain_that_ends_on_one_day_is_a_warning_however_far_the_day_is() -> None:
    (finding,) = chain_findings(2, Provider.OPENAI, ("gpt-4.1", "gpt-4o-mini"), date(2026, 1, 1))
    assert finding.state == "warn"
    assert "all end on 2027-01-14" in finding.message
    assert "CANDO_AI_STAGE2_FALLBACK_MODELS" in finding.next_step


def test_a_model_that_does_not_take_the_effort_is_named_with_the_one_it_is_sent() -> None:
    (finding,) = effort_findings(1, Provider.OPENAI, ("gpt-5", "gpt-4o", "gpt-6.1-sol"), "minimal")
    assert (finding.state, finding.message) == ("warn", "gpt-6.1-sol does not take minimal: low is sent")
    assert "AI_STAGE1_REASONING_EFFORT" in finding.next_step
    assert not list(effort_findings(1, Provider.OPENAI, ("gpt-5", "gpt-4o", "gpt-6.1-sol"), "low"))


def test_models_without_end_and_no_models_at_all_are_fine() -> None:
    for models in (("nidan-offline",), ()):
        (finding,) = chain_findings(2, Provider.OFFLINE, models, date(2030, 1, 1))
        assert finding.state == "ok"


def test_a_missing_key_fails_for_a_chosen_provider_and_warns_for_the_default() -> None:
    chosen = {"CANDO_AI_STAGE1_PROVIDER": "openai"}
    for environment, state in ((chosen, "fail"), ({}, "warn"), (chosen | {"OPENAI_API_KEY": "sk-x"}, "ok")):
        key, _ = key_findings([Provider.OPENAI, Provider.OFFLINE], environment)
        assert key.state == state
    (unneeded,) = key_findings([Provider.OFFLINE, Provider.NONE], {})
    assert unneeded.state == "ok"


def test_secrets_are_never_shown() -> None:
    environment = {
        "OPENAI_API_KEY": "sk-secret ",
        "OPENAI_BASE_URL": "https://me:sk-secret@proxy.example:8443/v1?k=sk-secret",
    }
    findings = list(key_findings([Provider.OPENAI], environment))
    assert "sk-secret" not in repr(findings)
    assert [finding.state for finding in findings] == ["fail", "fail"]
    assert "a user name or a password" in findings[1].message


@pytest.mark.parametrize("url", ["api.openai.com/v1", "ftp://x/v1", "http://", "https://x:port/v1"])
def test_a_base_url_that_is_no_http_address_fails(url: str) -> None:
    _, finding = key_findings([Provider.OPENAI], {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": url})
    assert finding.state == "fail"


def test_ports_are_free_or_ours_or_named(trio: Trio) -> None:
    free, *others = free_ports(3)
    variables = {"CONTENT_HEALTH_PORT": str(others[0]), "CONTENT_METRICS_PORT": str(others[1])}
    assert port_finding(CONTENT, variables | {"CONTENT_PORT": str(free)}).state == "ok"
    with socket.create_server(("127.0.0.1", 0)) as alien:
        port = alien.getsockname()[1]
        taken = port_finding(CONTENT, variables | {"CONTENT_PORT": str(port)})
    assert taken.state == "warn"
    assert f"{port} (CONTENT_PORT)" in taken.message
    ours = port_finding(Service("gateway", GATEWAY.grpc_name, "GATEWAY", trio.plan.gateway.port, *others), {})
    assert (ours.state, "is serving" in ours.message) == ("ok", True)


def test_an_old_python_is_a_fail() -> None:
    assert [python_version(version).state for version in ((3, 10), (3, 11), (3, 13), (3, 14))] == [
        "fail",
        "ok",
        "ok",
        "fail",
    ]


def test_doctor_passes_offline_and_names_the_dictionary() -> None:
    offline = {"CANDO_AI_STAGE1_PROVIDER": "offline", "CANDO_AI_STAGE2_PROVIDER": "offline"}
    done = nidan_process("doctor", "--json", "--today", "2040-01-01", **offline)
    assert done.returncode == 0, done.stdout
    told = json.loads(done.stdout)
    by_name = {check["name"]: check for check in told["checks"]}
    assert told["ok"] is True
    assert "sudachidict_core" in by_name["dictionary"]["message"]
    assert by_name["dictionary"]["state"] == "ok"


def test_wrong_settings_give_the_services_message_and_status_1() -> None:
    done = nidan("doctor", LESSON_DEADLINE_SECONDS="63", ROMAJI_STYLE="hepburn")
    assert done.returncode == 1
    shown = " ".join(done.stdout.split())
    assert "LESSON_DEADLINE_SECONDS is 63" in shown
    assert "ROMAJI_STYLE" in shown


def test_the_command_judges_the_chains_and_efforts_of_the_settings() -> None:
    assert _GPT_5_ENDS is not None
    done = nidan("doctor", "--json", "--today", _GPT_5_ENDS.isoformat(), AI_STAGE2_REASONING_EFFORT="none")
    assert done.returncode == 1
    checks = json.loads(done.stdout)["checks"]
    assert any(check["state"] == "fail" and "gpt-5" in check["message"] for check in checks)
    (effort,) = (check for check in checks if check["name"] == "Stage 2 effort")
    assert effort["message"] == "gpt-6.1-sol does not take none: low is sent"

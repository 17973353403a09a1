"""`nidan models`: chains, prices, end dates, and the line to set, with the day given."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest

from nidan.checks.chains import advice, chain, economical
from tests.nidan.command import nidan, nidan_process

SETTINGS = {
    "cando_ai_stage1_provider": "openai",
    "stage1_models": ["gpt-5", "gpt-4o", "gpt-6.1-sol"],
    "cando_ai_stage2_provider": "openai",
    "stage2_models": ["gpt-4.1", "gpt-4o-mini", "my-own"],
}
GPT_5_ENDS = date(2026, 12, 11)
TODAY = date(2026, 11, 25)


def test_a_chain_is_listed_in_order_with_prices_ends_and_successors() -> None:
    first, second, third = chain(1, SETTINGS, GPT_5_ENDS - timedelta(days=7))
    assert (first.model, first.input_usd, first.cached_usd, first.output_usd) == ("gpt-5", 1.25, 0.125, 10.0)
    assert (first.ends, first.days_left, first.successor) == ("2026-12-11", 7, "gpt-6.1-sol")
    assert (second.ends, second.successor) == ("2027-01-14", "gpt-6-luna")
    assert (third.ends, third.days_left) == (None, None)
    assert (third.input_usd, third.output_usd) == (2.0, 10.0)
    *_, unknown = chain(2, SETTINGS, GPT_5_ENDS)
    assert (unknown.model, unknown.input_usd, unknown.output_usd) == ("my-own", None, None)


@pytest.mark.parametrize(
    ("days", "line"),
    [
        (-61, ""),
        (-60, "CANDO_AI_STAGE1_MODEL=gpt-6.1-sol CANDO_AI_STAGE1_FALLBACK_MODELS=gpt-4o"),
        (1, "CANDO_AI_STAGE1_MODEL=gpt-6.1-sol CANDO_AI_STAGE1_FALLBACK_MODELS=gpt-6-luna"),
        (365, "CANDO_AI_STAGE1_MODEL=gpt-6.1-sol CANDO_AI_STAGE1_FALLBACK_MODELS=gpt-6-luna"),
    ],
)
def test_the_line_to_set_replaces_what_ends_within_sixty_days(days: int, line: str) -> None:
    assert advice(1, list(chain(1, SETTINGS, GPT_5_ENDS + timedelta(days=days)))) == line


def test_a_chain_of_one_model_is_set_without_falling_back_on_the_defaults() -> None:
    listed = list(chain(2, SETTINGS | {"stage2_models": ["gpt-4.1", "gpt-4o-mini"]}, date(2027, 1, 14)))
    assert advice(2, listed) == "CANDO_AI_STAGE2_MODEL=gpt-6-luna CANDO_AI_STAGE2_FALLBACK_MODELS=gpt-6-luna"


def test_the_economical_line_puts_the_cheapest_model_first_and_keeps_the_rest() -> None:
    chain_of = SETTINGS | {"stage2_models": ["gpt-4.1", "gpt-4o-mini", "gpt-6-luna", "gpt-6.1-sol"]}
    line = "CANDO_AI_STAGE2_MODEL=gpt-6-luna CANDO_AI_STAGE2_FALLBACK_MODELS=gpt-4.1,gpt-4o-mini,gpt-6.1-sol"
    assert economical(list(chain(2, chain_of, TODAY)), TODAY) == line
    # What has ended is left out; a chain that begins with the cheapest needs no line.
    assert economical(list(chain(2, chain_of, date(2027, 2, 1))), date(2027, 2, 1)) == ""
    assert economical(list(chain(2, SETTINGS | {"stage2_models": []}, TODAY)), TODAY) == ""


def test_the_command_prints_the_economical_chain_of_the_default_settings() -> None:
    line = "CANDO_AI_STAGE2_MODEL=gpt-6-luna CANDO_AI_STAGE2_FALLBACK_MODELS=gpt-4.1,gpt-4o-mini,gpt-6.1-sol"
    assert f"  {line}\n" in nidan("models", "--today", TODAY.isoformat()).stdout
    assert json.loads(nidan("models", "--json", "--today", TODAY.isoformat()).stdout)["economical"] == line


def test_the_command_prints_the_settings_as_they_are_here() -> None:
    done = nidan_process("models", "--json", "--today", "2026-12-12", CANDO_AI_STAGE1_FALLBACK_MODELS="gpt-4o")
    told = json.loads(done.stdout)
    assert [entry["model"] for entry in told["models"] if entry["stage"] == 1] == ["gpt-5", "gpt-4o"]
    assert told["set"][0].startswith("CANDO_AI_STAGE1_MODEL=gpt-6.1-sol ")
    assert done.returncode == 0


def test_a_chain_with_nothing_left_fails_the_command() -> None:
    done = nidan("models", "--today", "2027-02-01", **ENDED)
    assert done.returncode == 1
    assert "ended" in done.stdout


def test_the_offline_provider_has_no_dates() -> None:
    done = nidan("models", "--json", "--today", "2036-01-01", **OFFLINE)
    assert [(entry["model"], entry["ends"]) for entry in json.loads(done.stdout)["models"]] == [
        ("nidan-offline", None),
        ("nidan-offline", None),
    ]
    assert done.returncode == 0


ENDED = {"CANDO_AI_STAGE2_MODEL": "gpt-4.1", "CANDO_AI_STAGE2_FALLBACK_MODELS": "gpt-4o-mini"}
OFFLINE = {"CANDO_AI_STAGE1_PROVIDER": "offline", "CANDO_AI_STAGE2_PROVIDER": "offline"}


def test_wrong_settings_are_reported() -> None:
    done = nidan("models", LESSON_DEADLINE_SECONDS="1")
    assert done.returncode == 1
    assert "LESSON_DEADLINE_SECONDS" in done.stdout

"""The catalogue that comes with the package: whole, our own, and true about what the offline model can do."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from gateway.catalogue.entries import Catalogue, normalised
from lesson.models import Level
from lesson.script import has_japanese
from offline_model.bank import load_bank

CATALOGUE = Catalogue.shipped()
LEVELS = (Level.A1, Level.A2, Level.B1, Level.B2)


def test_fifteen_topics_have_one_entry_at_each_of_four_levels() -> None:
    assert len({entry.topic for entry in CATALOGUE.entries}) == 15
    places = Counter((entry.topic, entry.level) for entry in CATALOGUE.entries)
    assert places == {(topic, level): 1 for topic, _ in places for level in LEVELS}
    assert len(CATALOGUE.entries) == 60


def test_a_topic_has_one_name_in_each_language() -> None:
    names = {(entry.topic, entry.topic_en) for entry in CATALOGUE.entries}
    assert len(names) == len({topic for topic, _ in names}) == len({english for _, english in names}) == 15


def test_no_two_ids_are_the_same_however_they_are_spelt() -> None:
    ids = [normalised(can_do_id) for entry in CATALOGUE.entries for can_do_id in entry.ids]
    assert len(set(ids)) == len(ids) >= 60


def test_every_entry_is_a_can_do_in_both_languages() -> None:
    for entry in CATALOGUE.entries:
        assert re.fullmatch(r"Can .+\.", entry.text_en), entry
        assert entry.text_ja.endswith("。"), entry
        assert has_japanese(entry.text_ja), entry
        assert not has_japanese(entry.text_en), entry
        assert entry.activity in ("reception", "production", "interaction"), entry


def test_no_number_of_a_published_list_is_an_id_but_the_one_that_documents_use() -> None:
    numbered = [name for entry in CATALOGUE.entries for name in entry.ids if re.search(r":\d+$", name)]
    assert numbered == ["JF:349", "JFまるごと:349"]


def test_offline_is_said_of_exactly_what_the_offline_model_has_a_lesson_for() -> None:
    bank = load_bank()
    known = {name for lesson in bank.lessons for name in (lesson.can_do_id, *lesson.aliases)}
    marked = [entry for entry in CATALOGUE.entries if entry.offline]
    assert len(marked) == len(bank.lessons)
    assert known <= {name for entry in marked for name in entry.ids}
    for entry in marked:
        lesson = bank.lesson(entry.ids[0])  # the id that the gateway's brief has
        assert lesson is not None, entry
        assert (lesson.topic, lesson.level) == (entry.topic, entry.level)


@pytest.mark.parametrize(
    ("asked", "near", "known_form"),
    [
        ("JF:350", ["JF:349"], True),
        ("ｊｆ： 9999", ["JF:349"], True),
        ("CEFR:12", None, True),
        ("JF生活日本語:5", None, True),
        ("nidan:food-a9-1", ["nidan:food-a1-1", "nidan:food-a2-1"], False),
        ("SCHOOL:7", None, False),
        ("", None, False),
        ("JF:", ["JF:349"], False),
    ],
)
def test_an_unknown_id_has_neighbours_or_else_examples(asked: str, near: list[str] | None, known_form: bool) -> None:
    unknown = CATALOGUE.unknown(asked)
    names = [name for name, _ in unknown.others]
    assert unknown.known_form is known_form
    assert unknown.near is (near is not None)
    assert names[: len(near or [])] == (near or [])
    assert 1 <= len(names) <= 5
    assert all(CATALOGUE.find(name) is entry for name, entry in unknown.others)
    assert ("import the list" in unknown.message) is known_form
    assert ("Nearest: " if near else "For example: JF:349 (食生活, A1)") in unknown.message

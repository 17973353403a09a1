"""Models and messages say the same: field by field, value by value, both ways."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from lesson import models, wire
from lesson.fields import fields
from lesson.models import (
    Brief,
    Character,
    Content,
    EnhancedSection,
    Item,
    ItemKind,
    Lesson,
    Level,
    SectionName,
    SectionState,
)
from lesson.steps import Steps
from lesson.v1 import content_service_pb2, enhancer_service_pb2, lesson_pb2, lesson_service_pb2
from tests.budget import examples
from tests.lesson import strategies
from tests.lesson.travelling import MODELS

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
PROTOS = (lesson_pb2, lesson_service_pb2, content_service_pb2, enhancer_service_pb2)


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_no_field_of_a_model_is_missing_in_its_message_nor_the_other_way(kind: type[BaseModel]) -> None:
    message = wire._message_type(kind)
    assert {field.wire_name for field in fields(kind)} == {field.name for field in message.DESCRIPTOR.fields}


def test_every_noun_of_lesson_proto_has_a_model() -> None:
    # A practice is one of several models; a model's end is said of a provider, not of a lesson.
    nouns = set(lesson_pb2.DESCRIPTOR.message_types_by_name) - {"Practice", "ModelEnd"}
    assert nouns <= {kind.__name__ for kind in MODELS}


@pytest.mark.parametrize("name", [*lesson_pb2.DESCRIPTOR.enum_types_by_name, "EnhancementMode"])
def test_every_value_of_an_enum_travels_and_zero_is_unset(name: str) -> None:
    kind = getattr(models, name)
    descriptor = wire._enum_type(kind)
    assert len(descriptor.values) == len(kind) + 1
    assert [wire.enum_from_number(kind, wire.enum_to_number(member)) for member in kind] == list(kind)
    assert wire.enum_from_number(kind, 0) is None
    assert wire.enum_from_number(kind, 999) is None
    assert wire.enum_to_number(None) == 0


@pytest.mark.deep
@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_a_model_comes_back_from_the_wire_as_it_went(kind: type[BaseModel]) -> None:
    count = examples(6, 60) if kind is Lesson else examples(12, 200)

    @settings(max_examples=count, deadline=None, suppress_health_check=SLOW)
    @given(strategies.model(kind))
    def round_trip(value: BaseModel) -> None:
        sent = wire.to_message(value).SerializeToString()
        arrived = wire._message_type(kind).FromString(sent)
        assert wire.from_message(kind, arrived) == value

    round_trip()


@pytest.mark.deep
@given(st.data())
@settings(max_examples=examples(8, 100), deadline=None, suppress_health_check=SLOW)
def test_a_message_comes_back_from_the_model_as_it_was(data: st.DataObject) -> None:
    message = wire.to_message(data.draw(strategies.model(Lesson)))
    again = wire.to_message(wire.from_message(Lesson, message))
    assert again == message


def test_a_message_without_a_required_enum_is_refused_by_name() -> None:
    with pytest.raises(wire.WireError, match=r"Brief\.level"):
        wire.from_message(Brief, lesson_pb2.Brief(topic="x"))
    with pytest.raises(wire.WireError, match=r"Character\.role"):
        wire.from_message(Character, lesson_pb2.Character(id="a", name="田中"))


def test_a_message_that_breaks_a_rule_of_the_model_is_refused_by_name() -> None:
    nameless = lesson_pb2.Character(id="a", name=" ", role=lesson_pb2.ROLE_FRIEND)
    with pytest.raises(wire.WireError, match=r"Character\.name"):
        wire.from_message(Character, nameless)


def test_a_practice_of_no_kind_is_refused() -> None:
    with pytest.raises(wire.WireError, match="Practice"):
        wire.from_message(Content, lesson_pb2.Content(practice=[lesson_pb2.Practice()]))


def test_a_lesson_of_the_ids_that_callers_use_keeps_them() -> None:
    brief = Brief(
        can_do_id="JFまるごと:349",
        topic="食生活",
        level=Level.A1,
        learner_language="en",
        can_do_text="",
        can_do_text_ja="",
        activity="",
    )
    assert wire.from_message(Brief, wire.to_message(brief)).can_do_id == "JFまるごと:349"


def test_no_message_has_a_float_for_money_or_a_name_that_python_reserves() -> None:
    for proto in PROTOS:
        for message in proto.DESCRIPTOR.message_types_by_name.values():
            for field in message.fields:
                assert field.type != FieldDescriptor.TYPE_FLOAT, field.full_name
                assert not field.name.endswith("_")


def test_section_names_are_the_fields_of_content() -> None:
    names = {field.name for field in lesson_pb2.Content.DESCRIPTOR.fields}
    assert names == {name.value for name in SectionName}


def pauses(steps: Steps[object]) -> int:
    return sum(1 for _ in steps)


def test_each_item_of_a_section_is_a_step_of_its_own_both_ways() -> None:
    items = tuple(
        Item(id=f"reading.text.{index}", text="水", kind=ItemKind.SENTENCE, needs_translation=True)
        for index in range(9)
    )
    section = EnhancedSection(
        name=SectionName.READING, state=SectionState.PLAIN, reason="", revision=1, items=items, texts=()
    )
    message = lesson_pb2.EnhancedSection()
    assert pauses(wire.fill(message, section)) == len(items)
    assert message == wire.to_message(section)
    assert pauses(wire.from_message_in_steps(EnhancedSection, message)) == len(items)

"""The client over grpcio-testing's channel: what a gateway may send, in every order it may send it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import grpc
import grpc_testing
import pytest

from lesson import wire
from lesson.models import Lesson, SectionName
from lesson.v1 import lesson_pb2, lesson_service_pb2
from lesson.v1 import lesson_service_pb2 as pb
from nidan.client import (
    Accepted,
    Completed,
    Event,
    LessonClient,
    LessonError,
    LessonSpec,
    SectionEnhanced,
    SectionReady,
    SectionReplaced,
    is_serving,
    lesson_spec,
)
from nidan.services.supervisor import Trio
from servicekit.errors import FieldViolation, InvalidRequestError, to_rpc_status

_SERVICE = lesson_service_pb2.DESCRIPTOR.services_by_name["LessonService"]
_STREAM = _SERVICE.methods_by_name["StreamLesson"]


class _Gateway:
    """The other end of the fake channel, and the client in a thread of its own."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._channel = grpc_testing.channel([_SERVICE], grpc_testing.strict_real_time())
        self._client = LessonClient(self._channel)
        self._pool = pool

    def asked(self, request: LessonSpec) -> tuple[Any, Any, Any]:
        """The client's events as a future, the request it sent, and the call to answer."""
        events = self._pool.submit(lambda: list(self._client.stream(request)))
        _, sent, call = self._channel.take_unary_stream(_STREAM)
        call.send_initial_metadata(())
        return events, sent, call

    def first_event(self, request: LessonSpec) -> tuple[Any, Any]:
        """A client that goes away after one event."""

        def take() -> Event:
            with closing(self._client.stream(request)) as events:
                return next(events)

        event = self._pool.submit(take)
        _, _, call = self._channel.take_unary_stream(_STREAM)
        call.send_initial_metadata(())
        return event, call


@pytest.fixture
def gateway() -> Iterator[_Gateway]:
    with ThreadPoolExecutor(1) as pool:
        yield _Gateway(pool)


def _message(**event: Any) -> pb.StreamLessonResponse:
    return pb.StreamLessonResponse(sequence=1, lesson_id="a-lesson", **event)


def _accepted(lesson: Lesson) -> pb.StreamLessonResponse:
    accepted = pb.LessonAccepted(brief=wire.to_message(lesson.brief), stage1_models=["one"], stage2_models=["two"])
    return _message(accepted=accepted)


def _completed(lesson: Lesson) -> pb.StreamLessonResponse:
    return _message(completed=pb.LessonCompleted(lesson=wire.to_message(lesson), master_json='{"a": 1}'))


def test_events_come_typed_and_the_master_json_letter_for_letter(gateway: _Gateway, lesson: Lesson) -> None:
    events, _, call = gateway.asked(lesson_spec(can_do_id="JF:349"))
    reading = lesson_pb2.SECTION_NAME_READING
    section = wire.to_message(lesson.sections[1])
    for message in (
        _accepted(lesson),
        _message(section_ready=pb.SectionReady(name=reading, revision=1)),
        _message(section_replaced=pb.SectionReplaced(name=reading, revision=1, reason="it contradicts itself")),
        _message(section_enhanced=pb.SectionEnhanced(section=section)),
        _message(),  # an event of a newer gateway
        _completed(lesson),
    ):
        call.send_response(message)
    call.terminate((), grpc.StatusCode.OK, "")
    assert events.result(10) == [
        Accepted(lesson.brief, ("one",), ("two",)),
        SectionReady(SectionName.READING, 1),
        SectionReplaced(SectionName.READING, 1, "it contradicts itself"),
        SectionEnhanced(lesson.sections[1]),
        Completed(lesson, '{"a": 1}'),
    ]


def test_a_request_travels_with_all_it_says_and_leaves_unset_what_it_does_not(
    gateway: _Gateway, lesson: Lesson
) -> None:
    wanted = lesson_spec(
        can_do_id="JF:349",
        topic="食生活",
        level="A2",
        can_do_text="Can order.",
        learner_language="de",
        model="gpt-5",
        timeout_seconds=90.0,
    )
    for request in (wanted, lesson_spec(can_do_id="JF:349")):
        events, sent, call = gateway.asked(request)
        call.send_response(_completed(lesson))
        call.terminate((), grpc.StatusCode.OK, "")
        events.result(10)
        if request is wanted:
            assert sent.spec == pb.LessonSpec(
                can_do_id="JF:349",
                topic="食生活",
                level=lesson_pb2.LEVEL_A2,
                can_do_text="Can order.",
                learner_language="de",
                model="gpt-5",
                timeout_seconds=90.0,
            )
        else:
            assert sent.spec == pb.LessonSpec(can_do_id="JF:349")


def test_an_error_status_is_raised_with_reason_and_fields(gateway: _Gateway) -> None:
    events, _, call = gateway.asked(lesson_spec(can_do_id="?"))
    status = to_rpc_status(InvalidRequestError("wrong", violations=[FieldViolation("spec.topic", "is empty")]))
    call.terminate(status.trailing_metadata, status.code, status.details)
    with pytest.raises(LessonError) as caught:
        events.result(10)
    error = caught.value.error
    assert (error.reason, error.fault, error.retryable) == ("INVALID_REQUEST", "caller", False)
    assert error.violations == (FieldViolation("spec.topic", "is empty"),)


def test_a_status_without_our_details_is_raised_unchanged(gateway: _Gateway, lesson: Lesson) -> None:
    events, _, call = gateway.asked(lesson_spec(can_do_id="JF:349"))
    call.send_response(_accepted(lesson))
    call.terminate((), grpc.StatusCode.UNAVAILABLE, "connection reset")
    with pytest.raises(LessonError, match="connection reset") as caught:
        events.result(10)
    assert caught.value.error.retryable


def test_a_stream_that_ends_without_a_lesson_is_an_error(gateway: _Gateway, lesson: Lesson) -> None:
    events, _, call = gateway.asked(lesson_spec(can_do_id="JF:349"))
    call.send_response(_accepted(lesson))
    call.terminate((), grpc.StatusCode.OK, "")
    with pytest.raises(LessonError, match="without a lesson"):
        events.result(10)


def test_a_lesson_that_cannot_be_read_is_an_error_that_names_the_field(gateway: _Gateway, lesson: Lesson) -> None:
    events, _, call = gateway.asked(lesson_spec(can_do_id="JF:349"))
    message = _completed(lesson)
    message.completed.lesson.ClearField("outcome")
    call.send_response(message)
    call.terminate((), grpc.StatusCode.OK, "")
    with pytest.raises(LessonError, match=r"Lesson\.outcome") as caught:
        events.result(10)
    assert caught.value.error.reason == "GATEWAY_NOT_UNDERSTOOD"


def test_a_caller_that_goes_away_cancels_the_call(gateway: _Gateway, lesson: Lesson) -> None:
    event, call = gateway.first_event(lesson_spec(can_do_id="JF:349"))
    call.send_response(_accepted(lesson))
    assert isinstance(event.result(10), Accepted)
    call.cancelled()  # returns only once it is


def test_what_listens_and_says_nothing_does_not_serve() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not is_serving(f"127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.2)


def test_a_server_that_has_not_the_service_does_not_serve_it(trio: Trio) -> None:
    assert is_serving(trio.plan.gateway.address, "lesson.v1.LessonService")
    assert not is_serving(trio.plan.gateway.address, "lesson.v1.ContentService")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-port", "127.0.0.1:99999", "127.0.0.1:x"])
def test_what_does_not_listen_does_not_serve(address: str) -> None:
    assert not is_serving(address)

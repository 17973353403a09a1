"""`nidan annotate` on enhancers that it starts, on one that runs, and on one that misbehaves."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from lesson import wire
from lesson.models import (
    EnhancedItem,
    FuriganaSegment,
    Item,
    ItemKind,
    JapaneseText,
    ReadingProvenance,
    TranslationProvenance,
)
from lesson.v1 import enhancer_service_pb2 as pb
from lesson.v1 import enhancer_service_pb2_grpc
from nidan.annotation.lines import BATCH_LINES, MOST_BYTES, batches
from nidan.client import AnnotateError, EnhancerClient
from nidan.errors import GivenUpError
from nidan.services.plan import Plan, enhancer_plan
from nidan.services.ports import free_ports
from nidan.services.service import ENHANCER, Service
from nidan.services.supervisor import Trio, running
from servicekit.errors import OverloadedError, to_rpc_status
from tests.nidan.command import environment, nidan, nidan_given, services_of

_SENTENCES = "朝は、いつもご飯と卵を食べます。\n東京で大きい犬を見た。\n"
_READABLE = """\
朝[あさ]は、いつもご飯[はん]と卵[たまご]を食[た]べます。
  asa wa, itsumo gohan to tamago o tabemasu.
東京[とうきょう]で大[おお]きい犬[いぬ]を見[み]た。
  tōkyō de ōkii inu o mita.
"""
_COMMAND = [sys.executable, "-W", "error", "-m", "nidan", "annotate"]


def _annotate(given: str | bytes, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command on that as its stdin, in this process."""
    text = given.encode() if isinstance(given, str) else given
    return nidan_given(text, "annotate", *arguments, **variables)


def _started(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    """The command with an enhancer of its own and a stdin that stays open."""
    return subprocess.Popen(
        [*_COMMAND, *arguments],
        env=environment(**variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _tell(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


def _hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _texts(lines: str) -> list[JapaneseText]:
    return [JapaneseText.model_validate_json(line) for line in lines.splitlines()]


# --- a real enhancer that runs ----------------------------------------------------------------------------------


@dataclass
class _Serving:
    address: str
    metrics_port: int

    def calls(self) -> int:
        """How many it has answered well."""
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=5)
        connection.request("GET", "/metrics")
        told = connection.getresponse().read().decode()
        connection.close()
        labels = 'grpc_code="OK",grpc_method="EnhanceSection",grpc_service="lesson.v1.EnhancerService"'
        found = re.search(rf"^grpc_server_handled_total{{(?:{labels})}} (\d+)", told, re.MULTILINE)
        return int(found[1]) if found else 0


@pytest.fixture(scope="module")
def enhancer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Serving]:
    port, metrics_port = free_ports(2)
    service = Service(ENHANCER.name, ENHANCER.grpc_name, ENHANCER.prefix, port, 0, metrics_port)
    ports = {variable: str(port) for variable, port in service.ports.items()}
    plan = Plan((service,), {**enhancer_plan(environment()).environment, **ports})
    with running(Trio(plan, tmp_path_factory.mktemp("logs"), print)):
        yield _Serving(service.address, metrics_port)


def test_sentences_come_with_furigana_and_romaji_and_blank_lines_stay(enhancer: _Serving) -> None:
    first, second = _SENTENCES.splitlines()
    done = _annotate(f"\ufeff{first}\r\n \u3000\r\n\n{second}", "--address", enhancer.address)
    assert (done.returncode, done.stderr) == (0, "")
    lines = _READABLE.splitlines(keepends=True)
    assert done.stdout == "".join([*lines[:2], "\n\n", *lines[2:]])


def test_json_is_a_line_for_each_sentence_with_its_place_in_the_file_as_its_id(
    enhancer: _Serving, tmp_path: Path
) -> None:
    file = tmp_path / "sentences.txt"
    file.write_bytes("\ufeff犬です。\r\n\r\n  東京\n".encode())
    done = _annotate("", str(file), "--json", "--address", enhancer.address)
    assert (done.returncode, done.stderr) == (0, "")
    dog, tokyo = _texts(done.stdout)
    assert (dog.id, dog.kanji, dog.romaji) == ("line.1", "犬です。", "inu desu.")
    assert (tokyo.id, tokyo.kanji) == ("line.3", "  東京")
    assert dog.furigana[0] == FuriganaSegment(text="犬", ruby="いぬ")
    assert (dog.reading_provenance, dog.needs_translation) == (ReadingProvenance.ANALYSER, False)
    assert {"needsTranslation", "readingProvenance"} <= set(json.loads(done.stdout.splitlines()[0]))


def test_the_address_may_come_from_the_environment_and_the_option_beats_it(enhancer: _Serving) -> None:
    before = enhancer.calls()
    by_name = _annotate("犬\n", "-", NIDAN_ENHANCER_ADDRESS=enhancer.address)
    by_option = _annotate("犬\n", "--address", enhancer.address, NIDAN_ENHANCER_ADDRESS="127.0.0.1:1")
    assert by_name.stdout == by_option.stdout == "犬[いぬ]\n  inu\n"
    assert enhancer.calls() == before + 2


def test_a_long_file_is_asked_for_in_batches_and_comes_in_its_order(enhancer: _Serving, tmp_path: Path) -> None:
    before = enhancer.calls()
    file = tmp_path / "sentences.txt"
    file.write_text("".join(f"{number}番の犬\n" for number in range(1, 121)))
    done = _annotate("", str(file), "--json", "--address", enhancer.address)
    assert [text.id for text in _texts(done.stdout)] == [f"line.{number}" for number in range(1, 121)]
    assert enhancer.calls() == before + 3


def test_nothing_in_is_nothing_out(enhancer: _Serving) -> None:
    done = _annotate("", "--address", enhancer.address)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = _annotate("\n \n", "--json", "--address", enhancer.address)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_would_steer_a_terminal_is_left_out_of_what_is_read_and_kept_in_json(enhancer: _Serving) -> None:
    given = "犬\x1b[31m猫\n"
    assert "\x1b" not in _annotate(given, "--address", enhancer.address).stdout
    (text,) = _texts(_annotate(given, "--json", "--address", enhancer.address).stdout)
    assert text.kanji == given.rstrip()


# --- input that cannot be sent ----------------------------------------------------------------------------------


def test_a_line_that_is_not_utf8_is_named_behind_the_lines_before_it(enhancer: _Serving) -> None:
    given = "犬\n\n".encode() + "東京\n".encode("shift_jis") + "猫\n".encode()
    done = _annotate(given, "--address", enhancer.address)
    assert (done.returncode, done.stdout) == (1, "犬[いぬ]\n  inu\n\n")
    assert "Not annotated (INPUT_NOT_UTF8): line 3 is not UTF-8: byte 0x93 at its position 1." in done.stderr
    assert "iconv -f SHIFT_JIS -t UTF-8" in done.stderr


def test_a_file_in_utf16_is_told_how_to_convert_it(enhancer: _Serving) -> None:
    done = _annotate("犬\n".encode("utf-16"), "--address", enhancer.address)
    assert (done.returncode, done.stdout) == (1, "")
    assert "line 1 is not UTF-8" in done.stderr
    assert "iconv -f UTF-16 -t UTF-8" in done.stderr


def test_a_failure_in_json_is_one_more_object_behind_the_sentences(enhancer: _Serving) -> None:
    done = _annotate("犬\n".encode() + b"\xff\n", "--json", "--address", enhancer.address)
    assert done.returncode == 1
    dog, failure = map(json.loads, done.stdout.splitlines())
    assert dog["kanji"] == "犬"
    assert set(failure) == {"outcome", "reason", "stage", "retryable", "message"}
    assert (failure["outcome"], failure["reason"]) == ("FAILED", "INPUT_NOT_UTF8")
    assert "line 2" in failure["message"]
    assert done.stderr == ""


@pytest.mark.parametrize("end", ["", "\n", "\n猫\n"])
def test_a_line_that_is_too_long_is_named_whether_or_not_it_ends(enhancer: _Serving, end: str) -> None:
    done = _annotate("犬\n" + "x" * 5_000_000 + end, "--address", enhancer.address)
    assert (done.returncode, done.stdout) == (1, "犬[いぬ]\n  inu\n")
    assert "Not annotated (LINE_TOO_LONG): line 2 has more than 32,768 bytes." in done.stderr
    assert "one sentence" in done.stderr


@pytest.mark.parametrize(("name", "why"), [("nowhere.txt", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_told_before_anything_is_started(tmp_path: Path, name: str, why: str) -> None:
    done = _annotate("", str(tmp_path / name), "--json", ROMAJI_STYLE="no enhancer starts with it")
    assert done.returncode == 1
    failure = json.loads(done.stdout)
    assert failure["reason"] == "INPUT_NOT_READ"
    assert why in failure["message"]


def test_stdin_that_is_closed_is_a_clear_error() -> None:
    command = 'exec "$@" <&-'
    done = subprocess.run(
        ["/bin/sh", "-c", command, "sh", *_COMMAND], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "cannot read standard input: it is closed." in done.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "told"),
    [
        (["--style", "kunrei"], {}, "macron, double, kana"),
        (["--address", "nowhere"], {}, "127.0.0.1:50052"),
        ([], {"NIDAN_ENHANCER_ADDRESS": "nowhere"}, "NIDAN_ENHANCER_ADDRESS"),
        (["--style", "kana", "--address", "127.0.0.1:1"], {}, "drop --style or --address"),
        (["--style", "kana"], {"NIDAN_ENHANCER_ADDRESS": "127.0.0.1:1"}, "unset NIDAN_ENHANCER_ADDRESS"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_says_what_is_right(
    arguments: list[str], variables: dict[str, str], told: str
) -> None:
    done = _annotate("犬\n", *arguments, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in " ".join(done.stderr.replace("│", " ").split())


def test_help_teaches_by_examples_and_names_the_variable() -> None:
    done = nidan("annotate", "--help")
    assert done.returncode == 0
    for part in ("| nidan annotate", "食[た]べます", "--json", "NIDAN_ENHANCER_ADDRESS", "Exit status"):
        assert part in done.stdout


LINES = st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line) | st.just("犬".encode()), max_size=120)


@given(LINES, st.sampled_from([b"\n", b"\r\n"]))
def test_batches_hold_every_line_once_and_in_order_up_to_the_first_that_is_not_utf8(
    lines: list[bytes], end: bytes
) -> None:
    found: list[tuple[int, str]] = []
    refused = False
    try:
        for batch in batches(BufferedReader(BytesIO(end.join([*lines, b""])))):
            assert 0 < len(batch) <= BATCH_LINES
            found += [(line.number, line.text) for line in batch]
    except GivenUpError:
        refused = True
    whole = list(_decoded(lines))
    assert found == whole
    assert refused == (len(whole) < len(lines))


def _decoded(lines: list[bytes]) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(lines, start=1):
        try:
            text = raw.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").rstrip(b"\r").decode()
        except UnicodeDecodeError:
            return
        yield number, text if text.strip() else ""


@given(st.lists(st.integers(0, MOST_BYTES), max_size=8))
def test_no_batch_is_larger_than_one_line_may_be(sizes: list[int]) -> None:
    found = []
    for batch in batches(BufferedReader(BytesIO(b"".join(b"x" * size + b"\n" for size in sizes)))):
        assert sum(len(line.text) for line in batch) <= MOST_BYTES
        found += [len(line.text) for line in batch]
    assert found == sizes


# --- an enhancer of its own -------------------------------------------------------------------------------------


def test_without_an_address_it_starts_an_enhancer_in_the_style_that_is_wanted(tmp_path: Path) -> None:
    done = _annotate(_SENTENCES, "--style", "double", ROMAJI_STYLE="kana", TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == _READABLE.replace("tōkyō de ōkii", "tookyoo de ookii")
    assert list(tmp_path.iterdir()) == []


def test_an_enhancer_of_its_own_needs_no_key_and_is_given_none() -> None:
    plan = enhancer_plan({"OPENAI_API_KEY": "sk-secret", "BIND": "0.0.0.0", "ROMAJI_STYLE": "kana"})
    assert [service.name for service in plan.services] == ["enhancer_service"]
    assert "OPENAI_API_KEY" not in plan.environment
    assert plan.environment["CANDO_AI_STAGE2_PROVIDER"] == "none"
    assert plan.environment["BIND"] == "127.0.0.1"
    assert plan.environment["ROMAJI_STYLE"] == "kana"
    assert plan.environment["ENHANCER_PORT"] == str(plan.services[0].port)


def test_a_setting_that_the_enhancer_refuses_is_told_in_its_own_words(tmp_path: Path) -> None:
    done = _annotate("犬\n", "--json", ROMAJI_STYLE="kunrei", TMPDIR=str(tmp_path))
    assert done.returncode == 1
    failure = json.loads(done.stdout)
    assert failure["reason"] == "START_FAILED"
    assert "ROMAJI_STYLE" in failure["message"]
    assert "logs are in" in done.stderr


def test_lines_are_answered_as_they_come_and_ctrl_c_ends_what_was_started() -> None:
    with _started() as process:
        _tell(process, "犬\n")
        assert [_hear(process), _hear(process)] == ["犬[いぬ]\n", "  inu\n"]
        _tell(process, "猫")
        _tell(process, "\n")
        assert [_hear(process), _hear(process)] == ["猫[ねこ]\n", "  neko\n"]
        services = services_of(process.pid)
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=20)
    assert len(services) == 1
    assert (process.returncode, out, told) == (130, "", "Interrupted.\n")
    assert not [pid for pid in services if Path(f"/proc/{pid}").exists()]


def test_an_enhancer_of_its_own_that_dies_is_told_with_how_it_died(tmp_path: Path) -> None:
    with _started("--json", TMPDIR=str(tmp_path)) as process:
        _tell(process, "犬\n")
        assert json.loads(_hear(process))["kanji"] == "犬"
        (service,) = services_of(process.pid)
        os.kill(service, signal.SIGKILL)
        out, _ = process.communicate("猫\n", timeout=20)
    assert process.returncode == 1
    assert "enhancer_service was killed by SIGKILL" in json.loads(out)["message"]


def test_a_reader_that_has_had_enough_ends_it_quietly(tmp_path: Path) -> None:
    file = tmp_path / "sentences.txt"
    file.write_text(_SENTENCES * 500)
    with _started(str(file), "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert _hear(process)
        services = services_of(process.pid)
        process.stdout.close()
        told = process.stderr.read()
    assert (process.returncode, told) == (0, "")
    assert not [pid for pid in services if Path(f"/proc/{pid}").exists()]


# --- terminals --------------------------------------------------------------------------------------------------


def test_a_terminal_is_told_what_is_expected_and_answered_in_colour(enhancer: _Serving) -> None:
    with _on_terminal("--address", enhancer.address) as (process, screen):
        shown = _shown_until(screen, "Ctrl-D ends")
        os.write(screen, "犬\n".encode())
        shown += _shown_until(screen, "inu")
        os.write(screen, b"\x04")
        assert process.wait(20) == 0
    assert "one sentence a line" in shown
    assert "犬\x1b[2m[いぬ]\x1b[0m" in shown
    assert "\x1b[?25l" not in shown  # no live line where somebody types


def test_long_work_on_a_terminal_says_how_far_it_is(enhancer: _Serving, tmp_path: Path) -> None:
    file, target = tmp_path / "sentences.txt", tmp_path / "annotated"
    file.write_text(_SENTENCES * 20_000)  # half a minute of work, ended long before
    with target.open("wb") as out, _on_terminal(str(file), "--json", "--address", enhancer.address, out=out) as told:
        process, screen = told
        assert "Annotated" in _shown_until(screen, "lines …")
        process.send_signal(signal.SIGTERM)
        _shown_until(screen, "\x1b[?25h")  # the cursor is back
        assert process.wait(20) == 143


@contextlib.contextmanager
def _on_terminal(*arguments: str, out: BinaryIO | None = None) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command on a terminal of its own: stdin, stderr and, unless `out` is given, stdout; and that terminal."""
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [*_COMMAND, *arguments],
        env=environment(TERM="xterm"),
        stdin=terminal,
        stdout=out or terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        yield process, screen
    finally:
        process.kill()
        process.wait()
        os.close(screen)


def _shown_until(screen: int, part: str) -> str:
    shown = b""
    deadline = time.monotonic() + 20
    while part.encode() not in shown:
        assert time.monotonic() < deadline, shown.decode(errors="replace")
        if select.select([screen], [], [], 0.1)[0]:
            shown += os.read(screen, 65_536)
    return shown.decode(errors="replace")


# --- an enhancer that misbehaves --------------------------------------------------------------------------------

_Answer = Callable[[pb.EnhanceSectionRequest, grpc.ServicerContext], pb.EnhanceSectionResponse]


@dataclass
class _Misbehaving(enhancer_service_pb2_grpc.EnhancerServiceServicer):
    """Answers each call with the next of its answers, and with the last one for ever."""

    answers: Sequence[_Answer] = ()
    requests: list[pb.EnhanceSectionRequest] = field(default_factory=list)
    address: str = ""

    def EnhanceSection(  # noqa: N802 - the contract's name
        self, request: pb.EnhanceSectionRequest, context: grpc.ServicerContext
    ) -> pb.EnhanceSectionResponse:
        self.requests.append(request)
        return self.answers[min(len(self.requests), len(self.answers)) - 1](request, context)

    def Describe(  # noqa: N802
        self, request: pb.EnhancerServiceDescribeRequest, context: grpc.ServicerContext
    ) -> pb.EnhancerServiceDescribeResponse:
        return pb.EnhancerServiceDescribeResponse()


@pytest.fixture
def other() -> Iterator[_Misbehaving]:
    servicer, checks = _Misbehaving(), health.HealthServicer()
    checks.set(ENHANCER.grpc_name, health_pb2.HealthCheckResponse.SERVING)
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        enhancer_service_pb2_grpc.add_EnhancerServiceServicer_to_server(servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield servicer
        server.stop(0).wait()


def _well(request: pb.EnhanceSectionRequest, _context: grpc.ServicerContext) -> pb.EnhanceSectionResponse:
    return _response([_plain(item.id, item.text) for item in request.items])


def _full(_request: pb.EnhanceSectionRequest, context: grpc.ServicerContext) -> pb.EnhanceSectionResponse:
    context.abort_with_status(to_rpc_status(OverloadedError("It is full.", retry_after_seconds=1.0)))
    raise AssertionError("abort raises")


def _swapped(request: pb.EnhanceSectionRequest, _context: grpc.ServicerContext) -> pb.EnhanceSectionResponse:
    return _response([_plain(item.id, item.text) for item in reversed(request.items)])


def _unset(request: pb.EnhanceSectionRequest, context: grpc.ServicerContext) -> pb.EnhanceSectionResponse:
    response = _well(request, context)
    response.items[0].text.ClearField("reading_provenance")
    return response


def _silent(request: pb.EnhanceSectionRequest, context: grpc.ServicerContext) -> pb.EnhanceSectionResponse:
    while context.is_active():
        time.sleep(0.01)
    return _well(request, context)


def _response(texts: Sequence[JapaneseText]) -> pb.EnhanceSectionResponse:
    return pb.EnhanceSectionResponse(items=[wire.to_message(EnhancedItem(text=text, issues=())) for text in texts])


def _plain(item_id: str, text: str) -> JapaneseText:
    return JapaneseText(
        id=item_id,
        kanji=text,
        reading=text,
        romaji="",
        furigana=(FuriganaSegment(text=text, ruby=None),),
        translation=None,
        needs_translation=False,
        words=(),
        reading_provenance=ReadingProvenance.ANALYSER,
        translation_provenance=TranslationProvenance.NONE,
        reading_model="",
        translation_model="",
        alternatives=(),
        notes=(),
    )


def test_no_model_is_named_and_no_translation_wanted(other: _Misbehaving) -> None:
    other.answers = [_well]
    assert _annotate("犬\n\n猫\n", "--address", other.address).stdout == "犬\n\n猫\n"
    (request,) = other.requests
    assert (request.model, request.attempt_id, request.HasField("frame")) == ("", "", False)
    assert [(item.id, item.text) for item in request.items] == [("line.1", "犬"), ("line.3", "猫")]
    assert not any(item.needs_translation for item in request.items)


def test_the_largest_answer_to_the_longest_line_fits_into_a_message(
    enhancer: _Serving,
) -> None:
    line = "響" * (MOST_BYTES // 3)
    done = _annotate(line, "--json", "--address", enhancer.address)
    assert [text.kanji for text in _texts(done.stdout)] == [line]


def test_long_lines_are_split_over_calls_by_their_bytes(other: _Misbehaving, tmp_path: Path) -> None:
    other.answers = [_well]
    file = tmp_path / "sentences.txt"
    lines = ["犬" * (MOST_BYTES // 9), "犬" * (MOST_BYTES // 3), "猫"] * 40
    file.write_text("\n".join(lines))
    done = _annotate("", str(file), "--json", "--address", other.address)
    assert [text.kanji for text in _texts(done.stdout)] == lines
    assert max(request.ByteSize() for request in other.requests) < MOST_BYTES + 2_000


def test_an_enhancer_that_is_full_is_asked_again(other: _Misbehaving) -> None:
    other.answers = [_full, _well]
    done = _annotate("犬\n", "--address", other.address)
    assert (done.returncode, done.stdout, done.stderr) == (0, "犬\n", "")
    assert len(other.requests) == 2


def test_an_enhancer_that_stays_full_is_told_with_the_line_that_comes_next(other: _Misbehaving) -> None:
    other.answers = [_well, _full]
    done = _annotate("犬\n" * BATCH_LINES + "猫\n", "--address", other.address)
    assert (done.returncode, done.stdout) == (1, "犬\n" * BATCH_LINES)
    assert "Not annotated (OVERLOADED): from line 51 on: It is full." in done.stderr
    assert "starts an enhancer of its own" in done.stderr


@pytest.mark.parametrize("answer", [_swapped, _unset])
def test_an_answer_that_is_not_what_was_asked_for_is_never_printed(other: _Misbehaving, answer: _Answer) -> None:
    other.answers = [answer]
    done = _annotate("犬\n猫\n", "--json", "--address", other.address)
    assert done.returncode == 1
    assert json.loads(done.stdout)["reason"] == "ENHANCER_NOT_UNDERSTOOD"


def test_an_enhancer_that_says_nothing_is_waited_for_no_longer_than_the_deadline(other: _Misbehaving) -> None:
    other.answers = [_silent]
    item = Item(id="line.1", text="犬", kind=ItemKind.SENTENCE, needs_translation=False)
    with EnhancerClient(other.address) as client, pytest.raises(AnnotateError) as caught:
        client.annotate([item], timeout_seconds=0.2)
    assert caught.value.error.status is grpc.StatusCode.DEADLINE_EXCEEDED


def test_an_address_where_no_enhancer_serves_is_an_error_with_both_ways_on() -> None:
    done = _annotate("犬\n", "--address", "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Not annotated (UNAVAILABLE): no enhancer is serving at 127.0.0.1:1." in done.stderr
    assert "NIDAN_ENHANCER_ADDRESS" in done.stderr


def test_a_full_disk_is_a_clear_error_in_json_too(other: _Misbehaving) -> None:
    other.answers = [_well]
    for arguments in ([], ["--json"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [*_COMMAND, *arguments, "--address", other.address],
                input="犬\n",
                env=environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert "cannot write standard output: No space left on device" in done.stderr

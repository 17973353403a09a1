"""The contract: `make check` refuses protos that break the tagged ones."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from lesson.limits import ITEM_BYTES, SECTION_BYTES, SECTION_ITEMS, SPEC_CHARACTERS
from lesson.v1 import lesson_service_pb2
from tests.repo.contract_reads import Read, product_reads, unread

ROOT = Path(__file__).resolve().parents[2]
BASELINE = ROOT / "protos" / "baseline" / "v0.1.0.binpb"
BUF = ROOT / ".venv" / "bin" / "buf"
LESSON, CONTENT = "lesson.proto", "content_service.proto"


def breaking(root: Path) -> subprocess.CompletedProcess[str]:
    command = [str(BUF), "breaking", "--against", str(BASELINE)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    return tmp_path


def test_the_protos_break_nothing_of_the_tagged_contract() -> None:
    found = breaking(ROOT)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("file", "pattern", "instead", "reported"),
    [
        (LESSON, r"  optional string gloss = 7;\n", "", 'deleted field "7"|field "7" with name "gloss"'),
        (LESSON, r"int32 revision = 4;", "string revision = 4;", 'Field "4"'),
        (LESSON, r"  SECTION_STATE_PLAIN = 3;\n", "", 'enum value "3"'),
        (CONTENT, r"  rpc GenerateContent\(.*\n", "", 'RPC "GenerateContent"'),
    ],
    ids=["a field deleted", "a type changed", "an enum value deleted", "an RPC removed"],
)
def test_a_broken_copy_is_refused(copy: Path, file: str, pattern: str, instead: str, reported: str) -> None:
    proto = copy / "protos" / "lesson" / "v1" / file
    text, count = re.subn(pattern, instead, proto.read_text(encoding="utf-8"))
    assert count == 1
    proto.write_text(text, encoding="utf-8")
    found = breaking(copy)
    assert found.returncode != 0
    assert re.search(reported, found.stdout), found.stdout


def test_no_comment_of_the_contract_is_a_single_word() -> None:
    for proto in (ROOT / "protos").rglob("*.proto"):
        lines = proto.read_text(encoding="utf-8").splitlines()
        empty = [line for line in lines if re.fullmatch(r"\s*// (?:Which|Typed|Never sent|Not said|Segments)\.", line)]
        assert not empty, (proto.name, empty)


# Fields of the gateway's replies for its callers: the product writes them, and `nidan` does not need them.
READ_BY_CALLERS = {
    "GenerateLessonResponse.lesson",
    "GenerateLessonResponse.master_json",
    "StreamLessonResponse.sequence",
    "StreamLessonResponse.lesson_id",
    "SectionReady.content",
    "Lesson.learner_level",
    "EnhancedSection.revision",
    "Usage.cached_input_tokens",
    "Usage.reasoning_tokens",
}


@pytest.fixture(scope="module")
def reads() -> frozenset[Read]:
    return product_reads()


def contract(root: Path) -> FileDescriptorSet:
    command = [str(BUF), "build", "--as-file-descriptor-set", "-o", "-"]
    built = subprocess.run(command, cwd=root, capture_output=True, check=True, timeout=60)
    return FileDescriptorSet.FromString(built.stdout)


@pytest.mark.xdist_group("contract_reads")
def test_every_field_of_the_contract_is_read(reads: frozenset[Read]) -> None:
    assert set(unread(contract(ROOT), reads)) == READ_BY_CALLERS


def test_what_only_callers_read_is_in_the_gateways_replies() -> None:
    replies = {method.output_type for method in lesson_service_pb2.DESCRIPTOR.services_by_name["LessonService"].methods}
    messages = set(reachable(replies))
    assert {name.partition(".")[0] for name in READ_BY_CALLERS} <= {message.name for message in messages}


def reachable(messages: Iterable[Descriptor]) -> Iterator[Descriptor]:
    for message in messages:
        yield message
        yield from reachable([field.message_type for field in message.fields if field.message_type])


@pytest.mark.xdist_group("contract_reads")
@pytest.mark.parametrize(
    ("message", "field"),
    [("Brief", "ghost"), ("Brief", "surface"), ("LessonSpec", "name"), ("StreamLessonResponse", "lesson")],
)
def test_a_field_that_nothing_reads_is_found(copy: Path, reads: frozenset[Read], message: str, field: str) -> None:
    """Another message's field of that name may well be read."""
    for proto in (copy / "protos").rglob("*.proto"):
        text = proto.read_text(encoding="utf-8")
        start = f"message {message} {{\n"
        proto.write_text(text.replace(start, f"{start}  string {field} = 999;\n"), encoding="utf-8")
    assert f"{message}.{field}" in unread(contract(copy), reads)


LIMITS = {f"LessonSpec.{name}": f"{most:,} characters" for name, most in SPEC_CHARACTERS.items()} | {
    "EnhanceSectionRequest.items": f"{SECTION_ITEMS:,} items",
    "EnhanceSectionRequest.items.text": f"{ITEM_BYTES:,} bytes",
    "EnhanceSectionRequest.items.text, all together": f"{SECTION_BYTES:,} bytes",
}


def test_the_page_on_use_has_the_table_of_limits() -> None:
    page = (ROOT / "docs" / "using.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| field \| at most \|\n\|---\|---\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert dict(re.findall(r"^\| `(.+)` \| (.+) \|$", table, re.MULTILINE)) == LIMITS


@pytest.mark.parametrize(("path", "most"), LIMITS.items())
def test_the_comment_of_a_field_names_its_limit(path: str, most: str) -> None:
    message, field = path.split(".")[:2]
    protos = "".join(proto.read_text(encoding="utf-8") for proto in (ROOT / "protos").rglob("*.proto"))
    body = protos.partition(f"message {message} {{")[2]
    (comment,) = re.findall(rf"((?:  //.*\n)+)  .*\b{field} = \d+;", body.partition("\n}")[0])
    assert re.search(rf"at most (?:[^.]*at most )?{most}\b", comment, re.IGNORECASE), comment


def test_only_the_table_of_limits_is_in_the_comments() -> None:
    protos = "".join(proto.read_text(encoding="utf-8") for proto in (ROOT / "protos").rglob("*.proto"))
    figures = re.findall(r"\d[\d,]* (?:characters|items|bytes)\b", protos)
    assert sorted(figures) == sorted(LIMITS.values())

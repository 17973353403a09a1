"""The contract: `make check` refuses protos that break the tagged ones."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lesson.limits import SPEC_CHARACTERS
from lesson.v1 import content_service_pb2, enhancer_service_pb2, lesson_pb2, lesson_service_pb2

PROTOS = (content_service_pb2, enhancer_service_pb2, lesson_pb2, lesson_service_pb2)
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


def test_a_tag_holds_the_baseline(tmp_path: Path) -> None:
    """Where the repository has the tag: a clone may have none."""
    tags = subprocess.run(["git", "tag", "--list", "v0.1.0"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    if not tags.stdout.strip():
        return
    shown = subprocess.run(
        ["git", "show", f"v0.1.0:{BASELINE.relative_to(ROOT)}"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    assert shown.stdout == BASELINE.read_bytes()


def test_no_comment_of_the_contract_is_a_single_word() -> None:
    for proto in (ROOT / "protos").rglob("*.proto"):
        lines = proto.read_text(encoding="utf-8").splitlines()
        empty = [line for line in lines if re.fullmatch(r"\s*// (?:Which|Typed|Never sent|Not said|Segments)\.", line)]
        assert not empty, (proto.name, empty)


# Nobody of this project reads it yet: a caller can see what is served before it asks.
READ_BY_CALLERS = {"EnhancerServiceDescribeResponse.languages"}
PRODUCT = ("lesson", "servicekit", "content_service", "enhancer_service", "gateway", "nidan", "offline_model")


def test_every_field_of_the_contract_is_read_or_written_by_the_product() -> None:
    sources = [path for package in PRODUCT for path in (ROOT / package).rglob("*.py") if "v1" not in path.parts]
    words = set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in sources)))
    fields = [
        field for pb in PROTOS for message in pb.DESCRIPTOR.message_types_by_name.values() for field in message.fields
    ]
    assert [field.full_name for field in fields if not {field.name, f"{field.name}_"} & words] == []


def test_what_a_stage_describes_is_read_by_the_gateway() -> None:
    client = (ROOT / "gateway" / "runs" / "stage_clients.py").read_text(encoding="utf-8")
    for message in (
        content_service_pb2.ContentServiceDescribeResponse,
        enhancer_service_pb2.EnhancerServiceDescribeResponse,
    ):
        for field in message.DESCRIPTOR.fields:
            assert f".{field.name}" in client or f"{message.__name__}.{field.name}" in READ_BY_CALLERS, field.full_name


def test_the_comments_name_the_limits_of_the_table() -> None:
    proto = (ROOT / "protos" / "lesson" / "v1" / "lesson_service.proto").read_text(encoding="utf-8")
    for name, most in SPEC_CHARACTERS.items():
        assert re.search(rf"// [^\n]*at most {most:,} characters[^\n]*\n  string {name} = ", proto), name

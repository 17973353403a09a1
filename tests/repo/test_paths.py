"""Everything that a docstring, a comment or a document names is in this repository."""

from __future__ import annotations

import pytest

from tests.repo.references import MADE_ELSEWHERE, ROOT, Repository, anchor_of, dangling, repository

_TEXT = {".md", ".py", ".toml", ".yaml", ".yml", ".sh", ".proto", ".mjs", ""}


@pytest.fixture(scope="module")
def repo() -> Repository:
    return repository()


def test_every_reference_leads_somewhere(repo: Repository) -> None:
    files = [file for file in sorted(repo.files) if (ROOT / file).suffix in _TEXT]
    found = {file: dangling(file, (ROOT / file).read_text("utf-8", "replace"), repo) for file in files}
    assert {file: names for file, names in found.items() if names} == {}


def test_no_exception_is_kept_for_a_file_that_exists(repo: Repository) -> None:
    assert [name for name in MADE_ELSEWHERE if repo.has(name)] == []


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("lesson/items.py", '"""As design/lesson-content.md says."""\n', "design/lesson-content.md"),
        ("lesson/items.py", "x = 1  # see gateway/upstream.py\n", "gateway/upstream.py"),
        ("lesson/items.py", 'x = 1\n"""The rule of `gateway.doors.RULES`."""\n', "gateway.doors.RULES"),
        ("lesson/items.py", '"""Like `lesson.items.no_such_function`."""\n', "lesson.items.no_such_function"),
        ("docs/x.md", "Read `tests/flow/test_nothing.py`.", "tests/flow/test_nothing.py"),
        ("docs/x.md", "Kept in `gateway/intake`.", "gateway/intake"),
        ("docs/x.md", "Run `python -m benchmarks.nothing`.", "python -m benchmarks.nothing"),
        ("docs/x.md", "Run `make nothing`.", "make nothing"),
        ("docs/x.md", "As ADR 0099 decides.", "ADR 0099"),
        ("docs/x.md", 'See lesson-content.md, "No such part".', 'lesson-content.md "No such part"'),
        ("docs/x.md", "[errors](error.md)", "error.md"),
        ("docs/x.md", "[errors](errors.md#nothing)", "errors.md#nothing"),
        ("deploy/x.yaml", "a: b  # as docs/nothing.md says", "docs/nothing.md"),
    ],
)
def test_a_planted_wrong_reference_is_found(repo: Repository, path: str, text: str, found: str) -> None:
    assert found in dangling(path, text, repo)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "lesson/items.py",
            '"""As docs/lesson-content.md says; `items.py`, `lesson.items.sentences`."""\n',
        ),
        ("lesson/items.py", 'path = "design/lesson-content.md"\n'),
        ("docs/x.md", "https://example.org/no/such/file.md and `keys.toml`, `make test`, ADR 0001, [x](errors.md)"),
    ],
)
def test_a_right_reference_passes(repo: Repository, path: str, text: str) -> None:
    assert dangling(path, text, repo) == []


def test_anchors_are_spelt_as_github_spells_them() -> None:
    assert anchor_of("What was run, and what was not") == "what-was-run-and-what-was-not"
    assert anchor_of("What `make ops-image` runs, and what not") == "what-make-ops-image-runs-and-what-not"

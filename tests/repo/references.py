"""Finds what docstrings, comments and documents name, paths, modules, targets, decisions and headings, and checks it.

A path counts as existing if a file or folder of the repository has it as its whole path or as its end, so a docstring
may say `items.py`. The check reads no strings of the code: those may name files of a user.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

ROOT = Path(__file__).parents[2]
PACKAGES: Final = (
    *("lesson", "servicekit", "content_service", "enhancer_service", "gateway", "offline_model", "nidan"),
    *("tests", "tools", "benchmarks"),
)
_COMMENTED: Final = {".toml": "#", ".yaml": "#", ".yml": "#", ".sh": "#", ".proto": "//", ".mjs": "//", "": "#"}
_GENERATED: Final = ("lesson/v1/", "tests/golden/", "deploy/grafana/dashboards/")

MADE_ELSEWHERE: Final = {
    "keys.toml": "the operator's file of callers' keys",
    "lessons.csv": "a user's list of lessons",
    "jf-cando.csv": "a user's copy of a published list",
    "report.csv": "written by `nidan batch`",
    "jf_cando_202305.csv": "the published list of Can-do",
    "002-JF_349.json": "written by `nidan batch`",
    "docker-compose.override.yml": "a user's addition to docker-compose.yml",
    "gateway/catalogue.jsonl": "an imported list, in the folder that Compose mounts",
    "deploy/compose/gateway/catalogue.jsonl": "the same, from the top",
    "gateway/keys/keys.toml": "the operator's keys, in the folder that Compose mounts",
    "enhancer/overrides.tsv": "a teacher's corrections, in the folder that Compose mounts",
    "build/sbom.cdx.json": "written by `make ops-image`",
}
"""Files that documents name and that the repository does not hold, each with the reason."""

_PATH: Final = re.compile(
    r"(?<![\w/.:@{}$*<>~%-])(?P<path>(?:\.?[\w-][\w.-]*/)*[\w-][\w.-]*\."
    r"(?:md|py|toml|yaml|yml|proto|sh|tsv|csv|jsonl|json|mjs|lock|txt|sqlite|in))(?![\w/{}*-])"
)
_TICKED: Final = re.compile(r"`([^`\s]+)`")
_FOLDER: Final = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?")
_DOTTED: Final = re.compile(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)(?:\(\))?`")
_RUN: Final = re.compile(rf"python -m ((?:{'|'.join(PACKAGES)})(?:\.\w+)*)")
_TARGET: Final = re.compile(r"`make ([a-z][a-z-]*[a-z])")
_DECISION: Final = re.compile(r"(?:ADR |docs/adr/|(?<![\w/])adr/)(\d{4})(?!\d)")
_HEADING: Final = re.compile(r'([\w./-]+\.md)(?:,| section)? "([^"\n]+)"')
_OUTPUT: Final = re.compile(r"^```text$.*?^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Repository:
    """The names that a reference may use."""

    files: frozenset[str]
    texts: dict[str, str] = field(default_factory=dict, hash=False)

    def text(self, path: str) -> str:
        return self.texts[path] if path in self.texts else (ROOT / path).read_text("utf-8")

    def has(self, name: str) -> bool:
        """Whether a file or folder is called so, by its whole path or by the end of it."""
        return name.strip("/") in _ends(self.files)


@cache
def _ends(files: frozenset[str]) -> frozenset[str]:
    paths = {part for file in files for part in (file, *map(str, PurePosixPath(file).parents))}
    return frozenset(
        "/".join(parts[start:])
        for parts in (PurePosixPath(path).parts for path in paths)
        for start in range(len(parts))
    )


def repository() -> Repository:
    """The files that Git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Repository(frozenset(name for name in listed.stdout.splitlines() if (ROOT / name).exists()))


def written(path: str, text: str) -> str:
    """The prose of a file: a document whole, of code its docstrings and comments, empty for data."""
    if path.startswith(_GENERATED):
        return ""
    suffix = PurePosixPath(path).suffix
    if suffix == ".md":
        return _OUTPUT.sub("", text)
    if suffix == ".py":
        return "\n".join(_python_prose(text))
    if suffix in _COMMENTED and (suffix or PurePosixPath(path).name in {"Makefile", "Dockerfile"}):
        return "\n".join(line for line in text.splitlines() if _COMMENTED[suffix] in line)
    return ""


def _python_prose(source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def dangling(path: str, text: str, repo: Repository) -> list[str]:
    """The references in a file's prose that lead nowhere, in order of kind."""
    prose = written(path, text)
    return sorted(
        {
            *_missing_paths(prose, repo),
            *_missing_folders(prose, repo),
            *(_missing_modules(prose, repo) if not path.endswith(".proto") else ()),
            *_missing_targets(prose, repo),
            *_missing_decisions(prose, repo),
            *_missing_headings(prose, repo),
            *(_missing_links(path, prose, repo) if path.endswith(".md") else ()),
        }
    )


def _missing_paths(prose: str, repo: Repository) -> Iterator[str]:
    for match in _PATH.finditer(re.sub(r"https?://\S+", "", prose)):
        name = match["path"].removeprefix("./")
        climbed = name.removeprefix("../")
        if not (_placeholder(name) or {climbed, PurePosixPath(name).name} & MADE_ELSEWHERE.keys() or repo.has(climbed)):
            yield name


def _placeholder(name: str) -> bool:
    """FILE.csv stands for any name."""
    return PurePosixPath(name).stem.isupper() and not name.endswith(".md")


def _missing_folders(prose: str, repo: Repository) -> Iterator[str]:
    """Folders in backticks that begin with a top folder of the repository: `gateway/attempts`."""
    tops = {file.partition("/")[0] for file in repo.files if "/" in file}
    for (name,) in (match.groups() for match in _TICKED.finditer(prose)):
        folder = "/" in name and _FOLDER.fullmatch(name) and not _PATH.fullmatch(name)
        if folder and name.partition("/")[0] in tops and not repo.has(name):
            yield name


def _missing_modules(prose: str, repo: Repository) -> Iterator[str]:
    for match in _DOTTED.finditer(prose):
        if not _names_something(match[1], repo) and match[1] not in _code_strings(repo):
            yield match[1]
    for match in _RUN.finditer(prose):
        place = match[1].replace(".", "/")
        if f"{place}.py" not in repo.files and f"{place}/__main__.py" not in repo.files:
            yield f"python -m {match[1]}"


def _names_something(dotted: str, repo: Repository) -> bool:
    """Whether the name is a module, or something that the module defines, in a class too."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        place = "/".join(parts[:count])
        for file in (f"{place}.py", f"{place}/__init__.py"):
            if file in repo.files:
                return _defines(repo.text(file), parts[count:])
        if repo.has(place) and count == len(parts):
            return True
    return False


def _defines(source: str, names: list[str]) -> bool:
    body: list[ast.stmt] = ast.parse(source).body
    for name in names:
        found = [node for node in body if name in _names_of(node)]
        if not found:
            return False
        body = found[0].body if isinstance(found[0], ast.ClassDef) else []
    return True


def _names_of(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(name.asname or name.name).partition(".")[0] for name in node.names}
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}


@cache
def _code_strings(repo: Repository) -> frozenset[str]:
    """Dotted strings of the code, such as a span's attribute `nidan.lesson_id`."""
    files = [file for file in repo.files if file.endswith(".py") and file.partition("/")[0] in PACKAGES[:7]]
    return frozenset(
        found for file in files for found in re.findall(r"\"([a-z_]+(?:\.[a-z0-9_]+)+)\"", repo.text(file))
    )


def _missing_targets(prose: str, repo: Repository) -> Iterator[str]:
    targets = set(re.findall(r"^([a-z][a-z-]*):", repo.text("Makefile"), re.MULTILINE))
    yield from (f"make {match[1]}" for match in _TARGET.finditer(prose) if match[1] not in targets)


def _missing_decisions(prose: str, repo: Repository) -> Iterator[str]:
    numbers = {name[9:13] for name in repo.files if name.startswith("docs/adr/")}
    yield from (f"ADR {match[1]}" for match in _DECISION.finditer(prose) if match[1] not in numbers)


def _missing_headings(prose: str, repo: Repository) -> Iterator[str]:
    for match in _HEADING.finditer(prose):
        for file in repo.files:
            if file == match[1] or file.endswith("/" + match[1]):
                if match[2] not in _headings(repo.text(file)):
                    yield f'{match[1]} "{match[2]}"'
                break


def _headings(document: str) -> list[str]:
    code = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
    return [line.lstrip("#").strip() for line in code.sub("", document).splitlines() if re.match(r"#{1,6} ", line)]


def _missing_links(path: str, prose: str, repo: Repository) -> Iterator[str]:
    for match in _LINK.finditer(re.sub(r"^```.*?^```", "", prose, flags=re.MULTILINE | re.DOTALL)):
        place, _, anchor = match[1].partition("#")
        if ":" in place:
            continue
        file = (ROOT / path).parent.joinpath(place).resolve() if place else ROOT / path
        name = str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else place
        known = name in repo.files or repo.has(name)
        if not known or (anchor and anchor not in map(anchor_of, _headings(repo.text(name)))):
            yield match[1]


def anchor_of(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")

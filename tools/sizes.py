"""How long functions, classes and files are: `python tools/sizes.py [FOLDER …]`. Fails where one is over its limit.

A function's lines include its decorators and docstring, and the functions inside it. Generated code does not count.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("lesson", "servicekit", "content_service", "enhancer_service", "gateway", "offline_model", "nidan")
EVERYTHING = (*PRODUCT, "tests", "tools", "benchmarks")
LIMITS = {"function": 60, "class": 250}
"""Lines. A file has no limit of its own: it must have one reason to exist, and no program can see that."""


@dataclass(frozen=True)
class Size:
    """One function, class or file. `where` is its path from the root, with the line it begins at."""

    kind: str
    name: str
    where: str
    lines: int

    @property
    def too_long(self) -> bool:
        return self.lines > LIMITS.get(self.kind, sys.maxsize)


def sizes(folders: Sequence[str], root: Path = ROOT) -> Iterator[Size]:
    """Every function, class and file under the folders of `root`, without generated code."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            where = path.relative_to(root)
            if where.parts[:2] == ("lesson", "v1"):
                continue
            text = path.read_text(encoding="utf-8")
            yield Size("file", path.stem, str(where), text.count("\n"))
            yield from _definitions(ast.parse(text), str(where))


def _definitions(tree: ast.Module, where: str) -> Iterator[Size]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            yield Size(kind, node.name, f"{where}:{first}", (node.end_lineno or first) - first + 1)


def row(kind: str, found: Sequence[Size]) -> str:
    """One line of the table: how many, and the distribution of their lines."""
    lines = sorted(size.lines for size in found)
    at = [lines[min(len(lines) - 1, int(len(lines) * share))] for share in (0.5, 0.9, 0.99)]
    return f"{kind:9} {len(lines):6} {sum(lines):7} {at[0]:7} {at[1]:5} {at[2]:5} {lines[-1]:5}"


def main(folders: Sequence[str]) -> int:
    """Prints the table and everything over its limit; the exit status is 1 if there is any."""
    found = list(sizes(folders or EVERYTHING))
    print("kind       count   lines  median   p90   p99   max")
    for kind in ("function", "class", "file"):
        if of_kind := [size for size in found if size.kind == kind]:
            print(row(kind, of_kind))
    over = [size for size in found if size.too_long]
    for size in over:
        print(f"{size.where}: {size.kind} {size.name} has {size.lines} lines; at most {LIMITS[size.kind]}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

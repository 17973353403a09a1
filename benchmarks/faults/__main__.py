"""The fault matrix: `python -m benchmarks.faults [--only WORD …] [--write]`. Exit status 1: a cell is not as wanted."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import uvloop

from benchmarks import where
from benchmarks.faults.cells import Cell, run, use_bank, wanted
from benchmarks.faults.invariants import broken
from benchmarks.faults.report import Judged, judged, page
from benchmarks.in_process import Held, plain_process
from enhancer_service.japanese.reading import Analyser
from lesson.models import Content
from offline_model.bank import load_bank

_PAGE = where.ROOT / "docs" / "reliability.md"
_AT_ONCE = 8
"""A cell mostly waits for time limits. With more at once this machine, not the fault, would reach the limits."""
_AGAIN = 8
"""Up to so many failed cells run once more, alone: a busy machine may have caused a 1.5 s time-out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if every cell is as wanted and nothing leaks."""
    options = _options(arguments)
    plain_process()
    cells = [cell for cell in wanted() if all(word in cell.name for word in options.only)]
    begun = time.monotonic()
    results, left_over = uvloop.run(_matrix(cells))
    seconds = time.monotonic() - begun
    wrong = [result for result in results if result.wrong]
    for result in wrong:
        print(f"\n{result.cell.name}")
        for line in result.wrong:
            print(f"  {line}")
    left = f"; left open: {left_over}" if left_over else ""
    print(f"\n{len(results)} cells, {len(wrong)} not as wanted, {seconds:.0f} s{left}")
    if options.write:
        text = page(
            results,
            command="make faults",
            commit=where.commit(),
            machine=where.machine(),
            day=where.today(),
            seconds=seconds,
        )
        _PAGE.write_text(text, encoding="utf-8")
    return 1 if wrong or left_over or not results else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description="Every fault, one lesson each.")
    parser.add_argument("--only", nargs="*", default=(), metavar="WORD", help="cells whose names have all of these")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    return parser.parse_args(arguments)


async def _matrix(cells: Sequence[Cell]) -> tuple[list[Judged], str]:
    """Runs all cells, some at once. Gives the results and what this process still holds open."""
    use_bank(load_bank())
    analyser = Analyser.load()
    plain = await _plain(analyser)
    before = Held.now()
    places = asyncio.Semaphore(_AT_ONCE)
    done = 0

    async def one(cell: Cell) -> Judged:
        nonlocal done
        async with places:
            seen = await run(cell, analyser)
        result = judged(seen, broken(seen, plain))
        done += 1
        print(
            f"{done:4}/{len(cells)} {'ok ' if not result.wrong else 'NOT'} {seen.seconds:5.1f} s  {cell.name}",
            flush=True,
        )
        return result

    results = await asyncio.gather(*map(one, cells))
    wrong = [result for result in results if result.wrong]
    for first in wrong if len(wrong) <= _AGAIN else ():
        print(f"{first.cell.name}, once more and alone: {'; '.join(first.wrong)}", flush=True)
        results[results.index(first)] = replace(await one(first.cell), before=first.wrong)
    return results, await before.left_over()


async def _plain(analyser: Analyser) -> Content:
    """The content of a correct Stage 1 answer. Raises RuntimeError without a lesson."""
    seen = await run(Cell("stage1", "503 then fine", "-", "first", "", "", ""), analyser)
    if seen.lesson is None:
        raise RuntimeError(f"no lesson even when a retry helps: {seen.error}")
    return seen.lesson.content


if __name__ == "__main__":
    sys.exit(main())

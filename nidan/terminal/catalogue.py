"""Entries of the Can-do catalogue laid out for reading. Pure: the admin's JSON in, renderables and lines out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nidan.terminal.lines import Lines
from nidan.terminal.sanitize import clean

_OFFLINE_MARK = " *"


def entries_table(entries: Sequence[Mapping[str, Any]], every: int) -> RenderableType:
    """The entries, and below them how many there are in all."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("ID", overflow="fold")
    table.add_column("Level")
    table.add_column("Topic", max_width=24)
    table.add_column("Can-do")
    for entry in entries:
        mark = _OFFLINE_MARK if entry["offline"] else ""
        topic = Text(clean(_topic(entry)))
        topic.append(f"\n{clean(entry['topic_en'])}" if entry["topic_en"] else "", "dim")
        text = Lines(entry["text_en"] or entry["text_ja"])
        table.add_row(Text(clean(entry["ids"][0]) + mark, "bold"), entry["level"], topic, text)
    return Group(table, Text(), *(Text(line, "dim") for line in _footer(entries, every)))


def _topic(entry: Mapping[str, Any]) -> str:
    return str(next(iter(entry["topics"]), entry["category"]))


def _footer(entries: Sequence[Mapping[str, Any]], every: int) -> Iterator[str]:
    number = f"{every:,} entr{'y' if every == 1 else 'ies'}"
    yield f"{number}, the best {len(entries)} shown; more words find fewer." if len(entries) < every else f"{number}."
    if any(entry["offline"] for entry in entries):
        yield f"{_OFFLINE_MARK.strip()} The offline model has a lesson: nidan generate ID --offline"


def entry_card(entry: Mapping[str, Any]) -> RenderableType:
    """All facts of one entry that are not empty."""
    first, *others = entry["ids"]
    number = f", number {entry['number']}" if entry["number"] is not None else ""
    ours = " (a lesson by our own wording)" if entry["list_kind"] else ""
    facts = {
        "ID": first,
        "Also": ", ".join(others),
        "Level": entry["level"],
        "Topic": " · ".join(filter(None, [*entry["topics"], entry["topic_en"]])),
        "Category": entry["category"],
        "Activity": " · ".join(filter(None, [entry["activity"], entry["type"]])),
        "日本語": entry["text_ja"],
        "English": entry["text_en"],
        "Source": ", ".join(filter(None, [entry["source"], entry["edition"]])),
        "Kind": f"{entry['list_kind']}{number}" if entry["list_kind"] else "",
        "Licence": entry["licence_note"],
        "Offline": f"nidan generate {first} --offline{ours}" if entry["offline"] else "",
    }
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, fact in facts.items():
        if fact:
            table.add_row(Text(name, "dim"), Lines(fact, "bold" if name == "ID" else ""))
    return table


def import_summary(line: Mapping[str, Any], file: Path) -> Iterator[str]:
    """What an import changed, in sentences."""
    counts = ", ".join(f"{line[word]:,} {word}" for word in ("new", "updated", "unchanged") if line[word])
    nothing = "Nothing to change" if line["unchanged"] == line["rows"] else "Imported"
    yield f"{'Checked only, nothing written' if line['dry_run'] else nothing}: {file.name}: {counts}."
    yield f"Source: {line['source']}. Edition: {line['edition']}{_edition_note(line)}"
    for other in line["overruled"]:
        earlier = f"{other['source']}, {other['edition']}"
        yield f"Ids taken over from {earlier}: {other['ids']:,}. Of two lists, the one imported last has the id."
    if line["ignored_columns"]:
        yield f"Columns left out: {', '.join(line['ignored_columns'])}."
    for cell, rows in line["unknown_activities"].items():
        yield f"言語活動 {cell!r} is none of 受容, 産出, やりとり; left empty in {rows:,} row{'s' * (rows != 1)}."
    if not line["dry_run"]:
        yield f"Kept in {line['file']}, which a running gateway reads from now on. The terms of the source apply."


def _edition_note(line: Mapping[str, Any]) -> str:
    if line["edition_given"]:
        return "."
    if line["edition"] == "unknown":
        return ": the file's name has no date. Give one with --edition 2023-05: editions number rows differently."
    return " (from the file's name; --edition overrides it)."

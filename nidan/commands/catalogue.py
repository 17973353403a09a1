"""`nidan catalogue`: which Can-do there are, and importing a published list of them.

The catalogue is the gateway's; this asks `python -m gateway admin catalogue …`, a process that speaks JSON lines.
"""
# What a command needs is imported in it: `nidan --help` shall not wait for it.
# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nidan.services.admin import ask

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nidan.terminal.output import Output
    from nidan.terminal.progress import Progress

_LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2")
_SHOWN_FAULTS = 20
_SHOWN_FOUND = 20
_TELL_EVERY_ROWS = 10_000
"""Where lines are not replaced by the next one."""
_OFFLINE_MARK = " *"

app = typer.Typer(
    name="catalogue",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="The Can-do catalogue: what can be taught by an id, and importing lists of your own.",
    epilog="[bold]nidan catalogue search 駅[/]  finds what is about stations.  "
    "[bold]nidan catalogue import list.csv[/]  makes the rows of a list ids, as JF:349.",
)

_STATUS = "[bold]Exit status[/]  0 found · 1 nothing found, and why · 2 wrong usage · 130 Ctrl-C"
_LIST_EPILOG = f"""\
[bold]Examples[/]

nidan catalogue list --level A1
[dim]everything for beginners[/]

nidan catalogue list --topic food
[dim]one topic, by part of its English or Japanese name (食生活)[/]

nidan catalogue list --offline
[dim]what nidan generate ID --offline has a built-in lesson for[/]

nidan catalogue list --json | jq -r '.ids\\[0]'
[dim]an object an entry, each in its line[/]

{_STATUS}
"""
_SHOW_EPILOG = f"""\
[bold]Examples[/]

nidan catalogue show JF:349
[dim]its wording in both languages, and where it is from[/]

nidan catalogue show ｊｆ：349 --json
[dim]width, case and spaces of an id do not count[/]

{_STATUS}
"""
_SEARCH_EPILOG = f"""\
[bold]Examples[/]

nidan catalogue search 駅 電車
[dim]what is about both; over ids, topics and wording, the best first[/]

nidan catalogue search family photo
[dim]in English; where nothing holds all the words, what holds some[/]

{_STATUS}
"""
_IMPORT_EPILOG = """\
[bold]Examples[/]

nidan catalogue import jf-cando-2023-05.csv
[dim]row 349 of kind JF becomes JF:349; the edition, 2023-05, is taken from the file's name[/]

nidan catalogue import list.tsv --source "Our school" --edition 2026
[dim]a list of your own; source and edition tell its rows from those of other lists[/]

nidan catalogue import list.csv --dry-run
[dim]only checks, and says what would change[/]

[bold]The file[/]  CSV or TSV, in UTF-8 or Shift_JIS (cp932). Its first line names the columns, in any order:
No, 種別, 種類, レベル, 言語活動, カテゴリー, 第1トピック, JF Can-do (日本語), JF Can-do (English);
第2トピック and 公開日・更新日 may be there. All rows are taken, or none; each fault is told with its line.

[bold]Where[/]  CATALOGUE_FILE, else ~/.nidan/catalogue.jsonl. A gateway that runs takes it up with its next lesson.
An imported entry goes before one of ours with the same id. The texts stay there: the terms of their source apply.

[bold]Exit status[/]  0 imported, or nothing to change · 1 nothing imported, and why · 2 wrong usage · 130 Ctrl-C
"""

_AsJson = Annotated[
    bool, typer.Option("--json", help="JSON objects, each in its line; a failure is one more, the last.")
]


# --- commands ---------------------------------------------------------------------------------------------------


@app.command("list", epilog=_LIST_EPILOG)
def list_entries(
    *,
    topic: Annotated[str, typer.Option(help="Part of the topic, in Japanese or English.")] = "",
    level: Annotated[str, typer.Option(metavar="A1…C2", help="Of this level only.")] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Those with a lesson that needs no key.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Lists the entries of the catalogue, yours and ours."""
    if level and level.upper() not in _LEVELS:
        raise typer.BadParameter(f"one of {', '.join(_LEVELS)}", param_hint="--level")
    arguments = ["list", f"--topic={topic}", *([f"--level={level.upper()}"] if level else [])]
    _run(lambda desk: desk.entries([*arguments, *(["--offline"] if offline else [])]), as_json, "Nothing to list")


@app.command(epilog=_SHOW_EPILOG)
def show(
    can_do_id: Annotated[str, typer.Argument(metavar="ID", help="A Can-do, as JF:349.")],
    *,
    as_json: _AsJson = False,
) -> None:
    """Shows one entry, or what is nearest to an id that names none."""
    _check_text(can_do_id, "ID")
    _run(lambda desk: desk.entry(can_do_id), as_json, "Not found")


@app.command(epilog=_SEARCH_EPILOG)
def search(
    words: Annotated[list[str], typer.Argument(metavar="WORDS", help="Japanese or English.")],
    *,
    as_json: _AsJson = False,
) -> None:
    """Finds entries by words of their text, topic or id; the best come first."""
    _check_text(" ".join(words), "WORDS")
    _run(lambda desk: desk.entries(["search", "--", *words], _SHOWN_FOUND), as_json, "Not found")


@app.command("import", epilog=_IMPORT_EPILOG)
def import_list(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The list, as CSV or TSV.")],
    *,
    source: Annotated[str, typer.Option(help="Whose list it is; else the JF Can-do list.")] = "",
    edition: Annotated[str, typer.Option(help="Which edition; else the date in the file's name, else unknown.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and say what would change; change nothing.")
    ] = False,
    as_json: _AsJson = False,
) -> None:
    """Imports the rows of a Can-do list: all of them or, with every fault named, none."""
    options = [f"--{name}={value}" for name, value in (("source", source), ("edition", edition)) if value]
    arguments = ["import", *options, *(["--dry-run"] if dry_run else []), "--", str(file)]
    _run(lambda desk: desk.imported(arguments, file), as_json, "Not imported")


def _check_text(text: str, name: str) -> None:
    if not text.strip():
        raise typer.BadParameter("is empty", param_hint=name)


def _run(do: Callable[[_Desk], None], as_json: bool, headline: str) -> None:
    """Ends the command with its exit status."""
    from nidan.errors import EXIT_FAILED, EXIT_INTERRUPTED, GivenUpError
    from nidan.terminal.failures import report_failure
    from nidan.terminal.output import Output, OutputError
    from nidan.terminal.progress import Progress, message_console

    progress = Progress(message_console(), live_only=True)
    try:
        do(_Desk(Output(None), progress, as_json))
    except KeyboardInterrupt:
        progress.say("Interrupted.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        return  # whoever read it has had enough
    except (GivenUpError, OutputError) as error:
        report_failure(error, as_json, progress, headline)
        raise typer.Exit(EXIT_FAILED) from error


# --- asking the gateway's admin, and telling what it said --------------------------------------------------------


class _Desk:
    """Where a command's answers come from and go to."""

    def __init__(self, output: Output, progress: Progress, as_json: bool) -> None:
        self._output = output
        self._progress = progress
        self._as_json = as_json

    def entries(self, arguments: Sequence[str], most: int | None = None) -> None:
        """Prints the entries; `most` of them for a person. Raises GivenUpError where there is none."""
        told = list(self._asked(arguments))
        found = [line for line in told if line["kind"] == "entry"]
        if not found:
            self._nothing([topic for line in told if line["kind"] == "summary" for topic in line["topics"]])
        if self._as_json:
            self._write_json(found)
        else:
            self._print(_table(found[:most], len(found)))

    def entry(self, can_do_id: str) -> None:
        """Prints one entry in full. Raises GivenUpError."""
        found = [line for line in self._asked(["show", "--", can_do_id]) if line["kind"] == "entry"]
        if self._as_json:
            self._write_json(found)
        else:
            self._print(_card(found[0]))

    def imported(self, arguments: Sequence[str], file: Path) -> None:
        """Prints what the import changed, or every fault. Raises GivenUpError."""
        faults = []
        with self._progress.shown(), contextlib.closing(self._asked(arguments)) as lines:
            for line in lines:
                if line["kind"] == "summary":
                    self._summary(line, file)
                elif self._as_json:
                    self._write_json([line])
                else:
                    faults.append(line)
                    self._fault(line, len(faults))

    def _summary(self, line: dict[str, Any], file: Path) -> None:
        if self._as_json:
            self._write_json([line])
            return
        from nidan.terminal.sanitize import clean

        self._progress.finish()
        self._output.write("".join(f"{clean(told)}\n" for told in _summary(line, file)))

    def _fault(self, line: dict[str, Any], count: int) -> None:
        if count <= _SHOWN_FAULTS:
            column = f", {line['column']}" if line["column"] else ""
            self._progress.say(f"line {line['line']}{column}: {line['problem']}. {line['next_step']}", "yellow")
        elif count == _SHOWN_FAULTS + 1:
            self._progress.say("… and more; --json tells 200.", "yellow")

    def _nothing(self, topics: Sequence[str]) -> None:
        from nidan.errors import Failure, GivenUpError

        step = (
            f"Topics: {', '.join(topics)}." if topics else "Try fewer or other words; `nidan catalogue list` has all."
        )
        raise GivenUpError(Failure("NOTHING_FOUND", "no entry is like that.", step, caller_fault=True))

    def _write_json(self, lines: Sequence[dict[str, Any]]) -> None:
        self._output.write("".join(f"{json.dumps(_neutral(line), ensure_ascii=False)}\n" for line in lines))

    def _print(self, what: RenderableType) -> None:
        from nidan.terminal.layout import printed
        from nidan.terminal.output import Screen

        screen = Screen.of_stdout()
        self._output.write(printed(what, screen.columns, screen.colour))

    def _asked(self, arguments: Sequence[str]) -> Generator[dict[str, Any]]:
        """What the admin says. Raises GivenUpError for its error, BadParameter for its usage."""
        return ask(["catalogue", *arguments], _NEXT, self._doing)

    def _doing(self, rows: int) -> None:
        if sys.stderr.isatty():
            self._progress.doing(f"Read {rows:,} rows …")
        elif rows % _TELL_EVERY_ROWS == 0:
            self._progress.say(f"Read {rows:,} rows …")


_NEXT = {
    "KNOWN_FORM": "`nidan catalogue search WORDS` finds entries by words.",
    "UNKNOWN_CAN_DO": "`nidan catalogue search WORDS` finds entries by words.",
    "ROWS_REJECTED": "Mend the rows that are named and import the file again.",
    "LIST_NOT_READ": "`nidan catalogue import --help` says what the file has to be like.",
    "CATALOGUE_NOT_USABLE": "CATALOGUE_FILE names the file; unset, it is ~/.nidan/catalogue.jsonl.",
    "SETTINGS": "Set or unset the variable that is named.",
}


def _neutral(line: dict[str, Any]) -> dict[str, Any]:
    """An entry has its own `kind`, which is its list's."""
    if line["kind"] != "entry":
        return line
    return {("kind" if key == "list_kind" else key): value for key, value in line.items() if key != "kind"}


# --- laid out to be read ----------------------------------------------------------------------------------------


def _table(entries: Sequence[Mapping[str, Any]], every: int) -> RenderableType:
    """The entries, and below them how many there are in all."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from nidan.terminal.lines import Lines
    from nidan.terminal.sanitize import clean

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


def _card(entry: Mapping[str, Any]) -> RenderableType:
    """All that is known of one entry; what is empty is left out."""
    from rich.table import Table
    from rich.text import Text

    from nidan.terminal.lines import Lines

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


def _summary(line: Mapping[str, Any], file: Path) -> Iterator[str]:
    """What an import changed, and what its reader should know of it."""
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
        yield f"Kept in {line['file']}, which a gateway that runs takes up now. The terms of the source apply."


def _edition_note(line: Mapping[str, Any]) -> str:
    if line["edition_given"]:
        return "."
    if line["edition"] == "unknown":
        return ": the file's name tells no date. Say it with --edition 2023-05: editions number their rows differently."
    return " (from the file's name; --edition says otherwise)."

"""`nidan catalogue`: which Can-do there are, and importing a published list of them."""
# Functions import what their command needs: `nidan --help` needs none of it.
# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nidan.options import LEVELS, JsonLines, check_choice
from servicekit.safe_json import safe_dumps

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nidan.services.catalogue import Entry
    from nidan.terminal.output import Output
    from nidan.terminal.progress import Progress

_SHOWN_REJECTIONS = 20
_SHOWN_FOUND = 20
_REPORT_EVERY_ROWS = 10_000
"""Where no line can replace the one before."""

app = typer.Typer(
    name="catalogue",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="The Can-do catalogue: what can be taught by an id, and importing lists of your own.",
    epilog="[bold]nidan catalogue search 駅[/]  finds entries about stations.  "
    "[bold]nidan catalogue import list.csv[/]  makes ids such as JF:349 of a list's rows.",
)

_STATUS = "[bold]Exit status[/]  0 found · 1 nothing found, and why · 2 wrong usage · 130 Ctrl-C"
_LIST_EPILOG = f"""\
[bold]Examples[/]

nidan catalogue list --level A1
[dim]everything for beginners[/]

nidan catalogue list --topic food
[dim]one topic, by part of its English or Japanese name (食生活)[/]

nidan catalogue list --offline
[dim]the entries for which nidan generate ID --offline has a built-in lesson[/]

nidan catalogue list --json | jq -r '.ids\\[0]'
[dim]one object an entry, one a line[/]

{_STATUS}
"""
_SHOW_EPILOG = f"""\
[bold]Examples[/]

nidan catalogue show JF:349
[dim]its wording in both languages, and its source[/]

nidan catalogue show ｊｆ：349 --json
[dim]width, case and spaces of an id do not count[/]

{_STATUS}
"""
_SEARCH_EPILOG = f"""\
[bold]Examples[/]

nidan catalogue search 駅 電車
[dim]entries about both; looks in ids, topics and wording, the best first[/]

nidan catalogue search family photo
[dim]in English; where no entry holds all the words, those that hold some[/]

{_STATUS}
"""
_IMPORT_EPILOG = """\
[bold]Examples[/]

nidan catalogue import jf-cando-2023-05.csv
[dim]row 349 of kind JF becomes JF:349; the edition, 2023-05, comes from the file's name[/]

nidan catalogue import list.tsv --source "Our school" --edition 2026
[dim]a list of your own; source and edition distinguish its rows from those of other lists[/]

nidan catalogue import list.csv --dry-run
[dim]only checks, and reports what would change[/]

[bold]The file[/]  CSV or TSV, in UTF-8 or Shift_JIS (cp932). Its first line names the columns, in any order:
No, 種別, 種類, レベル, 言語活動, カテゴリー, 第1トピック, JF Can-do (日本語), JF Can-do (English);
第2トピック and 公開日・更新日 are optional. Imports all rows or none, and names each faulty row by its line.

[bold]Where[/]  CATALOGUE_FILE, else ~/.nidan/catalogue.jsonl. A running gateway uses it from its next lesson on.
An imported entry overrides one of ours with the same id. The texts stay there: the terms of their source apply.

[bold]Exit status[/]  0 imported, or nothing to change · 1 nothing imported, and why · 2 wrong usage · 130 Ctrl-C
"""


@app.command("list", epilog=_LIST_EPILOG)
def list_entries(
    *,
    topic: Annotated[str, typer.Option(help="Part of the topic, in Japanese or English.")] = "",
    level: Annotated[str, typer.Option(metavar="A1…C2", help="Of this level only.")] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Those with a lesson that needs no key.")] = False,
    as_json: JsonLines = False,
) -> None:
    """Lists the entries of the catalogue, yours and ours."""
    check_choice("--level", level.upper(), LEVELS)
    with _printing(as_json, "Nothing to list") as printer:
        printer.entries(printer.catalogue.list_entries(topic, level.upper(), offline))


@app.command(epilog=_SHOW_EPILOG)
def show(
    can_do_id: Annotated[str, typer.Argument(metavar="ID", help="A Can-do, such as JF:349.")],
    *,
    as_json: JsonLines = False,
) -> None:
    """Shows one entry; for an unknown id, the nearest ones."""
    _check_text(can_do_id, "ID")
    with _printing(as_json, "Not found") as printer:
        printer.entry(printer.catalogue.show(can_do_id))


@app.command(epilog=_SEARCH_EPILOG)
def search(
    words: Annotated[list[str], typer.Argument(metavar="WORDS", help="Japanese or English.")],
    *,
    as_json: JsonLines = False,
) -> None:
    """Finds entries by words of their text, topic or id; the best come first."""
    _check_text(" ".join(words), "WORDS")
    with _printing(as_json, "Not found") as printer:
        printer.entries(printer.catalogue.search(words), _SHOWN_FOUND)


@app.command("import", epilog=_IMPORT_EPILOG)
def import_list(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The list, as CSV or TSV.")],
    *,
    source: Annotated[str, typer.Option(help="Whose list it is; else the JF Can-do list.")] = "",
    edition: Annotated[str, typer.Option(help="Which edition; else the date in the file's name, else unknown.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and say what would change; change nothing.")
    ] = False,
    as_json: JsonLines = False,
) -> None:
    """Imports the rows of a Can-do list: all of them, or none and the reason for each rejected row."""
    with _printing(as_json, "Not imported") as printer:
        lines = printer.catalogue.import_list(file, source, edition, dry_run)
        with printer.progress.shown(), contextlib.closing(lines):
            printer.imported(lines, file)


def _check_text(text: str, name: str) -> None:
    if not text.strip():
        raise typer.BadParameter("is empty", param_hint=name)


@contextlib.contextmanager
def _printing(as_json: bool, headline: str) -> Iterator[_Printer]:
    """Ends the command with its exit status where the block fails."""
    from nidan.errors import EXIT_FAILED, EXIT_INTERRUPTED, GivenUpError
    from nidan.terminal.failures import report_failure
    from nidan.terminal.output import Output, OutputError
    from nidan.terminal.progress import Progress, message_console

    progress = Progress(message_console(), live_only=True)
    try:
        yield _Printer(Output(None), progress, as_json)
    except KeyboardInterrupt:
        progress.say("Interrupted.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        return  # the reader has seen enough
    except (GivenUpError, OutputError) as error:
        report_failure(error, as_json, progress, headline)
        raise typer.Exit(EXIT_FAILED) from error


class _Printer:
    """Prints what the catalogue answers, as JSON lines or for reading."""

    def __init__(self, output: Output, progress: Progress, as_json: bool) -> None:
        from nidan.services.catalogue import CatalogueClient

        self.catalogue = CatalogueClient(self._show_rows)
        self.progress = progress
        self._output = output
        self._as_json = as_json

    def entries(self, found: Sequence[Entry], most: int | None = None) -> None:
        """A person sees `most` of them."""
        from nidan.terminal.catalogue import entries_table

        if self._as_json:
            self._write_json(found)
        else:
            self._print(entries_table(found[:most], len(found)))

    def entry(self, entry: Entry) -> None:
        from nidan.terminal.catalogue import entry_card

        if self._as_json:
            self._write_json([entry])
        else:
            self._print(entry_card(entry))

    def imported(self, lines: Iterable[dict[str, Any]], file: Path) -> None:
        """Prints the summary of an import, or its rejected rows."""
        rejections = 0
        for line in lines:
            if self._as_json:
                self._write_json([line])
            elif line["kind"] == "summary":
                self._print_summary(line, file)
            else:
                rejections += 1
                self._print_rejection(line, rejections)

    def _print_summary(self, line: dict[str, Any], file: Path) -> None:
        from nidan.terminal.catalogue import import_summary
        from nidan.terminal.sanitize import clean

        self.progress.finish()
        self._output.write("".join(f"{clean(sentence)}\n" for sentence in import_summary(line, file)))

    def _print_rejection(self, line: dict[str, Any], count: int) -> None:
        if count <= _SHOWN_REJECTIONS:
            column = f", {line['column']}" if line["column"] else ""
            self.progress.say(f"line {line['line']}{column}: {line['problem']}. {line['next_step']}", "yellow")
        elif count == _SHOWN_REJECTIONS + 1:
            self.progress.say("… and more; --json lists up to 200.", "yellow")

    def _write_json(self, lines: Sequence[dict[str, Any]]) -> None:
        self._output.write("".join(f"{safe_dumps(_public(line))}\n" for line in lines))

    def _print(self, renderable: RenderableType) -> None:
        from nidan.terminal.layout import printed
        from nidan.terminal.output import Screen

        screen = Screen.of_stdout()
        self._output.write(printed(renderable, screen.columns, screen.colour))

    def _show_rows(self, rows: int) -> None:
        if sys.stderr.isatty():
            self.progress.doing(f"Read {rows:,} rows …")
        elif rows % _REPORT_EVERY_ROWS == 0:
            self.progress.say(f"Read {rows:,} rows …")


def _public(line: dict[str, Any]) -> dict[str, Any]:
    """An entry under its own names: its `kind` is that of its list."""
    if line["kind"] != "entry":
        return line
    return {("kind" if key == "list_kind" else key): value for key, value in line.items() if key != "kind"}

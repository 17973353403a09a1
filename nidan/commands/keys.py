"""`nidan keys`: who may call a gateway. The gateway's admin keeps the keys, and of each only a hash."""
# Functions import what their command needs: `nidan --help` needs none of it.
# ruff: noqa: PLC0415

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nidan.options import JsonLines
from servicekit.safe_json import safe_dumps

if TYPE_CHECKING:
    from nidan.terminal.output import Output

_SCOPES = ("generate", "review", "admin")
app = typer.Typer(
    name="keys",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Callers' keys of a gateway: who may call it, for what, how often, and for how much money.",
    epilog="[bold]nidan keys add web --scope generate --file keys.toml[/]  makes a key and prints it, once.",
)

_STATUS = "[bold]Exit status[/]  0 done · 1 not done, and why · 2 wrong usage"
_ADD_EPILOG = f"""\
[bold]Examples[/]

nidan keys add web --scope generate --file keys.toml
[dim]prints the key, this once; the file keeps only its SHA-256[/]

nidan keys add school --scope generate --expires-days 90 --lessons-per-minute 6 --daily-usd 2
[dim]into GATEWAY_KEYS_FILE; limits of its own, in place of the gateway's GATEWAY_CALLER_…[/]

NIDAN_API_KEY=nidan_… nidan generate JF:349 --address lessons.example:443 --tls
[dim]how the key is used[/]

[bold]Scopes[/]  generate: make lessons · review: approve and correct them · admin: look into the gateway.
No scope includes another; give --scope once for each.

A running gateway reads the file again at its next call.

{_STATUS}
"""
_REVOKE_EPILOG = f"""\
[bold]Examples[/]

nidan keys revoke 3f9a12bc
[dim]refused from the next call on; lessons under way are finished[/]

{_STATUS}
"""

_NEXT_STEPS = {
    "UNKNOWN_KEY": "`nidan keys list` names the ids.",
    "KEYS_NOT_USABLE": "Fix the file, or name another one with --file or GATEWAY_KEYS_FILE.",
    "SETTINGS": "Set or unset the variable that is named; --file names the file of keys without any setting.",
}

_File = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="The file of keys; else GATEWAY_KEYS_FILE.")]


@app.command(epilog=_ADD_EPILOG)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the caller, for people.")],
    *,
    scope: Annotated[list[str], typer.Option(metavar="|".join(_SCOPES), help="What it may be used for.")],
    expires_days: Annotated[
        float | None, typer.Option(metavar="DAYS", help="The key expires after so many days.")
    ] = None,
    lessons_per_minute: Annotated[
        float | None, typer.Option(metavar="N", help="Else the gateway's limit; 0: none.")
    ] = None,
    lessons_at_once: Annotated[int | None, typer.Option(metavar="N", help="Else the gateway's limit; 0: none.")] = None,
    daily_usd: Annotated[
        float | None, typer.Option(metavar="AMOUNT", help="Else the gateway's limit; 0: none.")
    ] = None,
    file: _File = None,
    as_json: JsonLines = False,
) -> None:
    """Makes a key and prints it, this once."""
    for one in scope:
        if one not in _SCOPES:
            raise typer.BadParameter(f"one of {', '.join(_SCOPES)}", param_hint="--scope")
    _check_number("--expires-days", expires_days, above=0)
    options: dict[str, float | None] = {
        "--expires-days": expires_days,
        "--lessons-per-minute": lessons_per_minute,
        "--lessons-at-once": lessons_at_once,
        "--daily-cost-usd": daily_usd,
    }
    for option, number in options.items():
        _check_number(option, number)
    limits = [f"{option}={number}" for option, number in options.items() if number is not None]
    arguments = ["add", *(f"--scope={one}" for one in scope), *limits, "--", name]
    _run(arguments, file, as_json, "No key", _print_new)


@app.command("list")
def list_keys(*, file: _File = None, as_json: JsonLines = False) -> None:
    """Lists the keys: id, name, scopes, limits and state, and no secret."""
    _run(["list"], file, as_json, "Nothing to list", _print_all)


@app.command(epilog=_REVOKE_EPILOG)
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="From `nidan keys list`; or the whole key.")],
    *,
    file: _File = None,
    as_json: JsonLines = False,
) -> None:
    """Revokes a key for good."""
    parts = key_id.split("_", 2)
    public_id = parts[1] if len(parts) > 1 and parts[0] == "nidan" else key_id
    _run(["revoke", "--", public_id], file, as_json, "Not revoked", _print_revoked)


def _check_number(name: str, number: float | None, above: float = -1.0) -> None:
    if number is not None and not (above < number < math.inf and number >= 0):
        raise typer.BadParameter("must be above 0" if above == 0 else "must not be below 0", param_hint=name)


_Lines = Sequence[Mapping[str, Any]]


def _run(
    arguments: Sequence[str],
    file: Path | None,
    as_json: bool,
    headline: str,
    print_lines: Callable[[_Lines, Output], None],
) -> None:
    """Ends the command with its exit status."""
    from nidan.errors import EXIT_FAILED, GivenUpError
    from nidan.services.admin import ask_admin
    from nidan.terminal.failures import report_failure
    from nidan.terminal.output import Output, OutputError
    from nidan.terminal.progress import Progress, message_console

    file_option = ["--file", str(file)] if file else []
    output = Output(None)
    try:
        lines = list(ask_admin(["keys", *file_option, *arguments], _NEXT_STEPS))
        if as_json:
            output.write("".join(f"{safe_dumps(_public(line))}\n" for line in lines))
        else:
            print_lines(lines, output)
    except BrokenPipeError:
        return
    except (GivenUpError, OutputError) as error:
        report_failure(error, as_json, Progress(message_console(), live_only=True), headline)
        raise typer.Exit(EXIT_FAILED) from error


def _public(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "kind"}


def _print_new(lines: _Lines, output: Output) -> None:
    """Prints only the key to stdout, so that `> file` keeps it; the rest goes to stderr."""
    (key,) = lines
    from nidan.terminal.progress import message_console
    from nidan.terminal.sanitize import clean

    until = f", until {key['expires']}" if key["expires"] else ""
    console = message_console()
    console.print(
        clean(f"Key {key['id']} of {key['name']} for {', '.join(key['scopes'])}{until}. It is shown this once:"),
        markup=False,
    )
    output.write(f"{key['key']}\n")
    console.print("Use it as NIDAN_API_KEY, or as `authorization: Bearer …`.", markup=False)


def _print_revoked(lines: _Lines, output: Output) -> None:
    from nidan.terminal.sanitize import clean

    (key,) = lines
    output.write(clean(f"Key {key['id']} of {key['name']} is revoked.") + "\n")


def _print_all(lines: _Lines, output: Output) -> None:
    from rich.table import Table
    from rich.text import Text

    from nidan.terminal.layout import printed
    from nidan.terminal.output import Screen
    from nidan.terminal.sanitize import clean

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("ID", "Name", "Scopes", "State", "Expires", "Limits"):
        table.add_column(title, overflow="fold")
    for key in lines:
        expires = str(key["expires"] or "–").removesuffix("T00:00:00Z")
        cells = (key["id"], clean(key["name"]), ", ".join(key["scopes"]), key["state"], expires, _limits(key) or "–")
        table.add_row(*map(Text, cells))
    screen = Screen.of_stdout()
    output.write(printed(table, screen.columns, screen.colour))


def _limits(key: Mapping[str, Any]) -> str:
    formats = {
        "lessons_per_minute": "{:g} a minute",
        "lessons_at_once": "{} at once",
        "daily_cost_usd": "${:g} a day",
    }
    return ", ".join(text.format(key[name]) for name, text in formats.items() if key[name] is not None)

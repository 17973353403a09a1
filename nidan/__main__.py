"""The command line `nidan`: the commands under one name. `nidan --help` loads neither gRPC nor the models."""

from __future__ import annotations

import typer

from nidan.commands import annotate, batch, catalogue, doctor, generate, keys, models, up

app = typer.Typer(
    name="nidan",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Turns a Can-do into a whole Japanese lesson: one model writes it, a second annotates every sentence.",
    epilog="[bold]nidan generate JF:349 --offline[/]  prints a built-in lesson now, without key, network or cost.",
)
for command in (generate, batch, annotate, up, doctor, models, catalogue, keys):
    app.add_typer(command.app)


def main() -> None:
    """The console script. Exits with the command's status. SIGTERM and SIGHUP first end the services it started."""
    from nidan.services.signals import raise_on_signals  # noqa: PLC0415 - `nidan --help` needs no services

    raise_on_signals()
    app()


if __name__ == "__main__":
    main()

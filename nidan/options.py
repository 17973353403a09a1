"""What several commands take on the command line, and the checks of it. A check raises BadParameter: status 2."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from nidan.credentials import Access, AccessError

LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2")
_ACCESS_PANEL = "A gateway that asks for a key, or speaks TLS"

KeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Holds your key; else NIDAN_API_KEY.", rich_help_panel=_ACCESS_PANEL),
]
Tls = Annotated[
    bool,
    typer.Option(
        "--tls", help="Speak TLS, by the system's authorities; or NIDAN_TLS=true.", rich_help_panel=_ACCESS_PANEL
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Speak TLS, by these authorities (PEM); or NIDAN_CA_FILE.", rich_help_panel=_ACCESS_PANEL
    ),
]
JsonLines = Annotated[bool, typer.Option("--json", help="JSON objects, one a line; a failure is one more, the last.")]


def check_choice(option: str, value: str, choices: Iterable[str]) -> None:
    """Empty is not set, and passes."""
    if value and value not in choices:
        raise typer.BadParameter(f"one of {', '.join(choices)}", param_hint=option)


def check_gateway(address: str, offline: bool) -> None:
    """Checks the form of the address that the option names, or NIDAN_ADDRESS."""
    if address and offline:
        raise typer.BadParameter("--offline starts its own services; drop one of the two", param_hint="--address")
    check_address("--address", address)
    if not (address or offline):
        check_address("NIDAN_ADDRESS", os.environ.get("NIDAN_ADDRESS", ""))


def check_address(name: str, address: str, example_port: int = 50050) -> None:
    """Checks that `address`, given by the option or variable `name`, is HOST:PORT."""
    host, _, port = address.rpartition(":")
    if address and not (host and port.isdecimal() and 0 < int(port) <= 65_535):
        raise typer.BadParameter(f"{address!r} is not HOST:PORT, as in 127.0.0.1:{example_port}", param_hint=name)


def read_access(address: str, offline: bool, key_file: Path | None, tls: bool, ca_file: Path | None) -> Access:
    """How to call the gateway: options first, then the environment."""
    if offline and (key_file or tls or ca_file):
        raise typer.BadParameter("--offline starts its own services, which need no key", param_hint="--offline")
    if offline:
        return Access()
    try:
        access = Access.from_environment(os.environ, key_file, tls, ca_file)
        named = address or os.environ.get("NIDAN_ADDRESS", "")
        if named:
            access.check(named)
    except AccessError as error:
        raise typer.BadParameter(str(error), param_hint=error.name) from error
    return access

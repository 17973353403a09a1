"""Starts the gateway (`python -m gateway`), or works on its files (`… admin`). The only reader of its settings.

Each half is imported when it is wanted: a command on a file needs neither gRPC nor the runs, which take half a second.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gateway.settings import GatewaySettings
from servicekit.settings import SettingsError, load


def _catalogue_path() -> Path:
    return load(GatewaySettings).catalogue_path


def _keys_path() -> Path:
    path = load(GatewaySettings).keys_path
    if path is None:
        raise SettingsError("GATEWAY_KEYS_FILE: is not set. Set it, or name the file with --file.")
    return path


def main() -> None:
    """Serves until a signal comes, or runs one command and exits with its status."""
    if sys.argv[1:]:
        from gateway import admin  # noqa: PLC0415 - see above

        sys.exit(admin.main(sys.argv[1:], _catalogue_path, _keys_path))
    from gateway.service import NAME, build  # noqa: PLC0415 - see above
    from servicekit.server import start  # noqa: PLC0415 - see above

    start(NAME, GatewaySettings, build)


if __name__ == "__main__":
    main()

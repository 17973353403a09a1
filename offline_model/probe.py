"""Checks that the offline model serves on loopback: `python -m offline_model.probe PORT` exits with 0 if it does.

The container's health check runs it. Its arguments have no spaces, since not every engine keeps an argument together.
"""

from __future__ import annotations

import http.client
import sys

TIMEOUT_SECONDS = 3.0


def serves(port: int) -> bool:
    """Whether /healthz answers 200 in time. Never raises and never uses a proxy."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not arguments[0].isdigit():
        print("usage: python -m offline_model.probe PORT", file=sys.stderr)
        return 2
    return 0 if serves(int(arguments[0])) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""`python -m offline_model` reads settings and bank, serves until SIGTERM or SIGINT, drains and exits with 0."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import uvloop
from aiohttp import web

from offline_model.bank import Bank, BankError, load_bank
from offline_model.logs import log
from offline_model.server import make_app
from offline_model.settings import Settings, SettingsError

# Container runtimes kill after ten seconds; stop before that.
DRAIN_SECONDS = 8.0


def main() -> int:
    """Returns 0 after a signal, 2 for an unusable setting or bank file, 1 for a port it cannot open."""
    try:
        settings = Settings.from_environment(os.environ)
        bank = load_bank()
    except (SettingsError, BankError) as error:
        sys.stderr.write(f"offline_model: {error}\n")
        return 2
    try:
        uvloop.run(serve(settings, bank))
    except OSError as error:
        sys.stderr.write(f"offline_model: cannot listen on {settings.bind}:{settings.port}: {error}\n")
        return 1
    return 0


async def serve(settings: Settings, bank: Bank) -> None:
    """Serves until SIGTERM or SIGINT, then accepts no new connection and finishes answers in flight. Raises OSError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = make_app(bank, settings.chunk_delay_seconds)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.bind, settings.port).start()
        log("offline_model_started", bind=settings.bind, port=runner.addresses[0][1], lessons=len(bank.lessons))
        await stop.wait()
        log("offline_model_stopping")
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())

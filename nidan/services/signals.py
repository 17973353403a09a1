"""Signals as exceptions: what a command started ends with it, whoever asks for the end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class Terminated(SystemExit):
    """SIGTERM or SIGHUP came; leaving through the `finally` blocks ends what was started."""


def raise_on_signals() -> None:
    """SIGTERM and SIGHUP raise Terminated where the main thread stands, unless they are ignored (nohup)."""

    def ended(number: int, _frame: object) -> None:
        raise Terminated(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, ended)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP that raise where they come take effect behind the block. For the main thread.

    By handlers and no signal mask: a mask would be inherited, and the child would never hear of its end.
    """
    came: list[signal.Signals] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    raising = {number: handler for number, handler in before.items() if callable(handler)}
    try:
        for number in raising:
            signal.signal(number, lambda number, _frame: came.append(signal.Signals(number)))
        yield
    finally:
        for number, handler in raising.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)

"""Signals as exceptions, so that `finally` blocks end the processes that a command started."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class Terminated(SystemExit):
    """SIGTERM or SIGHUP came."""


def raise_on_signals() -> None:
    """Makes SIGTERM and SIGHUP raise Terminated in the main thread, unless they are ignored (nohup)."""

    def terminate(number: int, _frame: object) -> None:
        raise Terminated(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, terminate)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Delays SIGINT, SIGTERM and SIGHUP to the end of the block. For the main thread.

    It swaps handlers in place of a signal mask: a child would inherit the mask and never receive SIGTERM.
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

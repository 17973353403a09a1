"""The gateway for a command: the one at the address, else the one that runs, else its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from nidan.credentials import Access
from nidan.errors import GivenUpError
from nidan.explain import unreachable_gateway
from nidan.services.own import own_services
from nidan.services.plan import Plan, Providers, private_plan
from nidan.services.service import GATEWAY
from nidan.terminal.progress import Progress

ANSWER_SECONDS = 3.0
"""How long a service at a given address may take to report SERVING."""
_PROBE_SECONDS = 0.5
"""The same for a gateway that may not run, at the default address."""


@dataclass(frozen=True)
class Gateway:
    """A gateway that serves."""

    address: str
    access: Access
    check: Callable[[], None]
    """Raises GivenUpError or StartError when the gateway is gone. Call it after a failed call."""


@contextlib.contextmanager
def find_gateway(
    address: str, offline: bool, environment: Mapping[str, str], progress: Progress, access: Access
) -> Iterator[Gateway]:
    """Finds a gateway, or starts one for the block. Raises GivenUpError.

    --offline always starts its own: another gateway might use paid models. A gateway of its own gets no key.
    """
    named = address or ("" if offline else environment.get("NIDAN_ADDRESS", ""))
    if named:
        _check_serving(named, access)
        yield Gateway(named, access, lambda: _check_serving(named, access))
    elif not offline and _is_gateway(GATEWAY.address, _PROBE_SECONDS, access):
        progress.doing(f"Asking the gateway at {GATEWAY.address}")
        yield Gateway(GATEWAY.address, access, lambda: _check_serving(GATEWAY.address, access))
    else:
        with _own_gateway(offline, environment, progress) as own:
            yield own


@contextlib.contextmanager
def _own_gateway(offline: bool, environment: Mapping[str, str], progress: Progress) -> Iterator[Gateway]:
    """Starts a trio for the block."""

    def plan() -> Plan:
        return private_plan(environment, Providers.chosen(environment, offline))

    with own_services(plan, progress) as trio:
        yield Gateway(trio.plan.gateway.address, Access(), trio.check)


def _check_serving(address: str, access: Access) -> None:
    if not _is_gateway(address, ANSWER_SECONDS, access):
        raise GivenUpError(unreachable_gateway(address, access.tls))


def _is_gateway(address: str, timeout_seconds: float, access: Access) -> bool:
    from nidan.client import is_serving  # noqa: PLC0415 - gRPC loads while the services start

    return is_serving(address, GATEWAY.grpc_name, timeout_seconds, access)

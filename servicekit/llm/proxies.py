"""The proxy of a model server, from the usual variables: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

_SCHEMES: Final = ("http", "https")


class ProxyError(ValueError):
    """A proxy that cannot be used. The message names its variable."""


@dataclass(frozen=True)
class Proxy:
    """A proxy, and the variable that names it. The address can hold a password: show `host` alone."""

    url: str = field(repr=False)
    host: str
    variable: str


def proxy_for(base_url: str) -> Proxy | None:
    """The proxy for that server; None: it is asked directly. This machine is always asked directly.

    Raises ProxyError.
    """
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    proxies = getproxies_environment()
    scheme = parts.scheme if parts.scheme in proxies else "all"
    url = proxies.get(scheme, "").strip()
    if not url or _is_this_machine(host) or proxy_bypass_environment(host, proxies):
        return None
    variable = f"{scheme.upper()}_PROXY"
    try:
        read = urlsplit(url if "://" in url else f"http://{url}")
        shown = f"{read.hostname}:{read.port}" if read.port else read.hostname or ""
    except ValueError as error:
        raise ProxyError(f"{variable}: is no address of a proxy") from error
    if read.scheme not in _SCHEMES or not shown:
        raise ProxyError(
            f"{variable}: is no http proxy; set the address of one, or name the model server's host in NO_PROXY"
        )
    return Proxy(read.geturl(), shown, variable)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")

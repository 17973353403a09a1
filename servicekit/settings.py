"""Settings from the environment: typed, frozen, checked at start, secrets masked.

A field's name in upper case is its variable. Only composition roots read settings; they pass values to the rest.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from typing import Annotated, Literal, NoReturn, Self, TypeVar

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]
"""0 asks the system for a free port."""


def _host(value: str) -> str:
    """An address without brackets, or a name. Raises ValueError."""
    host = value.strip()[1:-1] if value.strip().startswith("[") and value.strip().endswith("]") else value.strip()
    try:
        return str(ipaddress.ip_address(host))
    except ValueError as error:
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9.-]{0,252}", host):
            return host
        raise ValueError("is no address to listen on, such as 127.0.0.1, 0.0.0.0 or ::1") from error


Host = Annotated[str, AfterValidator(_host)]
Seconds = Annotated[float, Field(gt=0, le=3600)]

S = TypeVar("S", bound="ServiceSettings")


class SettingsError(Exception):
    """A setting is missing or wrong. The message names its variable and says what to set."""


class ServiceSettings(BaseSettings):
    """The settings of every service. An empty variable counts as unset, so a Compose file may pass it through."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    bind: Host = "127.0.0.1"
    """The address that the ports of the service bind."""
    health_bind: Host | Literal[""] = ""
    """Where the health port listens; empty: as `bind`."""
    metrics_bind: Host | Literal[""] = ""
    """Where the metrics port listens; empty: as `bind`."""
    grpc_reflection: bool = False
    log_level: Annotated[str, Field(pattern="(?i)^(debug|info|warning|error)$")] = "info"
    shutdown_delay_seconds: Annotated[float, Field(ge=0, le=300)] = 0.0
    """How long the service takes new calls after NOT_SERVING, so that load balancers notice."""
    tls_cert_file: str = ""
    tls_key_file: str = ""
    tls_ca_file: str = ""
    otel_exporter_otlp_endpoint: Annotated[str, Field(pattern=r"^(https?://[^\s/]+/?)?$")] = ""
    """The collector for traces (OTLP over gRPC). Empty: no traces."""
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of lessons to trace when the caller does not decide."""

    @model_validator(mode="after")
    def _identity_is_whole(self) -> Self:
        whole_or_none(self, "tls_cert_file", "tls_key_file", "tls_ca_file")
        return self

    @property
    def binds_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.bind)


def whole_or_none(settings: BaseSettings, *names: str) -> None:
    """Raises ValueError when some of these variables are set and others are not."""
    missing = [name.upper() for name in names if not getattr(settings, name)]
    if missing and len(missing) < len(names):
        every = ", ".join(name.upper() for name in names)
        raise ValueError(f"{' and '.join(missing)} not set: set all of {every}, or none of them.")


def is_loopback(host: str) -> bool:
    """Whether `host` is a loopback address. Of names, only localhost counts."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def load(kind: type[S]) -> S:
    """Reads the environment. Raises SettingsError that names every wrong variable."""
    try:
        return kind()
    except ValidationError as error:
        raise SettingsError("; ".join(_describe(entry) for entry in error.errors())) from error


def _describe(entry: object) -> str:
    assert isinstance(entry, dict)  # noqa: S101 - pydantic's ErrorDetails
    path = "_".join(str(part) for part in entry["loc"]).upper()
    message = str(entry["msg"]).removeprefix("Value error, ")
    return f"{path}: {message}" if path else message


def refuse(service: str, error: Exception) -> NoReturn:
    """Exits with status 2 before any port opens. One line says what to set."""
    print(f"{service}: {error}", file=sys.stderr, flush=True)
    raise SystemExit(2)

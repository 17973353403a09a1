"""Access to a gateway: the key, and TLS or plaintext, from options and environment."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KEY_VARIABLE = "NIDAN_API_KEY"
TLS_VARIABLE = "NIDAN_TLS"
CA_VARIABLE = "NIDAN_CA_FILE"
_KEY = re.compile(r"[!-~]{1,500}", re.ASCII)


class AccessError(Exception):
    """Access is set up wrongly. `name` is the option or variable to fix."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Access:
    """How to call one gateway. The default suits a gateway without keys, in plaintext."""

    key: str = ""
    tls: bool = False
    ca: bytes | None = None
    """PEM of the authorities to trust; None means the system's."""

    def __repr__(self) -> str:
        """Hides the key: it must not appear in a traceback."""
        return f"Access(key={'set' if self.key else 'none'}, tls={self.tls})"

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str],
        key_file: Path | None = None,
        tls: bool = False,
        ca_file: Path | None = None,
    ) -> Access:
        """Options override variables. Raises AccessError."""
        named = ca_file or (Path(environment[CA_VARIABLE]) if environment.get(CA_VARIABLE) else None)
        wanted = environment.get(TLS_VARIABLE, "").lower()
        if wanted not in ("", "true", "false", "1", "0"):
            raise AccessError(TLS_VARIABLE, f"true or false, not {wanted[:40]!r}")
        ca = None if named is None else _authorities("--ca-file" if ca_file else CA_VARIABLE, named)
        return cls(_key(environment, key_file), tls or named is not None or wanted in ("true", "1"), ca)

    def check(self, address: str) -> None:
        """Raises AccessError where anyone on the way could read the key."""
        if self.key and not self.tls and not is_local(address):
            raise AccessError(
                KEY_VARIABLE,
                f"the key would travel to {address} in plaintext: add --tls, "
                "or --ca-file FILE for an authority of your own",
            )


def is_local(address: str) -> bool:
    """Whether HOST:PORT is on this machine."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(environment: Mapping[str, str], key_file: Path | None) -> str:
    name = "--key-file" if key_file else KEY_VARIABLE
    try:
        text = key_file.read_text(encoding="ascii") if key_file else environment.get(KEY_VARIABLE, "")
    except OSError as error:
        raise AccessError(name, f"cannot read {key_file}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        text = "\0"
    key = text.strip()
    if (key_file and not key) or (key and not _KEY.fullmatch(key)):
        raise AccessError(name, "holds no key: a key is one word that begins with nidan_")
    return key


def _authorities(name: str, file: Path) -> bytes:
    import ssl  # noqa: PLC0415 - `nidan --help` does not need it

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        return file.read_bytes()
    except ssl.SSLError as error:
        raise AccessError(name, f"{file} holds no certificate in PEM") from error
    except OSError as error:
        raise AccessError(name, f"cannot read {file}: {error.strerror or error}") from error

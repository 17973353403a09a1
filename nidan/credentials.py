"""How a gateway is called: with which key, and over TLS or not. What the environment and the options say of it."""

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
    """What was said of it cannot be. `name` is the option or variable to blame."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Access:
    """Of one gateway; as it is, for one that asks for nothing and speaks plaintext."""

    key: str = ""
    tls: bool = False
    ca: bytes | None = None
    """PEM of the authorities to trust; None: those of the system."""

    def __repr__(self) -> str:
        """Without the key: it must not get into a traceback."""
        return f"Access(key={'set' if self.key else 'none'}, tls={self.tls})"

    @classmethod
    def told(
        cls,
        environment: Mapping[str, str],
        key_file: Path | None = None,
        tls: bool = False,
        ca_file: Path | None = None,
    ) -> Access:
        """Options go before variables. Raises AccessError."""
        named = ca_file or (Path(environment[CA_VARIABLE]) if environment.get(CA_VARIABLE) else None)
        wanted = environment.get(TLS_VARIABLE, "").lower()
        if wanted not in ("", "true", "false", "1", "0"):
            raise AccessError(TLS_VARIABLE, f"true or false, not {wanted[:40]!r}")
        ca = None if named is None else _authorities("--ca-file" if ca_file else CA_VARIABLE, named)
        return cls(_key(environment, key_file), tls or named is not None or wanted in ("true", "1"), ca)

    def check(self, address: str) -> None:
        """Raises AccessError where the key would be read by everybody on the way."""
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
        told = key_file.read_text(encoding="ascii") if key_file else environment.get(KEY_VARIABLE, "")
    except OSError as error:
        raise AccessError(name, f"cannot read {key_file}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        told = "\0"
    key = told.strip()
    if (key_file and not key) or (key and not _KEY.fullmatch(key)):
        raise AccessError(name, "holds no key: one is a word that begins with nidan_")
    return key


def _authorities(name: str, file: Path) -> bytes:
    import ssl  # noqa: PLC0415 - `nidan --help` shall not wait for it

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        return file.read_bytes()
    except ssl.SSLError as error:
        raise AccessError(name, f"{file} holds no certificate in PEM") from error
    except OSError as error:
        raise AccessError(name, f"cannot read {file}: {error.strerror or error}") from error

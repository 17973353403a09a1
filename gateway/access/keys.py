"""The file of callers' keys: TOML with the SHA-256 of each key, which a running gateway reads again when it changes.

A key is `nidan_<id>_<secret>`. The id is public: it finds the entry, appears in logs, and names a key to revoke. The
secret is 32 random bytes. 256 random bits cannot be guessed from their hash, so SHA-256 is enough; a slow, salted hash,
as for passwords, would let callers keep the gateway busy. Hashes are compared in constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import stat
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from servicekit import files

MOST_KEYS = 1000
_MOST_BYTES = 1024 * 1024
_TOKEN = re.compile(r"nidan_(?P<id>[0-9a-f]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
_HEAD = b"# Written by `nidan keys`. It has no key, only the SHA-256 of each.\n"


class Scope(StrEnum):
    """A right of a key. A scope never includes another one."""

    GENERATE = "generate"
    REVIEW = "review"
    ADMIN = "admin"


class Key(BaseModel):
    """A caller's key as stored in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    name: Annotated[str, Field(min_length=1, max_length=100)]
    hash: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None
    lessons_per_minute: Annotated[float, Field(ge=0, le=100_000)] | None = None
    """Overrides GATEWAY_CALLER_LESSONS_PER_MINUTE; 0: no limit. The next two fields override their settings, too."""
    daily_cost_usd: Annotated[float, Field(ge=0, le=1_000_000)] | None = None
    lessons_at_once: Annotated[int, Field(ge=0, le=100_000)] | None = None

    def state(self, now: datetime) -> str:
        """active, expired or revoked."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: tuple[Key, ...] = ()

    @model_validator(mode="after")
    def _ids_are_unique(self) -> _File:
        if len({key.id for key in self.keys}) < len(self.keys):
            raise ValueError("two keys have the same id")
        if len(self.keys) > MOST_KEYS:
            raise ValueError(f"more than {MOST_KEYS:,} keys")
        return self


class KeysFileError(Exception):
    """The file cannot be read or written. Its content has not changed."""


def new_token() -> tuple[str, str]:
    """A new random key, and its id."""
    key_id = secrets.token_hex(4)
    return f"nidan_{key_id}_{base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b'=').decode()}", key_id


def hashed(token: str) -> str:
    """A key's hash as stored in the file."""
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def read(file: Path) -> tuple[Key, ...]:
    """The keys of the file, in its order. Raises KeysFileError."""
    try:
        raw = files.read_regular(file, _MOST_BYTES)
        if file.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise KeysFileError(f"others can write {file}, so anyone could add a key. Run: chmod go-w {file}")
        if len(raw) > _MOST_BYTES:
            raise KeysFileError(f"{file} has more than {_MOST_BYTES:,} bytes.")
        return _File.model_validate(tomllib.loads(raw.decode())).keys
    except OSError as error:
        raise KeysFileError(f"cannot read {file}: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = str(first["msg"]).removeprefix("Value error, ")
        raise KeysFileError(f"{file}: {f'{where}: ' if where else ''}{message}.") from error
    except ValueError as error:  # not UTF-8 or not TOML
        raise KeysFileError(f"{file} is not TOML: {error}.") from error


def write(file: Path, keys: Iterable[Key]) -> None:
    """Replaces the file with mode 0600, or leaves it as it was. Raises KeysFileError.

    Call it under `files.locked`.
    """
    try:
        files.replace(file, [_HEAD, *(_table(key) for key in keys)], mode=0o600)
    except OSError as error:
        raise KeysFileError(f"cannot write {file}: {error.strerror or error}. The file has not changed.") from error


def _table(key: Key) -> bytes:
    values = key.model_dump(exclude_none=True)
    lines = "".join(f"{name} = {_value(value)}\n" for name, value in values.items())
    return f"\n[[keys]]\n{lines}".encode()


def _value(value: object) -> str:
    """Strings, numbers and lists are the same in JSON and TOML; TOML has bare dates."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return json.dumps(value, ensure_ascii=False)


class LiveKeys:
    """The current keys of the file.

    The constructor raises KeysFileError when it cannot read the file. Later the last good keys stay in use, and the log
    has one `keys_not_read` for each bad state of the file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = files.stamp(file)
        self._keys = _by_id(read(file))

    def find(self, token: str) -> Key | None:
        """The key of this token, revoked and expired keys included; None for an unknown one.

        Costs a stat and a hash. Its duration reveals whether an id exists, but nothing about a secret.
        """
        self._reload()
        form = _TOKEN.fullmatch(token)
        key = self._keys.get(form["id"]) if form else None
        return key if key is not None and hmac.compare_digest(key.hash, hashed(token)) else None

    def _reload(self) -> None:
        seen = files.stamp(self._file)  # taken before reading, so that the next call notices a change made meanwhile
        if seen == self._seen:
            return
        self._seen = seen
        # The log takes 100 ms to import, and `nidan keys`, which writes none, reads this file, too.
        from servicekit.telemetry import logger  # noqa: PLC0415

        try:
            self._keys = _by_id(read(self._file))
            logger().info("keys_read", file=str(self._file), keys=len(self._keys))
        except KeysFileError as error:
            logger().error(
                "keys_not_read", file=str(self._file), error=str(error), note="the last good keys are in use"
            )


def _by_id(keys: Iterable[Key]) -> Mapping[str, Key]:
    return {key.id: key for key in keys}

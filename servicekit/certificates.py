"""The names in a peer's certificate, read from its own bytes.

gRPC mixes DNS names with URIs, e-mail and IP addresses, and cuts a name at a NUL byte, so that an authority that signs
`gateway\\0.example` would let it in as `gateway`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_SUBJECT_ALTERNATIVE_NAME: Final = b"\x06\x03\x55\x1d\x11"
_OCTET_STRING, _BOOLEAN, _SEQUENCE, _DNS_NAME = 0x04, 0x01, 0x30, 0x82
_NAME: Final = re.compile(rb"[A-Za-z0-9_.*-]{1,255}")


def dns_names(pem: bytes) -> frozenset[str]:
    """The DNS names of a certificate's alternative names. A certificate that cannot be read has none."""
    found = _PEM.search(pem)
    try:
        der = base64.b64decode(found[1]) if found else b""
        at = der.find(_SUBJECT_ALTERNATIVE_NAME)
        return frozenset(_names(der, at + len(_SUBJECT_ALTERNATIVE_NAME))) if at >= 0 else frozenset()
    except (binascii.Error, IndexError, ValueError):
        return frozenset()


def _names(der: bytes, at: int) -> Iterator[str]:
    tag, start, end = _element(der, at)
    if tag == _BOOLEAN:  # whether the extension is critical
        tag, start, end = _element(der, end)
    if tag != _OCTET_STRING:
        return
    tag, start, end = _element(der, start)
    if tag != _SEQUENCE:
        return
    while start < end:
        tag, begin, start = _element(der, start)
        name = der[begin:start]
        if tag == _DNS_NAME and _NAME.fullmatch(name):
            yield name.decode("ascii")


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """The tag at an offset, and where its content begins and ends."""
    tag, length, at = der[at], der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(der[at : at + size], "big"), at + size
    if at + length > len(der):
        raise ValueError("the element ends beyond the certificate")
    return tag, at, at + length

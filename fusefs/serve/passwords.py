"""Passwords: an htpasswd file as `htpasswd -B` writes it, and who is let in by it.

bcrypt is slow by intent, and a client sends its password with every request: what was right once is known again by a
keyed hash of it.  What is wrong is hashed each time.
Source: RFC 7617; Apache's `htpasswd`, "-B".
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
from collections import OrderedDict
from typing import TYPE_CHECKING

import bcrypt

from fusefs.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HASH = re.compile(rb"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)

_COSTLIEST = 15
"""Rounds as a power of two: a password takes two seconds then, and each step doubles that."""

_LONGEST = 72
"""Bytes of a password that bcrypt looks at; `htpasswd -B` takes as many of a longer one."""

_MOST = 1 << 20
"""Bytes of a file: ten thousand people."""

_KNOWN = 1024
"""Passwords that are known again."""


class Passwords:
    """Names and the hashes of their passwords.  Every method may be called from many threads at once.

    Args:
        hashes: of bcrypt, by name; one at least.
    """

    def __init__(self, hashes: Mapping[bytes, bytes]) -> None:
        self._hashes = dict(hashes)
        # Who has no entry takes as long as somebody who has: against a hash that no password has.
        self._nobody = max(self._hashes.values(), key=_cost)
        self._key = os.urandom(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    @classmethod
    def read(cls, path: Path) -> Passwords:
        """Of a file.  Blocking.

        Raises:
            InvalidSetting: it cannot be read, or holds something else than names and hashes of bcrypt.
        """
        try:
            with open(path, "rb") as file:
                data = file.read(_MOST + 1)
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else exc
            raise InvalidSetting(f"cannot read --htpasswd {path}: {reason}") from exc
        if len(data) > _MOST:
            raise InvalidSetting(f"cannot use --htpasswd {path}: it has more than {_MOST} bytes")
        hashes = read_hashes(data, f"--htpasswd {path}")
        if not hashes:
            raise InvalidSetting(
                f"cannot use --htpasswd {path}: nobody is in it; add somebody: htpasswd -B {path} NAME"
            )
        return cls(hashes)

    def knows(self, header: str) -> bool:
        """Whether the Authorization header was found right before; takes no time."""
        return self._mark(_credentials(header)) in self._known

    def admits(self, header: str) -> bool:
        """Whether the Authorization header has the name and the password of somebody.  Blocking, for bcrypt's time."""
        given = _credentials(header)
        name, _, password = given.partition(b":")
        hashed = self._hashes.get(name)
        try:
            right = bcrypt.checkpw(password[:_LONGEST], hashed or self._nobody)
        except ValueError:  # a zero byte
            return False
        if hashed is None or not right:
            return False
        self._known[self._mark(given)] = None
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return True

    def _mark(self, given: bytes) -> bytes:
        return hmac.digest(self._key, given, "sha256")


def read_hashes(data: bytes, what: str) -> dict[bytes, bytes]:
    """The hash of each name; where one stands twice the first counts, as with Apache.

    Raises:
        InvalidSetting: a line that is no name and hash, no comment, and not empty; with `what` it is in.
    """
    hashes: dict[bytes, bytes] = {}
    for number, line in enumerate(data.splitlines(), 1):
        text = line.strip()
        if text and not text.startswith(b"#"):
            name, hashed = _entry(text, f"{what}, line {number}")
            hashes.setdefault(name, hashed)
    return hashes


def _entry(text: bytes, where: str) -> tuple[bytes, bytes]:
    name, colon, hashed = text.partition(b":")
    if not name or not colon:
        raise InvalidSetting(f"{where}: want NAME:HASH")
    match = _HASH.fullmatch(hashed)
    if match is None:
        raise InvalidSetting(f"{where}: want a hash of bcrypt, as `htpasswd -B` writes it; other kinds are too weak")
    if not 4 <= int(match[1]) <= _COSTLIEST:
        raise InvalidSetting(f"{where}: want a cost of bcrypt from 4 to {_COSTLIEST}, not {int(match[1])}")
    return name, hashed


def _cost(hashed: bytes) -> bytes:
    return hashed[4:6]


def _credentials(header: str) -> bytes:
    """`name:password` of a Basic header; empty, which is nobody, for any other."""
    scheme, _, text = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""

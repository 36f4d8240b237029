"""Settings: every number that a person may choose, with its default and the reason for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from fusefs.errors import InvalidSetting

ABLATED = ("tensors", "credit", "concurrency", "replay", "siblings", "wire", "passthrough")
"""What `Settings.without` may name: parts of prefetch whose worth the benchmark measures."""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

Unproved = Literal["wait", "allow", "refuse"]
"""For a blob without a chunk list: wait until it is whole and proved, serve it while it arrives, or EIO."""

Lists = Literal["bound", "registry"]
"""Which chunk lists decide what is served: only those that are bound to the blob's digest, or the registry's, too."""

Verify = Literal["boot", "always"]
"""When what lies in the cache is hashed again before it is served: on its first use in each boot, or in each mount."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a mount or a pull behaves.

    Attributes:
        timeout: seconds a read or a request may go without success before it fails (`--timeout`): EIO on a mapped
            page is SIGBUS, a dead inference server, so trouble is retried for minutes.
        stall: seconds without a byte after which a connection is given up and made anew.
        memory: bytes for chunks in flight (half of it), and for proved chunks that are not on disk yet or that nobody
            has read yet (`--memory`).
        unproved: see `Unproved`.
        lists: see `Lists`; None for `bound` where the name has a digest, else `registry` (`--lists`).
        verify: see `Verify`.
        fill: after the first open of a file, fetch the rest of it at the lowest priority.
        cache_size: bytes that all blobs of the cache may take on disk (`--cache-size`); None for no limit of ours.
        keep_free: bytes that the cache leaves free on its disk (`--keep-free`); None for a twentieth of it, at most
            2 GiB.
        mirrors: URLs (of `fusefs.values.mirror`) of registries that have the same blobs, asked before the one in the
            name (`--mirror`).
        index_from: where chunk lists are besides, as `ListPlace` reads it (`--index-from`).
        allow_private: follow redirects of a public registry to private addresses (`--allow-private`).
        single_chunk_limit: a blob up to this size is its own only chunk (what Ollama's registry does).
        unlisted_chunk_size: bytes of a chunk of a blob that has no list; the digests are ours.
        span_size: bytes one request asks for at most.
        connections: requests in flight at most; the largest single lever on a slow link.
        readahead_max: bytes fetched ahead of one sequential reader at most.
        without: those of `ABLATED` that are switched off, to measure what they are worth; no option of a user's.
    """

    timeout: float = 300.0
    stall: float = 30.0
    memory: int = 256 * MIB
    unproved: Unproved = "wait"
    lists: Lists | None = None
    verify: Verify = "boot"
    fill: bool = False
    cache_size: int | None = None
    keep_free: int | None = None
    mirrors: tuple[str, ...] = ()
    index_from: tuple[str, ...] = ()
    allow_private: bool = False
    single_chunk_limit: int = 64 * MIB
    unlisted_chunk_size: int = 8 * MIB
    span_size: int = 64 * MIB
    connections: int = 8
    readahead_max: int = 128 * MIB
    without: frozenset[str] = frozenset()


# Digits are bounded, so that no number becomes infinite; ASCII alone, or the Kelvin sign would be a K.
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(?:([KMGT])(i?)(B?)|B?)", re.IGNORECASE | re.ASCII)
MAX_SECONDS = 1e9
"""Thirty years: what waits for a lock or a thread counts in nanoseconds, and 64 bits of them are not ten times that."""

_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smh]?)", re.ASCII)
_AGE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhdw])", re.ASCII)


def parse_size(text: str) -> int:
    """Read a number of bytes: `1048576`, `64KiB`, `256M`, `1.5GiB`.  K, M, G and T are powers of 1024; KB is 1000.

    Raises:
        InvalidSetting: for anything else, and for zero.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise InvalidSetting(
            f"invalid size {text[:40]!r}: want something like 64MiB; units are B, K, M, G and T, each also as KiB or KB"
        )
    number, unit, binary, byte = match.groups()
    base = 1000 if unit and byte and not binary else 1024
    size = int(float(number) * base ** (" KMGT".index(unit.upper()) if unit else 0))
    if size < 1:
        raise InvalidSetting(f"invalid size {text[:40]!r}: it must be at least one byte")
    return size


def parse_seconds(text: str) -> float:
    """Read a time: `30`, `30s`, `5m`, `1h`.

    Raises:
        InvalidSetting: for anything else, for zero, and for more than `MAX_SECONDS`.
    """
    match = _SECONDS.fullmatch(text.strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if not 0 < seconds <= MAX_SECONDS:
        raise InvalidSetting(f"invalid time {text[:40]!r}: want something like 30s or 5m; units are s, m and h")
    return seconds


def parse_age(text: str) -> float:
    """Read how long ago, in seconds: `90s`, `30m`, `12h`, `7d`, `2w`.  Without a unit it would say nothing.

    Raises:
        InvalidSetting: for anything else, and for zero.
    """
    match = _AGE.fullmatch(text.strip())
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[match[2]] if match else 0.0
    if seconds <= 0:
        raise InvalidSetting(
            f"invalid age {text[:40]!r}: want something like 12h or 7d; units are s, m (minutes), h, d and w"
        )
    return seconds

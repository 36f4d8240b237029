"""Messages: the bytes of the FUSE protocol that the wire has to read or to change.  Pure.

Source: include/uapi/linux/fuse.h, 7.41.  Numbers are of the machine's byte order; x86 and ARM are little-endian, and
`=` takes what the machine has.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

REQUEST = struct.Struct("=IIQQIIIHH")
"""fuse_in_header: length, opcode, unique, node, uid, gid, pid, length of extensions, padding."""

REPLY = struct.Struct("=IiQ")
"""fuse_out_header: length, negative errno or 0, unique."""

READ_IN = struct.Struct("=QQIIQII")
"""fuse_read_in, also of READDIR: handle, offset, size, read flags, lock owner, flags, padding."""

RELEASE_IN = struct.Struct("=QIIQ")
"""fuse_release_in: handle, flags, release flags, lock owner."""

OPEN_OUT = struct.Struct("=QIi")
"""fuse_open_out: handle, open flags, backing id."""

INIT_IN = struct.Struct("=IIII")
"""The front of fuse_init_in: major, minor, read-ahead, flags."""

INIT_OUT = struct.Struct("=IIIIHHIIHHII")
"""The front of fuse_init_out: major, minor, read-ahead, flags, most in the background, congestion threshold, most to
write, granularity of times, most pages, alignment of mappings, flags of 7.36, stacking depth."""

INIT, OPEN, READ, RELEASE, INTERRUPT = 26, 14, 15, 18, 36
READDIR, READDIRPLUS = 28, 44
NO_REPLY = frozenset({2, 41, 42})
"""FORGET, NOTIFY_REPLY and BATCH_FORGET are not answered."""

MAX_PAGES, INIT_EXT = 1 << 22, 1 << 30
PASSTHROUGH = 1 << 37
MAX_WRITE = 4096
"""Bytes: the least that the kernel takes.  Nothing is ever written here, and whoever reads requests must have as much
room as the largest write needs."""

HIGHEST_MINOR = 41
"""Of protocol 7, as far as it was looked at."""

MOST_LISTED = 64 << 10
"""Bytes of one answer to READDIR: the kernel may ask for a megabyte, which is more than a socket takes at once."""


class Read(NamedTuple):
    """A READ.

    Attributes:
        unique: names it in its reply.
        pid: of the thread that reads, as this process sees it; 0 when nobody waits for just this, or when it is hidden.
        handle: what OPEN has given.
        off: first byte.
        size: in bytes.
    """

    unique: int
    pid: int
    handle: int
    off: int
    size: int


def parse_read(message: bytes | bytearray | memoryview) -> Read:
    """The READ at the front of `message`."""
    _, _, unique, _, _, _, pid, _, _ = REQUEST.unpack_from(message)
    handle, off, size, *_ = READ_IN.unpack_from(message, REQUEST.size)
    return Read(unique, pid, handle, off, size)


def reply_header(unique: int, size: int) -> bytes:
    """What goes before `size` bytes of a reply."""
    return REPLY.pack(REPLY.size + size, 0, unique)


def failure(unique: int, number: int) -> bytes:
    """A reply that is the errno `number`."""
    return REPLY.pack(REPLY.size, -number, unique)


def list_less(message: bytearray | memoryview) -> None:
    """Have a READDIR ask for no more than `MOST_LISTED`; the kernel takes any shorter answer."""
    at = REQUEST.size
    handle, off, size, *rest = READ_IN.unpack_from(message, at)
    if size > MOST_LISTED:
        READ_IN.pack_into(message, at, handle, off, MOST_LISTED, *rest)


class Greeting(NamedTuple):
    """What the kernel said in INIT.

    Attributes:
        minor: of protocol 7.
        flags: what it can do, all 64 of them.
    """

    minor: int
    flags: int


def parse_init(message: bytes | bytearray | memoryview) -> Greeting:
    """The INIT in `message`."""
    _, minor, _, flags = INIT_IN.unpack_from(message, REQUEST.size)
    at = REQUEST.size + INIT_IN.size
    if flags & INIT_EXT and len(message) >= at + 4:
        flags |= struct.unpack_from("=I", message, at)[0] << 32
    return Greeting(minor, flags)


def init_reply(reply: bytes | bytearray | memoryview, kernel: Greeting, pages: int, *, passthrough: bool) -> bytes:
    """What pyfuse3 answers to INIT, with what neither it nor libfuse can ask for.

    Args:
        reply: its answer.
        kernel: what was asked.
        pages: of 4096 bytes, that one READ may ask for.
        passthrough: ask for passthrough, too.

    Returns:
        The same for an error, or for a reply of an older protocol.
    """
    at = REPLY.size
    if REPLY.unpack_from(reply)[1] or len(reply) < at + INIT_OUT.size:
        return bytes(reply)
    changed = bytearray(reply)
    major, _, ahead, flags, background, congested, _, granularity, most, aligned, _, _ = INIT_OUT.unpack_from(reply, at)
    minor = min(kernel.minor, HIGHEST_MINOR)
    if kernel.flags & MAX_PAGES:
        flags, most = flags | MAX_PAGES, pages
    depth = 0
    more = 0
    if passthrough and offers_passthrough(kernel):
        flags, more, depth = flags | INIT_EXT, PASSTHROUGH >> 32, 1
    fields = (major, minor, ahead, flags, background, congested, MAX_WRITE, granularity, most, aligned, more, depth)
    INIT_OUT.pack_into(changed, at, *fields)
    return bytes(changed)


def offers_passthrough(kernel: Greeting) -> bool:
    """Whether the kernel has passthrough (6.9 and newer)."""
    return bool(kernel.flags & PASSTHROUGH and kernel.flags & INIT_EXT)


def opened_reply(reply: bytes | bytearray | memoryview, flags: int, backing: int) -> bytes:
    """A reply to OPEN with other flags and a backing id."""
    changed = bytearray(reply)
    handle, _, _ = OPEN_OUT.unpack_from(reply, REPLY.size)
    OPEN_OUT.pack_into(changed, REPLY.size, handle, flags, backing)
    return bytes(changed)

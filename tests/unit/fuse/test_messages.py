"""The bytes of the FUSE protocol, against a layout that is written down a second time."""

from __future__ import annotations

import ctypes
import errno

from hypothesis import given
from hypothesis import strategies as st

from fusefs.fuse.wire import messages
from fusefs.fuse.wire.messages import Greeting, Read

U16, U32, U64 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


class InHeader(ctypes.Structure):
    _fields_ = (
        ("len", ctypes.c_uint32),
        ("opcode", ctypes.c_uint32),
        ("unique", ctypes.c_uint64),
        ("nodeid", ctypes.c_uint64),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("pid", ctypes.c_uint32),
        ("total_extlen", ctypes.c_uint16),
        ("padding", ctypes.c_uint16),
    )


class ReadIn(ctypes.Structure):
    _fields_ = (
        ("fh", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
        ("size", ctypes.c_uint32),
        ("read_flags", ctypes.c_uint32),
        ("lock_owner", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
    )


class InitIn(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("max_readahead", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("flags2", ctypes.c_uint32),
        ("unused", ctypes.c_uint32 * 11),
    )


class OutHeader(ctypes.Structure):
    _fields_ = (("len", ctypes.c_uint32), ("error", ctypes.c_int32), ("unique", ctypes.c_uint64))


class InitOut(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("max_readahead", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("max_background", ctypes.c_uint16),
        ("congestion_threshold", ctypes.c_uint16),
        ("max_write", ctypes.c_uint32),
        ("time_gran", ctypes.c_uint32),
        ("max_pages", ctypes.c_uint16),
        ("map_alignment", ctypes.c_uint16),
        ("flags2", ctypes.c_uint32),
        ("max_stack_depth", ctypes.c_uint32),
        ("request_timeout", ctypes.c_uint16),
        ("unused", ctypes.c_uint16 * 11),
    )


class OpenOut(ctypes.Structure):
    _fields_ = (("fh", ctypes.c_uint64), ("open_flags", ctypes.c_uint32), ("backing_id", ctypes.c_int32))


def _request(opcode: int, unique: int, pid: int, body: ctypes.Structure) -> bytes:
    header = InHeader(40 + ctypes.sizeof(body), opcode, unique, 7, 1, 2, pid, 0, 0)
    return bytes(header) + bytes(body)


def _reply(unique: int, body: ctypes.Structure, error: int = 0) -> bytes:
    return bytes(OutHeader(16 + ctypes.sizeof(body), error, unique)) + bytes(body)


@given(unique=U64, pid=U32, handle=U64, off=U64, size=U32)
def test_a_read_is_what_the_kernel_asked(unique: int, pid: int, handle: int, off: int, size: int) -> None:
    message = _request(messages.READ, unique, pid, ReadIn(handle, off, size, 1, 2, 3, 0))
    assert messages.parse_read(bytearray(message) + b"rest of the buffer") == Read(unique, pid, handle, off, size)


@given(unique=U64, size=st.integers(0, 1 << 24))
def test_the_header_of_a_reply_counts_itself(unique: int, size: int) -> None:
    header = OutHeader.from_buffer_copy(messages.reply_header(unique, size))
    assert (header.len, header.error, header.unique) == (16 + size, 0, unique)


@given(unique=U64, number=st.sampled_from([errno.EIO, errno.EINTR, errno.ECONNABORTED]))
def test_a_failure_is_a_negative_errno_and_nothing_else(unique: int, number: int) -> None:
    failure = messages.failure(unique, number)
    header = OutHeader.from_buffer_copy(failure)
    assert (header.len, header.error, header.unique, len(failure)) == (16, -number, unique, 16)


@given(handle=U64, off=U64, size=U32)
def test_a_listing_is_asked_for_in_pieces_that_fit_a_socket(handle: int, off: int, size: int) -> None:
    message = bytearray(_request(messages.READDIRPLUS, 2, 3, ReadIn(handle, off, size, 1, 2, 3, 0)))
    messages.list_less(message)
    wanted = _request(messages.READDIRPLUS, 2, 3, ReadIn(handle, off, min(size, messages.MOST_LISTED), 1, 2, 3, 0))
    assert bytes(message) == wanted


@given(minor=st.integers(12, 99), flags=U32, more=U32)
def test_flags_of_the_kernel_are_64_bits_where_it_says_so(minor: int, flags: int, more: int) -> None:
    message = _request(messages.INIT, 2, 0, InitIn(7, minor, 1 << 17, flags, more))
    whole = flags | (more << 32 if flags & messages.INIT_EXT else 0)
    assert messages.parse_init(message) == Greeting(minor, whole)


@given(ahead=U32, flags=U32, background=U16, most=U16, kernel=U64, minor=st.integers(23, 99), passthrough=st.booleans())
def test_the_reply_to_init_is_pyfuse3_s_but_for_what_it_cannot_ask_for(
    ahead: int, flags: int, background: int, most: int, kernel: int, minor: int, passthrough: bool
) -> None:
    theirs = InitOut(7, 31, ahead, flags & ~messages.INIT_EXT, background, 5, 1 << 20, 1, most, 3, 0, 0)
    greeting = Greeting(minor, kernel)
    ours = messages.init_reply(_reply(9, theirs), greeting, 256, passthrough=passthrough)
    out = InitOut.from_buffer_copy(ours, 16)
    assert ours[:16] == _reply(9, theirs)[:16]
    assert (out.major, out.minor, out.max_write) == (7, min(minor, 41), 4096)
    assert (out.max_readahead, out.max_background, out.congestion_threshold, out.map_alignment) == (
        ahead,
        background,
        5,
        3,
    )
    pages = bool(kernel & messages.MAX_PAGES)
    assert out.max_pages == (256 if pages else most)
    through = passthrough and messages.offers_passthrough(greeting)
    assert out.flags == (theirs.flags | (messages.MAX_PAGES * pages) | (messages.INIT_EXT * through))
    assert (out.flags2, out.max_stack_depth) == ((1 << 5, 1) if through else (0, 0))


@given(unique=U64)
def test_a_refused_init_is_passed_on_as_it_is(unique: int) -> None:
    refused = bytes(OutHeader(16, -errno.EPROTO, unique))
    assert messages.init_reply(refused, Greeting(41, 2**64 - 1), 256, passthrough=True) == refused


@given(handle=U64, flags=U32, backing=st.integers(0, 2**31 - 1), before=U32)
def test_a_reply_to_open_keeps_its_handle(handle: int, flags: int, backing: int, before: int) -> None:
    changed = messages.opened_reply(_reply(3, OpenOut(handle, before, 0)), flags, backing)
    assert changed == _reply(3, OpenOut(handle, flags, backing))

"""The error boundary and the translation, without a kernel."""

from __future__ import annotations

import errno
import inspect
from typing import Any

import pyfuse3
import pytest
import trio

from fusefs import errors
from fusefs.fuse import operations
from fusefs.fuse.operations import FuseOperations, boundary
from tests.fakes import FakeBlobFile, file_system_of

CTX: Any = None
"""No handler looks at who asks: the kernel has checked the permissions."""

WRITERS = {
    "setattr", "mknod", "mkdir", "unlink", "rmdir", "symlink", "rename", "link", "create", "write", "setxattr",
    "removexattr",
}  # fmt: skip

LEFT_TO_THE_KERNEL = {"flush", "fsync", "fsyncdir", "poll"}
"""Handlers that stay ENOSYS."""


@boundary
async def _raise(exc: Exception) -> None:
    await trio.lowlevel.checkpoint()
    raise exc


@pytest.mark.parametrize(
    ("exc", "number"),
    [
        (pyfuse3.FUSEError(errno.ENOTTY), errno.ENOTTY),
        (errors.NoSuchEntry("x"), errno.ENOENT),
        (errors.ReadTimeout("x"), errno.EIO),
    ],
)
async def test_known_errors_become_their_errno(exc: Exception, number: int) -> None:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await _raise(exc)
    assert caught.value.errno == number


@pytest.mark.parametrize("exc", [KeyError("bug"), OSError(errno.ENOENT, "x"), ExceptionGroup("g", [ValueError()])])
async def test_a_bug_becomes_eio_and_is_logged_once(exc: Exception, caplog: pytest.LogCaptureFixture) -> None:
    operations._seen.clear()
    for _ in range(3):
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await _raise(exc)
        assert caught.value.errno == errno.EIO
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    operations._seen.clear()


async def test_cancellation_passes_the_boundary() -> None:
    passed = False

    @boundary
    async def wait() -> None:
        nonlocal passed
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            passed = True
            raise

    with trio.CancelScope() as scope:
        scope.cancel()
        await wait()
    assert passed
    assert scope.cancelled_caught


def test_every_handler_of_pyfuse3_is_answered_or_left_out_on_purpose() -> None:
    handlers = {name for name, member in vars(pyfuse3.Operations).items() if inspect.iscoroutinefunction(member)}
    answered = {name for name in handlers if name in vars(FuseOperations)}
    assert handlers - answered == LEFT_TO_THE_KERNEL


def test_every_handler_that_may_fail_is_behind_the_boundary() -> None:
    for name in vars(FuseOperations):
        member = getattr(FuseOperations, name)
        if inspect.iscoroutinefunction(member) and name not in WRITERS | {"forget", "_refuse"}:
            assert hasattr(member, "__wrapped__"), name


@pytest.mark.parametrize("name", sorted(WRITERS))
async def test_every_writing_handler_is_erofs(name: str) -> None:
    handler = getattr(FuseOperations(file_system_of({"x": b"x"})), name)
    arguments = [None] * (len(inspect.signature(getattr(pyfuse3.Operations, name)).parameters) - 1)
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await handler(*arguments)
    assert caught.value.errno == errno.EROFS


async def test_a_missing_name_is_told_in_a_form_that_the_kernel_keeps() -> None:
    """The tree never changes, and programs look for files that are not there again and again."""
    entry = await FuseOperations(file_system_of({"x": b"x"})).lookup(1, b"nothing", CTX)
    assert entry.st_ino == 0
    assert entry.entry_timeout > 86400


async def test_attributes_are_kept_long_only_when_they_cannot_change() -> None:
    blob = FakeBlobFile(b"x" * 1000, present=0, state="absent")
    handlers = FuseOperations(file_system_of({"model": blob, "inline": b"x"}))
    arriving = await handlers.lookup(1, b"model", CTX)
    assert (arriving.attr_timeout, arriving.st_blocks) == (1.0, 0)
    assert arriving.entry_timeout > 86400
    blob.present, blob.state = 1000, "sealed"
    sealed = await handlers.getattr(arriving.st_ino, CTX)
    assert sealed.attr_timeout > 86400
    assert sealed.st_blocks == 2
    assert (await handlers.lookup(1, b"inline", CTX)).attr_timeout > 86400


async def test_an_open_keeps_pages_and_never_asks_for_direct_io() -> None:
    """direct_io refuses MAP_SHARED."""
    handlers = FuseOperations(file_system_of({"model": FakeBlobFile(b"x")}))
    inode = (await handlers.lookup(1, b"model", CTX)).st_ino
    info = await handlers.open(inode, 0, CTX)
    assert (info.keep_cache, info.direct_io) == (True, False)


async def test_what_is_not_there_or_of_the_other_kind_has_its_errno() -> None:
    handlers = FuseOperations(file_system_of({"sub/x": b"x"}))
    folder = (await handlers.lookup(1, b"sub", CTX)).st_ino
    file = (await handlers.lookup(folder, b"x", CTX)).st_ino
    for call, number in (
        (handlers.getattr(99, CTX), errno.ENOENT),
        (handlers.open(folder, 0, CTX), errno.EISDIR),
        (handlers.opendir(file, CTX), errno.ENOTDIR),
        (handlers.lookup(file, b"y", CTX), errno.ENOTDIR),
        (handlers.readlink(file, CTX), errno.EINVAL),
        (handlers.getxattr(file, b"user.\xff", CTX), errno.ENODATA),
        (handlers.access(file, 2, CTX), errno.EROFS),
    ):
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await call
        assert caught.value.errno == number

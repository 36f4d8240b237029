"""Nothing can be written, whether the kernel stops it (`ro`) or our handlers do."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.fuse.session import mount_options
from tests.fakes import FakeBlobFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.mounts import Mounter

DATA = b"weights" * 1000

WRITES: dict[str, Callable[[Path], object]] = {
    "open for writing": lambda root: os.open(root / "file", os.O_WRONLY),
    "open for both": lambda root: os.open(root / "file", os.O_RDWR),
    "open and truncate": lambda root: os.open(root / "file", os.O_WRONLY | os.O_TRUNC),
    "open read-only and truncate": lambda root: os.open(root / "file", os.O_RDONLY | os.O_TRUNC),
    "create": lambda root: os.open(root / "new", os.O_WRONLY | os.O_CREAT),
    "truncate": lambda root: os.truncate(root / "file", 0),
    "chmod": lambda root: os.chmod(root / "file", 0o777),
    "chown": lambda root: os.chown(root / "file", 1, 1),
    "utime": lambda root: os.utime(root / "file", (1, 1)),
    "mkdir": lambda root: os.mkdir(root / "new"),
    "mkfifo": lambda root: os.mkfifo(root / "new"),
    "unlink": lambda root: os.unlink(root / "file"),
    "rmdir": lambda root: os.rmdir(root / "sub"),
    "rename": lambda root: os.rename(root / "file", root / "new"),
    "link": lambda root: os.link(root / "file", root / "new"),
    "symlink": lambda root: os.symlink("file", root / "new"),
    "setxattr": lambda root: os.setxattr(root / "file", "user.x", b"1"),
    "removexattr": lambda root: os.removexattr(root / "file", "user.fusefs.state"),
}

OPTIONS = {
    "ro": mount_options("test"),
    # Without default_permissions too: root passes those anyway, so that our handlers are what refuses.
    "handlers": mount_options("test") - {"ro", "default_permissions"},
}


@pytest.mark.parametrize("options", OPTIONS)
async def test_every_write_is_erofs_and_changes_nothing(mount: Mounter, options: str) -> None:
    live = await mount({"file": FakeBlobFile(DATA), "sub/x": b"x"}, options=OPTIONS[options])
    answers: dict[str, int | None] = {}

    def attempt(write: Callable[[Path], object]) -> int | None:
        try:
            write(live.path)
        except OSError as exc:
            return exc.errno
        return None

    for name, write in WRITES.items():
        answers[name] = await live.run(attempt, write)
    assert answers == dict.fromkeys(WRITES, errno.EROFS)
    assert await live.read("file") == DATA
    assert sorted(await live.run(os.listdir, live.path)) == ["file", "sub"]


async def test_opening_for_writing_is_refused_even_where_the_descriptor_would_not_be_used(mount: Mounter) -> None:
    live = await mount({"file": b"x"}, options=OPTIONS["handlers"])
    with pytest.raises(OSError) as caught:
        await live.run((live.path / "file").write_bytes, b"y")
    assert caught.value.errno == errno.EROFS

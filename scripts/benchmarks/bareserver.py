"""The least a pyfuse3 file system can do: one file, each read is one pread.

`bareserver FILE MOUNTPOINT READ_AHEAD_KIB`.  What this cannot reach, nothing on pyfuse3 can.
"""

from __future__ import annotations

import os
import stat
import sys

import pyfuse3
import trio

from scripts.benchmarks.kernelwindow import set_window

_FILE = pyfuse3.ROOT_INODE + 1


class Bare(pyfuse3.Operations):
    """One file in one folder."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._fd = os.open(path, os.O_RDONLY)
        self._name = os.fsencode(os.path.basename(path))

    async def getattr(self, inode: int, ctx: object = None) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.entry_timeout = entry.attr_timeout = 3600
        entry.st_mode = stat.S_IFDIR | 0o555 if inode == pyfuse3.ROOT_INODE else stat.S_IFREG | 0o444
        entry.st_size = 0 if inode == pyfuse3.ROOT_INODE else os.fstat(self._fd).st_size
        return entry

    async def lookup(self, parent_inode: int, name: bytes, ctx: object = None) -> pyfuse3.EntryAttributes:
        if name != self._name:
            raise pyfuse3.FUSEError(2)
        return await self.getattr(_FILE)

    async def open(self, inode: int, flags: int, ctx: object = None) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=inode, keep_cache=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return os.pread(self._fd, size, off)


def main() -> None:
    path, mountpoint, window = sys.argv[1:]
    options = set(pyfuse3.default_options) | {"fsname=bare", "ro"}
    pyfuse3.init(Bare(path), mountpoint, options)

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pyfuse3.main)
            await trio.to_thread.run_sync(set_window, mountpoint, int(window))
            print("ready", flush=True)

    try:
        trio.run(serve)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()

"""Mounts of the real kernel, in this process: what is under test is asked from worker threads only.

A thread that the kernel does not answer is abandoned by its deadline, and answered at the latest when the mount ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from fusefs.fuse.operations import FuseOperations
from fusefs.fuse.session import mount_options, serve
from tests.modes import is_on

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fusefs.fuse.session import Session
    from fusefs.vfs.filesystem import FileSystem
    from tests.fakes import FakeBlobFile

_T = TypeVar("_T")

PATIENCE = 30.0
"""Seconds after which a call into the mount counts as hanging."""


@dataclass(frozen=True)
class Mount:
    """A live mount.

    Attributes:
        path: where.
        file_system: what answers.
        session: of the kernel's side.
    """

    path: Path
    file_system: FileSystem
    session: Session

    async def run(self, call: Callable[..., _T], *args: Any, limiter: trio.CapacityLimiter | None = None) -> _T:
        """Make a blocking call from a worker thread, within PATIENCE."""
        with trio.fail_after(PATIENCE):
            return await trio.to_thread.run_sync(call, *args, abandon_on_cancel=True, limiter=limiter)

    async def read(self, name: str) -> bytes:
        """The whole content of a file."""
        return await self.run((self.path / name).read_bytes)


async def start(
    nursery: trio.Nursery, file_system: FileSystem, path: Path, options: set[str] | None = None, **more: Any
) -> Mount:
    """Mount in `nursery`, until that is cancelled."""
    await trio.Path(path).mkdir(exist_ok=True)
    options = mount_options("test") if options is None else options
    more.setdefault("wired", is_on("wire"))
    with trio.fail_after(PATIENCE):
        session: Session = await nursery.start(partial(serve, FuseOperations(file_system), path, options, **more))
    return Mount(path, file_system, session)


class Mounter(Protocol):
    """Mounts contents by path, for the rest of the test; more arguments go to `tests.fakes.file_system_of`."""

    async def __call__(
        self, contents: Mapping[str, bytes | FakeBlobFile], *, options: set[str] | None = None, **more: Any
    ) -> Mount: ...

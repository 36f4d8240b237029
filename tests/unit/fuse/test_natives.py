"""All handles of an inode are of one kind at a time: the table against a kernel that refuses anything else."""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from fusefs.errors import BlobQuarantined
from fusefs.fuse.natives import Natives


@dataclass(eq=False)
class File:
    """A sealed file that was lent."""

    number: int
    right: bool = True
    events: list[str] = field(default_factory=list)

    @property
    def fd(self) -> int:
        """Names it to the kernel."""
        return self.number

    def handed_over(self) -> None:
        """The kernel has it."""
        self.events.append("handed over")

    def close(self) -> None:
        """Given back, once."""
        assert "closed" not in self.events
        self.events.append("closed")


class Kernel:
    """What the kernel keeps of files, and what it refuses (fs/fuse/iomode.c)."""

    def __init__(self) -> None:
        self.backings: set[int] = set()
        self.refusal = 0
        self.ordinary: Counter[int] = Counter()
        self.native: Counter[int] = Counter()
        self.read_through: dict[int, int] = {}
        self._last = 0

    def open_backing(self, fd: int) -> int:
        """A fresh id."""
        assert fd >= 0
        if self.refusal:
            raise OSError(self.refusal, "refused")
        self._last += 1
        self.backings.add(self._last)
        return self._last

    def close_backing(self, backing: int) -> None:
        """It is known, and not used for an open to come."""
        self.backings.remove(backing)

    def opened(self, inode: int, backing: int | None) -> None:
        """The reply to OPEN has come."""
        if backing is None:
            assert not self.native[inode], "EIO: it is open natively"
            self.ordinary[inode] += 1
            return
        assert not self.ordinary[inode], "EIO: it is open ordinarily"
        assert backing in self.backings, "EIO: no such id"
        if self.native[inode]:
            assert self.read_through[inode] == backing, "EIO: it is open with another file behind it"
        self.read_through[inode] = backing
        self.native[inode] += 1

    def closed(self, inode: int, *, native: bool) -> None:
        """The last descriptor was closed; RELEASE follows."""
        counts = self.native if native else self.ordinary
        counts[inode] -= 1
        assert counts[inode] >= 0


@dataclass(frozen=True)
class Program:
    """One that opens a file and closes it, with the time that each step takes.

    Attributes:
        inode: of the file.
        steps: before the OPEN comes, of looking for the file behind it, before the kernel has the reply, until the
            program closes it, before RELEASE comes.
        lent: there is a file that may be lent.
    """

    inode: int
    steps: tuple[int, int, int, int, int]
    lent: bool


async def run(program: Program, natives: Natives, kernel: Kernel, files: list[File]) -> None:
    before, look, reply, use, release = program.steps

    async def take() -> File | None:
        await trio.sleep(look)
        if not program.lent:
            return None
        files.append(File(len(files)))
        return files[-1]

    await trio.sleep(before)
    native = await natives.open(program.inode, take)
    await trio.sleep(reply)
    kernel.opened(program.inode, natives.backing_of(program.inode) if native else None)
    await trio.sleep(use)
    kernel.closed(program.inode, native=native)
    await trio.sleep(release)
    natives.close(program.inode)


ticks = st.integers(0, 4)
programs = st.builds(
    Program, st.integers(1, 2), st.tuples(st.integers(0, 12), ticks, ticks, ticks, ticks), st.booleans()
)


@given(st.lists(programs, min_size=1, max_size=24))
def test_p12_the_kernel_never_refuses_an_open_whatever_the_order(several: list[Program]) -> None:
    natives, kernel, files = Natives(), Kernel(), list[File]()
    natives.connected(kernel, offered=True)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for program in several:
                nursery.start_soon(run, program, natives, kernel, files)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert len(natives) == natives.native == 0
    assert kernel.backings == set(), "each is closed when the last handle goes"
    assert all(file.events == ["handed over", "closed"] for file in files)


async def opened(natives: Natives, file: File | None, inode: int = 1) -> bool:
    async def take() -> File | None:
        await trio.lowlevel.checkpoint()
        return file

    return await natives.open(inode, take)


async def test_a_file_is_handed_over_once_however_often_it_is_opened() -> None:
    natives, kernel, file = Natives(), Kernel(), File(0)
    natives.connected(kernel, offered=True)
    for _ in range(3):
        assert await opened(natives, file)
    assert kernel.backings == {natives.backing_of(1)}
    natives.close(1)
    natives.close(1)
    assert file.events == ["handed over"]
    natives.close(1)
    assert file.events == ["handed over", "closed"]


async def test_who_has_it_open_ordinarily_makes_all_others_ordinary_until_he_closes_it() -> None:
    natives = Natives()
    natives.connected(Kernel(), offered=True)
    assert not await opened(natives, None)
    assert not await opened(natives, File(0))
    natives.close(1)
    assert not await opened(natives, File(0))
    natives.close(1)
    natives.close(1)
    assert await opened(natives, File(0))


async def test_nothing_is_taken_where_the_kernel_has_not_agreed() -> None:
    natives, file = Natives("--no-passthrough"), File(0)
    assert not await opened(natives, file)
    assert file.events == []
    assert natives.why_not == "--no-passthrough"


@pytest.mark.parametrize(
    ("number", "why"), [(errno.ELOOP, "stacked"), (errno.EPERM, "cap_sys_admin"), (errno.EOPNOTSUPP, "refuses")]
)
async def test_a_refusal_is_said_and_not_asked_for_again(number: int, why: str) -> None:
    natives, kernel, files = Natives(), Kernel(), [File(0), File(1)]
    natives.connected(kernel, offered=True)
    kernel.refusal = number
    for file in files:
        assert not await opened(natives, file, inode=2 + file.number)
    assert why in natives.why_not
    assert files[0].events == ["closed"]
    assert files[1].events == [], "it was not even looked for"


async def test_a_shortage_is_of_the_moment() -> None:
    natives, kernel, file = Natives(), Kernel(), File(0)
    natives.connected(kernel, offered=True)
    kernel.refusal = errno.EMFILE
    assert not await opened(natives, file)
    assert file.events == ["closed"]
    natives.close(1)
    kernel.refusal = 0
    assert await opened(natives, File(1))


async def test_p2_a_file_that_has_rotten_under_its_readers_is_opened_by_nobody_else() -> None:
    natives, kernel, file = Natives(), Kernel(), File(0)
    natives.connected(kernel, offered=True)
    assert await opened(natives, file)
    file.right = False
    with pytest.raises(BlobQuarantined, match="closed it"):
        await opened(natives, None)
    natives.close(1)
    assert not await opened(natives, None), "from now on it is answered by us"


async def test_who_is_cancelled_while_it_is_looked_for_counts_nowhere() -> None:
    natives = Natives()
    natives.connected(Kernel(), offered=True)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(partial(natives.open, 1, trio.sleep_forever))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(natives) == 0
    assert await opened(natives, File(0))


async def test_the_end_of_a_mount_gives_everything_back() -> None:
    natives, file = Natives(), File(0)
    natives.connected(Kernel(), offered=True)
    assert await opened(natives, file)
    natives.end()
    assert file.events == ["handed over", "closed"]
    assert not await opened(natives, File(1), inode=2)
    natives.close(1)
    assert file.events == ["handed over", "closed"], "its RELEASE may still be on the way"

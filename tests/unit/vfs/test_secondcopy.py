"""SecondCopy: of a file that is read in any order, what was read goes, once, and nothing else."""

from __future__ import annotations

import random

import pytest

from fusefs.values.settings import KIB, MIB
from fusefs.vfs.secondcopy import SecondCopy


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("piece", [4 * KIB, 128 * KIB, 768 * KIB, MIB, 3 * MIB])
def test_whatever_the_order_all_that_was_read_goes_once_and_nothing_before(piece: int, seed: int) -> None:
    rng = random.Random(seed)
    size = 20 * MIB + rng.randrange(MIB)
    second, read, gone = SecondCopy(size), [0] * (size // MIB + 1), set[int]()
    pieces = list(range(0, size, piece))
    if seed:
        rng.shuffle(pieces)
    for off in pieces:
        stop = min(off + piece, size)
        for block in range(off // MIB, -(-stop // MIB)):
            read[block] += min(stop, (block + 1) * MIB) - max(off, block * MIB)
        for pages in second.read(off, stop - off):
            for block in range(pages.start // MIB, pages.stop // MIB):
                assert block not in gone
                assert read[block] == min(MIB, size - block * MIB), "not all of it was read"
                gone.add(block)
    assert len(gone) >= len(read) - 8
    assert seed or len(gone) == len(read), "in order nothing stays"


def test_it_goes_again_when_it_was_read_again() -> None:
    second = SecondCopy(3 * MIB)
    for _ in range(2):
        assert [second.read(off, MIB) for off in (0, MIB, 2 * MIB)] == [
            [range(off, off + MIB)] for off in (0, MIB, 2 * MIB)
        ]


def test_what_is_read_in_part_stays() -> None:
    second = SecondCopy(100 * MIB)
    assert not any(second.read(off, 4096) for off in range(0, 100 * MIB, 8192))

"""P9: locks between real processes."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from fusefs.system import locks
from tests.chunkers import fill, holding, opened, place_of, sealed_by_processes
from tests.world import some_bytes

if TYPE_CHECKING:
    from pathlib import Path

DATA = some_bytes(1000)


def test_p9_a_chunk_that_another_process_has_cannot_be_locked(tmp_path: Path) -> None:
    with holding(tmp_path, DATA, 3), opened(tmp_path, DATA) as chunker:
        assert not chunker.try_lock(3)
        assert chunker.try_lock(2)
        assert chunker.try_lock(4)


def test_p9_kill_9_of_the_holder_frees_the_chunk(tmp_path: Path) -> None:
    with holding(tmp_path, DATA, 3) as process, opened(tmp_path, DATA) as chunker:
        assert not chunker.try_lock(3)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
        assert process.exitcode == -signal.SIGKILL
        fill(chunker, DATA, 3)
        assert chunker.pread(300, 100) == DATA[300:400]


def test_p9_two_processes_that_fill_and_seal_at_once_both_succeed(tmp_path: Path) -> None:
    data = some_bytes(20_000)
    assert sealed_by_processes(tmp_path, data, 2) == [(True, True), (True, True)]
    assert place_of(tmp_path, data).sealed.read_bytes() == data


def test_locks_belong_to_the_open_file_and_shared_ones_stand_together(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    one, two = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    assert locks.try_lock(one, 0, shared=True)
    assert locks.try_lock(two, 0, shared=True)
    assert not locks.try_lock(two, 0), "exclusive, while another shares it"
    os.close(os.open(path, os.O_RDWR))  # a classic POSIX lock would be gone now
    assert not locks.try_lock(two, 0)
    os.close(one)
    assert locks.try_lock(two, 0)
    locks.unlock(two, 0)
    os.close(two)


def test_asking_for_a_lock_takes_none_and_needs_no_right_to_write(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    one, two, reader = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR), os.open(path, os.O_RDONLY)
    assert not locks.is_locked(reader, 3)
    assert locks.try_lock(one, 3, shared=True)
    assert locks.is_locked(reader, 3)
    assert not locks.is_locked(reader, 4)
    assert not locks.is_locked(one, 3), "its own does not count"
    assert locks.try_lock(two, 3, shared=True)
    locks.unlock(two, 3)
    os.close(one)
    assert not locks.is_locked(reader, 3)
    os.close(two)
    os.close(reader)

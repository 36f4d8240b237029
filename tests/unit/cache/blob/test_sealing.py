"""P4: the final name, when it is given, to what, and when not."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.mapfile import ABSENT, ARRIVED, peek
from fusefs.cache.blob.sealing import seal
from fusefs.cache.blob.writeback import write_back
from fusefs.cache.disk import DiskCache
from fusefs.cache.memory.buffer import Buffer
from fusefs.errors import BlobQuarantined, CacheError, DigestMismatch
from fusefs.values.chunks import ChunkList
from tests.chunkers import Bytes, blob_of, corrupt, fill, opened, place_of, reboot
from tests.fake_source import chunk_list
from tests.faults.disks import refusing
from tests.world import some_bytes

if TYPE_CHECKING:
    from pathlib import Path

DATA = some_bytes(1000)
UNLISTED = ChunkList.uniform(1000, 100)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Every (offset, size) that is read back from a file."""
    made: list[tuple[int, int]] = []
    real = os.preadv

    def counting(fd: int, buffers: list[memoryview], off: int, flags: int = 0) -> int:
        got = real(fd, buffers, off, flags)
        made.append((off, got))
        return got

    monkeypatch.setattr(os, "preadv", counting)
    return made


def test_what_arrives_in_order_is_sealed_without_reading_a_byte_back(
    tmp_path: Path, reads: list[tuple[int, int]]
) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA)
        assert chunker.prefix.index == 10
        assert seal(chunker)
    assert not reads
    assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA


def test_what_arrives_out_of_order_is_read_back_once(tmp_path: Path, reads: list[tuple[int, int]]) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, 1, 2, 0, 5, 3, 4, 6, 7, 8, 9)
        assert chunker.prefix.index == 1, "after 0 the next ones are on disk alone"
        assert chunker.behind
        while chunker.prefix.advance(3):
            pass
        assert seal(chunker)
    assert reads == [(off, 100) for off in range(100, 1000, 100)]


def test_the_running_hash_stops_at_a_gap_and_goes_on_in_memory(tmp_path: Path, reads: list[tuple[int, int]]) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, 0, 2)
        assert not chunker.prefix.advance(10)
        assert chunker.prefix.index == 1
        fill(chunker, DATA, 1)
        assert not chunker.prefix.advance(10)
        assert chunker.prefix.index == 3
        fill(chunker, DATA, *range(3, 10))
        assert chunker.hashed
    assert reads == [(200, 100)]


@pytest.mark.parametrize("lacking", [0, 4, 9])
def test_p4_a_blob_that_lacks_a_chunk_is_not_sealed(tmp_path: Path, lacking: int) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, *(i for i in range(10) if i != lacking))
        assert not seal(chunker)
        assert not place_of(tmp_path, DATA).sealed.exists()
        fill(chunker, DATA, lacking)
        assert seal(chunker)


def test_p4_a_chunk_that_was_dropped_after_it_was_hashed_must_come_again(tmp_path: Path) -> None:
    """The running hash had it from memory; `fusefs verify` has found it rotten on disk since."""
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA)
        corrupt(place_of(tmp_path, DATA).data, 450)
        with opened(tmp_path, DATA) as verifier:
            assert not verifier.matches(4)
            verifier.mark(4, ABSENT)
        assert not seal(chunker)
        assert not place_of(tmp_path, DATA).sealed.exists()
        fill(chunker, DATA, 4)
        assert seal(chunker)
    assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA


def test_p4_somebody_elses_data_does_not_get_the_final_name(tmp_path: Path) -> None:
    """The folder was deleted under a running mount, and another process has begun again there."""
    place = place_of(tmp_path, DATA)
    with opened(tmp_path, DATA) as old:
        fill(old, DATA)
        shutil.rmtree(place.folder)
        with opened(tmp_path, DATA) as new:
            fill(new, DATA, 1)
            with pytest.raises(CacheError, match="replaced"):
                seal(old)
            assert not place.sealed.exists()
            assert old.pread(0, 1000) == DATA, "what it has open is still good"
            fill(new, DATA, 0, *range(2, 10))
            assert seal(new)
        with pytest.raises(CacheError):
            seal(old)
    assert place.sealed.read_bytes() == DATA


def test_p4_a_folder_that_was_deleted_gives_an_error_and_nothing_else(tmp_path: Path) -> None:
    place = place_of(tmp_path, DATA)
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA)
        shutil.rmtree(place.folder)
        with pytest.raises(CacheError):
            seal(chunker)
        assert not place.sealed.exists()
        assert chunker.pread(0, 1000) == DATA


@pytest.mark.logs("put into quarantine")
def test_f4_a_list_of_other_content_is_put_into_quarantine(tmp_path: Path) -> None:
    lie = some_bytes(1000, seed=2)
    place = place_of(tmp_path, DATA)
    with opened(tmp_path, DATA, chunks=chunk_list(lie, 100)) as chunker:
        fill(chunker, lie)
        with pytest.raises(BlobQuarantined):
            seal(chunker)
        assert chunker.quarantined
        with pytest.raises(BlobQuarantined):
            seal(chunker)
    assert not place.sealed.exists()
    assert not place.folder.exists()
    assert (place.quarantine / "data").read_bytes() == lie
    assert DiskCache.open(tmp_path).pinned_list(blob_of(DATA)) is None


@pytest.mark.logs("put into quarantine")
def test_f4_a_late_verdict_does_not_quarantine_what_has_taken_the_liars_place(tmp_path: Path) -> None:
    lie = some_bytes(1000, seed=2)
    place = place_of(tmp_path, DATA)
    liars = chunk_list(lie, 100)
    with opened(tmp_path, DATA, chunks=liars) as one, opened(tmp_path, DATA, chunks=liars) as two:
        fill(one, lie)
        with pytest.raises(BlobQuarantined):
            seal(one)
        with opened(tmp_path, DATA) as honest:
            fill(honest, DATA, 0)
            with pytest.raises(BlobQuarantined):
                seal(two)
            assert place.data.exists()
            fill(honest, DATA, *range(1, 10))
            assert seal(honest)
    assert place.sealed.read_bytes() == DATA


@pytest.mark.logs("1 chunks have changed on disk")
def test_p5_rot_before_sealing_is_fetched_again_and_no_lie(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, *range(1, 10))
        corrupt(place_of(tmp_path, DATA).data, 450)
        fill(chunker, DATA, 0)
        assert not seal(chunker)
        assert chunker.missing(0, 1000) == [4]
        fill(chunker, DATA, 4)
        assert seal(chunker)


def test_p1_a_blob_without_a_list_is_served_after_its_whole_digest_matched(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        fill(chunker, DATA, 3, 1, 2, 0, *range(4, 10))
        assert chunker.missing(0, 1000) == list(range(10))
        assert seal(chunker)
        assert not chunker.missing(0, 1000)
    assert DiskCache.open(tmp_path).pinned_list(blob_of(DATA)) == chunk_list(DATA, 100), "its digests were kept"


def test_p1_a_blob_without_a_list_and_with_wrong_bytes_is_dropped_whole(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        fill(chunker, DATA[:500] + some_bytes(500))
        with pytest.raises(DigestMismatch):
            seal(chunker)
        assert not chunker.present_ranges()
        fill(chunker, DATA)
        assert seal(chunker)
    assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA


def test_what_arrived_without_a_list_in_an_earlier_boot_is_proved_and_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        fill(chunker, DATA, *range(7))
    reboot(monkeypatch)
    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        fill(chunker, DATA, *(i for i in range(10) if not chunker.present(i)))
        assert seal(chunker)
        assert chunker.pread(0, 1000) == DATA


@pytest.mark.parametrize("step", ["chunks", "mark", "rebind", "rename"])
def test_p5_a_crash_at_any_step_of_sealing_without_a_list_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    where = {
        "chunks": "fusefs.cache.blob.sealing.write_atomically",
        "mark": "fusefs.cache.blob.chunkmap.ChunkMap.mark_all",
        "rebind": "fusefs.cache.blob.chunkmap.ChunkMap.rebind",
        "rename": "os.rename",
    }

    class Crash(BaseException):
        pass

    def crash(*args: object, **kwargs: object) -> None:
        raise Crash

    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        fill(chunker, DATA)
        with monkeypatch.context() as patch:
            patch.setattr(where[step], crash)
            with pytest.raises(Crash):
                seal(chunker)
    pinned = DiskCache.open(tmp_path).pinned_list(blob_of(DATA))
    with opened(tmp_path, DATA, chunks=pinned or UNLISTED) as chunker:
        assert ARRIVED not in peek(place_of(tmp_path, DATA).map, blob_of(DATA)) or not chunker.chunks.complete
        assert all(chunker.present(i) or (chunker.claimed(i) and chunker.prove(i)) for i in range(10))
        assert seal(chunker)
        assert chunker.pread(0, 1000) == DATA


REOPEN = """
import os
import sys
from pathlib import Path
from fusefs.cache.disk import DiskCache
from tests.chunkers import blob_of
from tests.fake_source import chunk_list
from tests.faults.disks import refusing
data = bytes(range(256)) * 4
cache = DiskCache.open(Path(sys.argv[1]))
chunker = cache.chunker(blob_of(data), chunk_list(data, 100))
print(oct(os.fstat(chunker.fd).st_mode)[-3:])
"""


def test_p5_a_crash_before_a_sealed_file_gets_its_name_keeps_nobody_out(tmp_path: Path) -> None:
    """It may not be written to any more; root with all its power would not notice."""
    data = bytes(range(256)) * 4
    with opened(tmp_path, data) as chunker:
        fill(chunker, data)
    place_of(tmp_path, data).data.chmod(0o400)
    weak = ("setpriv", "--bounding-set=-dac_override") if os.getuid() == 0 else ()
    done = subprocess.run(
        [*weak, sys.executable, "-c", REOPEN, tmp_path],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "600\n", done.stderr


def test_p8_no_room_for_the_computed_list_does_not_stop_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        fill(chunker, DATA)
        monkeypatch.setattr("fusefs.cache.blob.sealing.write_atomically", refuse)
        assert seal(chunker)
        assert chunker.pread(0, 1000) == DATA
    with opened(tmp_path, DATA, chunks=UNLISTED) as chunker:
        assert chunker.sealed
        assert seal(chunker)
        assert chunker.pread(0, 1000) == DATA


def test_p4_a_failing_sync_keeps_the_final_name_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            with pytest.raises(CacheError):
                seal(chunker)
        assert not place_of(tmp_path, DATA).sealed.exists()
        assert seal(chunker)


def test_p9_who_comes_second_finds_it_sealed(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as one, opened(tmp_path, DATA) as two:
        fill(one, DATA)
        assert seal(one)
        assert seal(two)
        assert two.sealed
        assert two.pread(0, 1000) == DATA
        assert seal(one), "again changes nothing"


def test_p9_who_comes_second_without_a_list_gets_the_list_of_the_first(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, chunks=UNLISTED) as one, opened(tmp_path, DATA, chunks=UNLISTED) as two:
        fill(one, DATA)
        assert seal(one)
        assert seal(two)
        assert two.chunks == chunk_list(DATA, 100)
        assert two.pread(0, 1000) == DATA


def test_an_empty_blob_is_sealed_at_once(tmp_path: Path) -> None:
    with opened(tmp_path, b"", chunks=ChunkList.single(blob_of(b""))) as chunker:
        assert seal(chunker)
        assert chunker.pread(0, 10) == b""


def test_a_chunk_larger_than_its_buffer_is_streamed_and_marked_last(tmp_path: Path) -> None:
    wrong = bytearray(DATA)
    wrong[999] ^= 1
    with opened(tmp_path, DATA, 1000) as chunker:
        with pytest.raises(DigestMismatch):
            chunker.fill(0, Bytes(bytes(wrong)), Buffer(bytearray(64)))
        assert chunker.missing(0, 1) == [0]
        fill(chunker, DATA, buffer=64)
        assert chunker.pread(0, 1000) == DATA
        assert seal(chunker)


@pytest.mark.logs("are served from memory")
def test_p8_who_comes_to_write_back_what_another_thread_has_written_leaves_the_seal(tmp_path: Path) -> None:
    """Both have seen chunks wait in memory; one writes them, and the blob is sealed before the other begins."""
    with opened(tmp_path, DATA) as chunker:
        with refusing(errno.ENOSPC):
            fill(chunker, DATA, 3)
        fill(chunker, DATA, *(index for index in range(len(chunker.chunks)) if index != 3))
        assert write_back(chunker)
        assert seal(chunker)
        assert write_back(chunker)
        assert chunker.sealed
        chunker.memory.spill.put(chunker, 3, DATA[300:400])  # marked by the other one, and not yet dropped here
        assert write_back(chunker)
        assert chunker.sealed
    assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA

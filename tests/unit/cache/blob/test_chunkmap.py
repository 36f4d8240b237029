"""The chunk map: what a file that is torn, foreign, of another boot or replaced means."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.chunkmap import ChunkMap
from fusefs.cache.blob.mapfile import ABSENT, ARRIVED, CLAIMED, PRESENT, peek
from fusefs.cache.blob.presence import ranges_on_disk
from fusefs.cache.disk import DiskCache
from fusefs.errors import CacheError
from fusefs.values.chunks import ChunkList
from tests.chunkers import blob_of, fill, opened, place_of, reboot
from tests.fake_source import chunk_list
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = some_bytes(1000)
LIST = chunk_list(DATA, 100)


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def states(root: Path) -> list[int]:
    return list(peek(place_of(root, DATA).map, blob_of(DATA)))


def test_a_mark_is_seen_by_another_process_at_once(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as one, opened(tmp_path, DATA) as two:
        fill(one, DATA, 3, 4)
        assert two.missing(300, 200) == []
        assert two.pread(300, 200) == DATA[300:500]


def test_marks_outlive_the_process(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, 1, 9)
    assert states(tmp_path) == [0, PRESENT, 0, 0, 0, 0, 0, 0, 0, PRESENT]
    with opened(tmp_path, DATA) as chunker:
        assert chunker.present_ranges() == [(100, 200), (900, 1000)]


def test_p5_marks_of_an_earlier_boot_are_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, 1, 2)
    reboot(monkeypatch)
    with opened(tmp_path, DATA) as chunker:
        assert states(tmp_path)[:4] == [ABSENT, CLAIMED, CLAIMED, ABSENT]
        assert chunker.missing(100, 200) == [1, 2], "a claim is not served"
        assert chunker.prove(1)
        assert chunker.missing(100, 200) == [2]
    with opened(tmp_path, DATA):
        assert states(tmp_path)[:4] == [ABSENT, PRESENT, CLAIMED, ABSENT], "the same boot changes nothing"


def test_p5_what_merely_arrived_in_an_earlier_boot_is_a_claim_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut its bytes may be zeros; `--unproved=allow` would serve them as they lie there."""
    unlisted = ChunkList.uniform(1000, 100)
    with opened(tmp_path, DATA, chunks=unlisted) as chunker:
        fill(chunker, DATA, 0)
        assert states(tmp_path)[0] == ARRIVED
    reboot(monkeypatch)
    with opened(tmp_path, DATA, chunks=unlisted) as chunker:
        assert chunker.present(0), "to be proved with the whole, it need not be fetched again"
        chunker.serve_by(bound_only=False, unproved=True)
        assert chunker.missing(0, 100) == [0]
        assert not chunker.present(0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: os.truncate(path, 50),
        lambda path: os.truncate(path, 130),
        lambda path: os.truncate(path, 500),
        lambda path: path.write_bytes(b"x" * 138),
        lambda path: path.write_bytes(bytes(138)),
        make_fifo,
    ],
    ids=["missing", "empty", "torn-header", "torn-states", "longer", "foreign", "zeros", "fifo"],
)
def test_p5_a_torn_foreign_or_missing_map_means_claims(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, 1, 2)
    damage(place_of(tmp_path, DATA).map)
    with opened(tmp_path, DATA) as chunker:
        assert chunker.missing(0, 1000) == list(range(10))
        assert [i for i in range(10) if chunker.claimed(i)] == list(range(10))
        assert [i for i in range(10) if chunker.prove(i)] == [1, 2], "the hash decides"
        assert chunker.pread(100, 200) == DATA[100:300]


def test_a_map_of_another_list_means_claims(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, 100) as chunker:
        fill(chunker, DATA)
    with opened(tmp_path, DATA, 250) as chunker:
        assert len(chunker.chunks) == 4
        assert chunker.missing(0, 1000) == [0, 1, 2, 3]
        assert all(chunker.prove(i) for i in range(4))


def test_without_digests_a_lost_map_means_absent(tmp_path: Path) -> None:
    """Nobody can say any more which part has arrived."""
    unlisted = ChunkList.uniform(1000, 100)
    with opened(tmp_path, DATA, chunks=unlisted) as chunker:
        fill(chunker, DATA, 0, 1)
    place_of(tmp_path, DATA).map.unlink()
    with opened(tmp_path, DATA, chunks=unlisted) as chunker:
        assert not chunker.present_ranges()


def test_a_map_that_is_replaced_stays_readable_for_who_has_it_mapped(tmp_path: Path) -> None:
    """Were it rewritten in place, a shorter one would be SIGBUS."""
    with opened(tmp_path, DATA) as one:
        fill(one, DATA, 2)
        place_of(tmp_path, DATA).map.write_bytes(b"x" * 138)  # somebody breaks the header, and the marks with it
        with opened(tmp_path, DATA) as two:
            assert two.claimed(2)
            assert two.prove(2)
            assert not os.path.samestat(os.fstat(one.map.fd), os.fstat(two.map.fd))
            assert one.map[9] == ord("x")
            fill(two, DATA, 5)
            assert two.pread(500, 100) == DATA[500:600]


def test_p1_who_proves_with_another_list_gets_a_file_of_his_own(tmp_path: Path) -> None:
    """Else what one process takes unproved would be written over what the other one has proved and serves."""
    wrong = some_bytes(1000, seed=2)
    with opened(tmp_path, DATA, chunks=ChunkList.uniform(1000, 100)) as unlisted, opened(tmp_path, DATA) as listed:
        fill(listed, DATA)
        fill(unlisted, wrong, 4)
        assert listed.pread(0, 1000) == DATA
    with opened(tmp_path, DATA) as chunker:
        assert chunker.pread(0, 1000) == DATA
        assert not chunker.missing(0, 1000)


def test_a_disk_that_takes_no_new_map_is_told_and_closes_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing a number twice may close somebody else's file."""
    with opened(tmp_path, DATA):
        pass
    path = place_of(tmp_path, DATA).map
    path.write_bytes(b"foreign")
    fd = os.open(path, os.O_RDWR)
    closed: list[int] = []
    close = os.close

    def counting(number: int) -> None:
        closed.append(number)
        close(number)

    def refuse(*args: object, **kwargs: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", counting)
        patch.setattr(os, "open", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            ChunkMap.attach(path, fd, blob_of(DATA), LIST, otherwise=CLAIMED, anew=False)
    assert closed == [fd]


def test_a_map_that_is_a_folder_with_something_in_it_is_an_error_that_names_it(tmp_path: Path) -> None:
    (place_of(tmp_path, DATA).map / "something").mkdir(parents=True)
    with pytest.raises(CacheError, match=r"partial/sha256-"), opened(tmp_path, DATA):
        pass


def test_a_cache_whose_folders_were_deleted_is_made_again(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    (tmp_path / "partial").rmdir()
    chunker = cache.chunker(blob_of(DATA), ChunkList.single(blob_of(DATA)))
    fill(chunker, DATA)
    assert chunker.pread(0, 1000) == DATA
    chunker.close()


def test_peek_knows_its_own_blob_alone(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, 0)
    path = place_of(tmp_path, DATA).map
    assert len(peek(path, blob_of(DATA))) == 10
    assert peek(path, blob_of(b"other")) == b""
    assert peek(tmp_path / "nothing", blob_of(DATA)) == b""


def test_byte_ranges_join_neighbours_and_count_claims() -> None:
    assert ranges_on_disk(LIST.size, LIST.starts, bytes([1, 2, 3, 0, 0, 1, 0, 0, 0, 2])) == [
        (0, 300),
        (500, 600),
        (900, 1000),
    ]
    assert ranges_on_disk(LIST.size, LIST.starts, bytes(10)) == []


def test_a_map_in_memory_does_what_one_on_disk_does() -> None:
    made = ChunkMap.in_memory(LIST, CLAIMED)
    made.mark(3, PRESENT)
    assert [made[i] for i in (2, 3)] == [CLAIMED, PRESENT]
    assert made.try_lock_chunk(3)
    made.unlock_chunk(3)
    assert not made.all_in((PRESENT,))
    made.mark_all(PRESENT)
    assert made.all_in((PRESENT,))
    made.close()

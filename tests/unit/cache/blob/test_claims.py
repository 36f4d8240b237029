"""P5: what lies on disk after a crash, a power cut or a bad sector is hashed before it is served."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.cache.blob.sealing import seal, unseal
from fusefs.cache.disk import DiskCache
from fusefs.errors import CacheError
from fusefs.values.chunkpack import pack
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.voucher import NOBODY
from tests.chunkers import blob_of, corrupt, fill, opened, place_of, reboot
from tests.fake_source import chunk_list
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = some_bytes(1000)


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def test_p5_a_claim_that_is_wrong_is_absent_and_one_that_is_right_is_present(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, 0, 1, 2)
    corrupt(place_of(tmp_path, DATA).data, 150)
    reboot(monkeypatch)
    with opened(tmp_path, DATA) as chunker:
        assert [chunker.prove(i) for i in range(3)] == [True, False, True]
        assert chunker.present_ranges() == [(0, 100), (200, 300)]


@pytest.mark.parametrize("stop", [0, 1, 150, 999])
def test_f2_data_that_was_truncated_has_nothing_present(tmp_path: Path, stop: int) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA)
    os.truncate(place_of(tmp_path, DATA).data, stop)
    with opened(tmp_path, DATA) as chunker:
        assert chunker.missing(0, 1000) == list(range(10))
        assert os.fstat(chunker.fd).st_size == 1000


def test_p2_who_has_truncated_data_open_gets_an_error_and_no_zeros(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as one:
        fill(one, DATA)
        os.truncate(place_of(tmp_path, DATA).data, 150)
        with opened(tmp_path, DATA):  # which gives the data its size again
            with pytest.raises(CacheError, match="ends at 150"):
                one.pread(100, 100)
            assert one.pread_nowait(100, 100) is None, "the thread finds out"


@pytest.mark.parametrize("replace", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo], ids=["symlink", "fifo"])
def test_p10_data_that_was_replaced_by_something_else_is_made_anew(
    tmp_path: Path, replace: Callable[[Path], None]
) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA)
    data = place_of(tmp_path, DATA).data
    data.unlink()
    replace(data)
    with opened(tmp_path, DATA) as chunker:
        assert chunker.missing(0, 1000) == list(range(10))
        fill(chunker, DATA)
        assert chunker.pread(0, 1000) == DATA
    assert data.is_file()
    assert not data.is_symlink()


def test_p5_data_of_another_blob_is_found_out_in_the_next_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = some_bytes(1000, seed=2)
    for data in (DATA, other):
        with opened(tmp_path, data) as chunker:
            fill(chunker, data)
    os.replace(place_of(tmp_path, other).data, place_of(tmp_path, DATA).data)
    reboot(monkeypatch)
    with opened(tmp_path, DATA) as chunker:
        assert not any(chunker.prove(i) for i in range(10))


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_p5_trouble_with_opening_never_deletes_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: bool, number: int
) -> None:
    """Too many open files say nothing of the one that was asked for."""
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA)
        assert not sealed or seal(chunker)
    place = place_of(tmp_path, DATA)
    path = place.sealed if sealed else place.data
    real = os.open

    def refuse(what: str, *args: int, **kwargs: Any) -> int:
        if what == str(path.relative_to(tmp_path)):
            raise OSError(number, os.strerror(number))
        return real(what, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(CacheError), opened(tmp_path, DATA):
            pass
    assert path.read_bytes() == DATA
    with opened(tmp_path, DATA) as chunker:
        assert not chunker.missing(0, 1000)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: corrupt(path, 40),
        lambda path: corrupt(path, path.stat().st_size - 1),
        lambda path: path.write_bytes(pack(chunk_list(some_bytes(999), 100), NOBODY)),
        make_fifo,
        lambda path: (path.unlink(), path.symlink_to("/dev/zero"))[0],
    ],
    ids=["missing", "empty", "torn", "rotten-header", "rotten-digest", "of-another-size", "fifo", "symlink"],
)
def test_p5_a_list_that_is_torn_or_rotten_is_asked_for_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, 3)
    cache = DiskCache.open(tmp_path)
    assert cache.pinned_list(blob_of(DATA)) == chunk_list(DATA, 100)
    damage(place_of(tmp_path, DATA).chunks)
    assert cache.pinned_list(blob_of(DATA)) is None
    with opened(tmp_path, DATA) as chunker:  # with the same list, from a source
        assert chunker.pread(300, 100) == DATA[300:400]
        assert not chunker.missing(300, 100)
    assert cache.pinned_list(blob_of(DATA)) == chunk_list(DATA, 100)


@pytest.mark.logs("has changed on disk; it will be repaired")
def test_p5_a_sealed_blob_of_an_earlier_boot_is_repaired_chunk_by_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of(tmp_path, DATA)
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA)
        assert seal(chunker)
    corrupt(place.sealed, 555)
    reboot(monkeypatch)
    with opened(tmp_path, DATA) as chunker:
        assert chunker.missing(0, 1000) == list(range(10))
        assert not chunker.prove(5)
        unseal(chunker)
        assert not place.sealed.exists()
        fill(chunker, DATA, 5)
        assert all(chunker.prove(i) for i in range(10))
        assert chunker.pread(0, 1000) == DATA
        assert seal(chunker)
    assert place.sealed.read_bytes() == DATA


def test_p5_a_rotten_chunk_whose_finder_died_before_the_repair_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA)
        assert seal(chunker)
    corrupt(place_of(tmp_path, DATA).sealed, 555)
    reboot(monkeypatch)
    with opened(tmp_path, DATA) as chunker:
        assert not chunker.prove(5)
        assert chunker.prove(6)
    with opened(tmp_path, DATA) as chunker:
        assert chunker.claimed(5), "so that it is unsealed and written again, not kept in memory for ever"
        assert not chunker.missing(600, 100)


@pytest.mark.parametrize("size", [999, 1001])
def test_p4_a_manifest_that_lies_about_the_size_does_not_delete_a_good_blob(tmp_path: Path, size: int) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA)
        assert seal(chunker)
    lie = Blob(blob_of(DATA).digest, size)
    with pytest.raises(CacheError, match=f"has 1000 bytes, not the {size}"):
        DiskCache.open(tmp_path).chunker(lie, ChunkList.single(lie))
    assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA


@pytest.mark.parametrize(
    "make",
    [lambda path: path.write_bytes(DATA[:999]), lambda path: path.symlink_to("/etc/passwd"), os.mkfifo],
    ids=["shorter", "symlink", "fifo"],
)
def test_p4_what_bears_a_blobs_name_and_is_not_it_is_removed(tmp_path: Path, make: Callable[[Path], None]) -> None:
    DiskCache.open(tmp_path)
    place = place_of(tmp_path, DATA)
    make(place.sealed)
    with opened(tmp_path, DATA) as chunker:
        assert not chunker.sealed
        assert chunker.missing(0, 1000) == list(range(10))
        fill(chunker, DATA)
        assert seal(chunker)
    assert place.sealed.read_bytes() == DATA


def test_p4_a_blob_of_the_right_size_that_nobody_proved_here_is_hashed_first(tmp_path: Path) -> None:
    """Somebody copied an Ollama store into the cache: its size is no evidence."""
    DiskCache.open(tmp_path)
    wrong = bytearray(DATA)
    wrong[777] ^= 1
    place_of(tmp_path, DATA).sealed.write_bytes(wrong)
    with opened(tmp_path, DATA) as chunker:
        assert chunker.sealed
        assert chunker.missing(0, 1000) == list(range(10))
        assert [i for i in range(10) if not chunker.prove(i)] == [7]


def test_a_bad_sector_counts_as_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, 0)
    reboot(monkeypatch)

    def refuse(*args: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with opened(tmp_path, DATA) as chunker:
        monkeypatch.setattr(os, "preadv", refuse)
        assert not chunker.prove(0)
        assert chunker.missing(0, 100) == [0]


def test_the_claims_of_a_hole_are_settled_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = some_bytes(1 << 16)
    with opened(tmp_path, data, 1 << 14) as chunker:
        fill(chunker, data, 3)
    place_of(tmp_path, data).map.unlink()
    with opened(tmp_path, data, 1 << 14) as chunker:
        reads = []
        real = os.preadv

        def counting(fd: int, buffers: list[memoryview], off: int) -> int:
            reads.append(off)
            return real(fd, buffers, off)

        monkeypatch.setattr(os, "preadv", counting)
        assert [chunker.prove(i) for i in range(4)] == [False, False, False, True]
        assert reads == [3 << 14]

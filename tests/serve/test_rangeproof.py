"""No answer is complete with bytes that are not those of its digest, whatever the file's times say."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.offers.stamp import Stamp
from fusefs.serve.rangeproof import RangeProof
from fusefs.values.chunkpack import pack
from fusefs.values.chunks import Chunk, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.voucher import NOBODY
from tests.serve.world import noise, read_all, serving, write_store, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.serve.world import Running

CHUNK = 1 << 20
SIZE = 5 * CHUNK + 77
CONTENT = noise(SIZE, "proof")
DIGEST = Digest.of(CONTENT)
BLOB = f"/v2/local/m/blobs/{DIGEST}"


def chunks_of(content: bytes, chunk_size: int) -> ChunkList:
    plan = ChunkList.uniform(len(content), chunk_size)
    return plan.with_digests(b"".join(Digest.of(content[c.start : c.stop]).raw for c in plan))


@given(st.data())
def test_p1_a_proof_is_complete_exactly_when_every_chunk_of_the_range_is_right(data: st.DataObject) -> None:
    content = data.draw(st.binary(min_size=1, max_size=300))
    start = data.draw(st.integers(0, len(content) - 1))
    wanted = Chunk(start, data.draw(st.integers(start, len(content) - 1)))
    chunks = chunks_of(content, data.draw(st.integers(1, 100)))
    sent = bytearray(content)
    flipped = data.draw(st.none() | st.integers(0, len(content) - 1))
    if flipped is not None:
        sent[flipped] ^= 1
    proof = RangeProof(chunks, wanted)
    first, stop = proof.at, proof.stop
    assert first <= wanted.start < wanted.stop <= stop
    right = True
    while right and proof.at < stop:
        assert not proof.complete
        right = proof.feed(memoryview(sent)[proof.at : min(stop, proof.at + data.draw(st.integers(1, 50)))])
    harmed = flipped is not None and first <= flipped < stop
    assert (right, proof.complete) == (not harmed, not harmed)


def requested(running: Running, text: str = "") -> tuple[int, bytes]:
    """The length that an answer promises, and the bytes that came before the connection ended."""
    request = f"GET {BLOB} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{text}\r\n"
    with running.raw(request.encode()) as sock:
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    return int(next(line for line in lines if line.startswith("content-length:")).split(":")[1]), body


def change_without_a_trace(path: Path, mapping: mmap.mmap, off: int) -> None:
    """Flip a bit of the file, and nothing that stat says."""
    before = Stamp.of(os.stat(path))
    mapping[off] ^= 1
    assert Stamp.of(os.stat(path)) == before


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: a disk writes pages back when it likes, and then the kernel sees the next write to one."""
    with TemporaryDirectory(dir="/dev/shm", prefix="fusefs-tests-") as folder:
        yield Path(folder)


@pytest.fixture
def mapped(tmp_path: Path) -> tuple[Path, mmap.mmap]:
    """A served file, and a mapping whose every page was written to already: the kernel sees no further write to it."""
    path = tmp_path / "models" / "m" / "f"
    write_tree(path.parent, {"f": CONTENT})
    with path.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    mapping[:] = CONTENT
    return path, mapping


@pytest.mark.logs("is not what its digest says; the answer was cut short")
@pytest.mark.parametrize(
    ("text", "off"),
    [
        ("", SIZE - 1),
        ("", 3 * CHUNK),
        (f"Range: bytes=0-{CHUNK - 1}\r\n", 5),
        ("Range: bytes=100-199\r\n", 150),
        ("Range: bytes=100-199\r\n", 99),  # the range itself is right, but nobody can know
        ("Range: bytes=100-199\r\n", CHUNK - 1),
        (f"Range: bytes={CHUNK - 10}-{3 * CHUNK}\r\n", 2 * CHUNK + 9),
        ("Range: bytes=-1\r\n", SIZE - 2),
    ],
)
def test_p1_no_answer_is_complete_with_wrong_bytes_though_no_time_of_the_file_moved(
    mapped: tuple[Path, mmap.mmap], tmp_path: Path, text: str, off: int
) -> None:
    path, mapping = mapped
    with serving(tmp_path / "models", tmp_path / "index", chunk_size=CHUNK) as running:
        promised, body = requested(running, text)
        assert len(body) == promised
        change_without_a_trace(path, mapping, off)
        promised, body = requested(running, text)
        assert len(body) < promised
        # The digest is forgotten: it is hashed anew, and the old one is nobody's.
        hashed = running.server.indexer.bytes_hashed
        answer = running.client.get(BLOB)
        assert (answer.status, answer.error[0]) == (404, "BLOB_UNKNOWN")
        assert running.server.indexer.bytes_hashed == hashed + SIZE
        (found,) = running.client.tree("local/m").values()
        right = found == bytes(mapping)
        assert right
    with serving(tmp_path / "models", tmp_path / "index", chunk_size=CHUNK) as running:
        assert running.server.indexer.bytes_hashed == 0  # the new digest is the one that was kept
        assert running.client.layers("local/m")["f"][0] != str(DIGEST)


def test_p1_a_change_elsewhere_harms_no_range(mapped: tuple[Path, mmap.mmap], tmp_path: Path) -> None:
    path, mapping = mapped
    with serving(tmp_path / "models", tmp_path / "index", chunk_size=CHUNK) as running:
        change_without_a_trace(path, mapping, 3 * CHUNK)
        answer = running.client.get(BLOB, Range=f"bytes=10-{2 * CHUNK + 5}")
        right = answer.body == CONTENT[10 : 2 * CHUNK + 6]
        assert right


@pytest.mark.parametrize("restart", [False, True])
def test_p1_a_file_that_changed_with_its_mtime_put_back_is_not_served_under_its_old_digest(
    tmp_path: Path, *, restart: bool
) -> None:
    path = tmp_path / "models" / "m" / "f"
    write_tree(path.parent, {"f": CONTENT})
    changed = CONTENT[:100] + b"!" + CONTENT[101:]

    def change() -> None:
        status = path.stat()
        with path.open("r+b") as file:
            file.write(changed)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert (path.stat().st_mtime_ns, path.stat().st_size) == (status.st_mtime_ns, status.st_size)

    with serving(tmp_path / "models", tmp_path / "index", chunk_size=CHUNK) as running:
        assert running.client.layers("local/m")["f"][0] == str(DIGEST)
        change()
        if not restart:
            assert running.client.get(BLOB).status == 404
            assert running.client.layers("local/m")["f"][0] == str(Digest.of(changed))
    if restart:
        with serving(tmp_path / "models", tmp_path / "index", chunk_size=CHUNK) as running:
            assert running.client.layers("local/m")["f"][0] == str(Digest.of(changed))


LARGE = noise((64 << 20) + 1, "large")


@pytest.mark.logs("is not what its digest says|is damaged and not served")
def test_p1_a_large_damaged_blob_of_a_store_is_never_sent_whole(tmp_path: Path) -> None:
    """Nobody asked for its list, so that nothing is known of it but its name."""
    write_store(tmp_path / "s", "library/m/latest", {"application/x": LARGE})
    digest = Digest.of(LARGE)
    with (tmp_path / "s" / "blobs" / digest.file_name).open("r+b") as file:
        file.write(b"?")
    request = f"GET /v2/library/m/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with serving(tmp_path / "s", tmp_path / "index", chunk_size=CHUNK) as running:
        with running.raw(request.encode()) as sock:
            _, _, body = read_all(sock).partition(b"\r\n\r\n")
        assert len(body) < len(LARGE)
        assert running.client.get(f"/v2/library/m/blobs/{digest}").status == 404


@pytest.mark.logs("is not what its digest says")
def test_p1_a_pinned_list_that_does_not_fit_its_blob_is_not_used_twice(tmp_path: Path) -> None:
    write_store(tmp_path / "s", "library/m/latest", {"application/x": CONTENT})
    folder = tmp_path / "s" / "partial" / DIGEST.file_name
    folder.mkdir(parents=True)
    wrong = chunks_of(CONTENT[:-1] + b"?", CHUNK)
    (folder / "chunks").write_bytes(pack(wrong, NOBODY))
    path = f"/v2/library/m/blobs/{DIGEST}"
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with serving(tmp_path / "s", tmp_path / "index", chunk_size=CHUNK) as running:
        with running.raw(request.encode()) as sock:
            _, _, body = read_all(sock).partition(b"\r\n\r\n")
        assert len(body) < SIZE
        right = running.client.get(path).body == CONTENT
        assert right
        listed = running.client.get(path.replace("blobs", "chunksums"))
        assert ChunkList.parse(SIZE, listed.body) == chunks_of(CONTENT, CHUNK)

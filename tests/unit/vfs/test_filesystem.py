"""FileSystem without a kernel: what it answers, counts and remembers."""

from __future__ import annotations

import os

import pytest
import trio

from fusefs.errors import (
    IsAFolder,
    NoSuchAttribute,
    ReadOnly,
    TransportError,
    UnexpectedEnd,
)
from fusefs.values import metrics
from fusefs.values.counters import Counters
from fusefs.values.snapshot import File, Slice
from fusefs.vfs.filesystem import FileSystem
from fusefs.vfs.tree import ROOT_INODE, Tree
from tests.fakes import FakeBlobFile, file_system_of

DATA = bytes(range(256)) * 10


def _counted(contents: dict[str, bytes | FakeBlobFile]) -> tuple[FileSystem, Counters]:
    file_system = file_system_of(contents)
    return file_system, file_system._counters


def _inode(file_system: FileSystem, path: str) -> int:
    inode = ROOT_INODE
    for part in path.split("/"):
        inode = file_system.metadata.lookup(inode, part.encode()).inode
    return inode


def test_open_for_anything_but_reading_is_refused() -> None:
    fs = file_system_of({"x": b"x"})
    inode = _inode(fs, "x")
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
        with pytest.raises(ReadOnly):
            fs.open(inode, flags)
    with pytest.raises(IsAFolder):
        fs.open(ROOT_INODE, os.O_RDONLY)
    assert fs.open(inode, os.O_RDONLY | os.O_DIRECT | os.O_NOATIME) == inode


def test_one_blob_under_two_paths_is_one_blob_file() -> None:
    blob = FakeBlobFile(DATA)
    made = []

    def open_blob(_: object) -> FakeBlobFile:
        made.append(blob)
        return blob

    layer = file_system_of({"a": blob}).tree.files[0].content
    assert not isinstance(layer, bytes)
    fs = file_system_of({"a": blob, "b": blob})
    counted = FileSystem(fs.tree, open_blob, Counters())
    for path in ("a", "b"):
        counted.open(_inode(counted, path), os.O_RDONLY)
    assert (len(made), blob.opened) == (1, 2)
    counted.release(_inode(counted, "a"))
    assert blob.opened == 1


async def test_reads_are_clipped_at_the_end_and_counted() -> None:
    fs, counters = _counted({"blob": FakeBlobFile(DATA), "inline": b"hello"})
    for path, data in (("blob", DATA), ("inline", b"hello")):
        handle = fs.open(_inode(fs, path), os.O_RDONLY)
        for off, size in ((0, 5), (0, 1 << 20), (len(data) - 1, 4096), (len(data), 4096), (1 << 40, 4096), (0, 0)):
            assert bytes(await fs.read(handle, off, size)) == data[off : off + size]
    assert counters[metrics.BYTES_SERVED] == 5 + len(DATA) + 1 + 5 + 5 + 1
    assert fs.last_error is None


async def test_nothing_is_asked_of_a_blob_behind_its_end() -> None:
    blob = FakeBlobFile(DATA)
    fs = file_system_of({"x": blob})
    assert await fs.read(_inode(fs, "x"), len(DATA), 10) == b""
    assert await fs.read(_inode(fs, "x"), len(DATA) - 1, 10) == DATA[-1:]
    assert blob.reads == [(len(DATA) - 1, 1)]


async def test_a_failed_read_is_counted_remembered_and_not_latched(caplog: pytest.LogCaptureFixture) -> None:
    blob = FakeBlobFile(DATA)
    fs, counters = _counted({"sub/x": blob})
    blob.failures += [TransportError("reset", source="host")] * 3
    for _ in range(3):
        with pytest.raises(TransportError):
            await fs.read(_inode(fs, "sub/x"), 0, 10)
    assert fs.last_error == "sub/x: host: reset"
    assert (counters[metrics.READ_ERRORS], counters[metrics.BYTES_SERVED]) == (3, 0)
    # Hundreds of readers may fail of one cause: that is one line.
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert bytes(await fs.read(_inode(fs, "sub/x"), 0, 10)) == DATA[:10]


@pytest.mark.logs("A read failed: x: 10 bytes were asked for at 5, 3 came")
async def test_p2_a_short_answer_is_an_error() -> None:
    blob = FakeBlobFile(DATA)
    fs = file_system_of({"x": blob})
    blob.data = DATA[:8]
    with pytest.raises(UnexpectedEnd):
        await fs.read(_inode(fs, "x"), 5, 10)


async def test_p1_a_part_of_a_blob_is_a_file_of_its_own_size_and_bytes() -> None:
    """What a tar holds, for example: a read never leaves the part, and nothing is said of its neighbours."""
    blob = FakeBlobFile(bytes(range(200)), present=120, state="partial")
    parts = {"first": Slice(blob.blob, 0, 50), "second": Slice(blob.blob, 50, 100), "last": Slice(blob.blob, 150, 50)}
    fs = FileSystem(Tree(File(path, part) for path, part in parts.items()), lambda _: blob, Counters())
    for path, part in parts.items():
        inode = _inode(fs, path)
        attributes = fs.metadata.getattr(inode)
        assert attributes.size == part.size
        handle = fs.open(inode, os.O_RDONLY)
        assert bytes(await fs.read(handle, 0, 1000)) == blob.data[part.off : part.off + part.size]
        assert (
            bytes(await fs.read(handle, part.size - 3, 10))
            == blob.data[part.off + part.size - 3 : part.off + part.size]
        )
        assert bytes(await fs.read(handle, part.size, 10)) == b""
        with pytest.raises(NoSuchAttribute, match="no digest of its own"):
            fs.metadata.getxattr(inode, "user.fusefs.digest")
    nodes = {node.path: node for node in fs.tree.files}
    assert fs.metadata.presence(nodes["first"]) == (50, "partial")
    assert fs.metadata.presence(nodes["second"]) == (70, "partial")
    assert fs.metadata.presence(nodes["last"]) == (0, "absent")
    assert fs.metadata.presence_by_part(nodes["second"], 2) == [1.0, 0.4]
    assert fs.inodes_of(blob.blob) == [node.inode for node in fs.tree.files]
    assert fs.tree.size == 200, "the blob counts once"


async def test_only_a_blob_can_have_been_read_in_order_before() -> None:
    model, other = FakeBlobFile(DATA, state="absent"), FakeBlobFile(DATA[1:], state="absent")
    model.in_order = True
    fs = file_system_of({"model": model, "other": other, "text": b"x"})
    assert [await fs.is_read_in_order(_inode(fs, path)) for path in ("model", "other", "text")] == [True, False, False]
    with pytest.raises(IsAFolder):
        await fs.is_read_in_order(ROOT_INODE)


async def test_p1_only_what_shows_a_whole_blob_may_be_read_in_its_place() -> None:
    """The kernel would read the file behind a part from its front."""
    blob = FakeBlobFile(bytes(range(200)))
    lent = object()

    async def backing() -> object:
        await trio.lowlevel.checkpoint()
        return lent

    blob.backing = backing  # type: ignore[assignment,method-assign]
    files = [
        File("whole", Slice.whole(blob.blob), 0),
        File("part", Slice(blob.blob, 0, 50), 0),
        File("inline", b"x", 0),
    ]
    file_system = FileSystem(Tree(files), lambda _: blob, Counters())
    found = {node.path: await file_system.backing(node.inode) for node in file_system.tree.files}
    assert found == {"whole": lent, "part": None, "inline": None}

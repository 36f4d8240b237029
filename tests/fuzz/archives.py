"""Archives: tables of tar files, the paths that a mount makes of them, and tables as the cache keeps them."""

from __future__ import annotations

import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from fusefs.artifacts.contents import Opened
from fusefs.artifacts.members import resolve_links, unfold
from fusefs.artifacts.overlay import image_files
from fusefs.cache.documents.tables import Tables
from fusefs.errors import InvalidManifest, InvalidTar
from fusefs.formats.tar import MAX_PATH, read_table
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from tests.artifacts import tar_of
from tests.fuzz.manifests import check_paths
from tests.fuzz.target import NUMBERS, Target

_MOST_READS = 40
"""Reads for each block of an archive: `tarfile` reads a header, and the byte before it."""


def tar(data: bytes) -> None:
    """Files that lie in the archive, under paths that may be; or an error, after a bounded number of reads."""
    reads = 0

    def read_at(off: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        assert 0 <= off < off + size <= len(data)
        return data[off : off + size]

    try:
        table = read_table(read_at, len(data))
    except InvalidTar as exc:
        assert str(exc).isprintable()
        return
    finally:
        assert reads <= _MOST_READS + len(data) // 100
    assert all(0 <= one.off <= one.off + one.size <= len(data) and one.mtime >= 0 for one in table.members)
    paths = [*(one.path for one in table.members), *(one.path for one in table.links)]
    assert all(len(path.encode()) <= MAX_PATH for path in paths)
    opened = Opened(Blob(Digest.of(data), len(data)), table)
    try:
        found = unfold(opened)
        resolve_links(found)
        image = image_files([opened, opened])
    except InvalidManifest:
        return
    for files in (found.files, image.files):
        assert all(part.off + part.size <= len(data) for part, _ in files.values())
    check_paths(list(image.files))


def kept_table(data: bytes) -> None:
    """What the cache has of an archive is that archive's, or nothing."""
    blob = Blob(Digest.of(b"x"), 1)
    with TemporaryDirectory() as folder:
        tables = Tables(Path(folder))
        (Path(folder) / "tables").mkdir()
        (Path(folder) / "tables" / blob.digest.file_name).write_bytes(data)
        assert tables.read(blob) is None


def _seeds() -> list[bytes]:
    files = {"a/b": b"1" * 600, "c": b"", "d" * 120 + "/e": b"2"}
    links = [("l", "c", tarfile.LNKTYPE), ("a/s", "../c", tarfile.SYMTYPE), (".wh.c", "", tarfile.REGTYPE)]
    dialects = (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
    return [tar_of(files, links=links, folders=["a"], format=one)[:6000] for one in dialects]


_WORDS = (b"ustar\x0000", b"ustar  \0", b"12 path=../x\n", b"GNU.sparse.major=1", b"hdrcharset=BINARY", *NUMBERS)

TARGETS = (
    Target("tar", tar, _seeds, _WORDS, 8192),
    Target("kept-table", kept_table, lambda: [b"fusefs table 1\n"], (b"fusefs table 1\n",)),
)

"""Files of an export: whole or not there, never in another's place, and taken over by the next run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import ServeError
from fusefs.offers.filehash import chunk_list_of
from fusefs.offers.kept import HashedFile
from fusefs.offers.ledger import LEDGER
from fusefs.offers.stamp import Stamp
from fusefs.offers.treefiles import Placed, TreeFiles
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = os.urandom(100_000)


def hashed(path: Path) -> HashedFile:
    digest, chunks = chunk_list_of(path, 4096, lambda *_: None)
    return HashedFile(path, Stamp.of(path.stat()), digest, chunks)


def share(files: TreeFiles, path: Path, name: str) -> tuple[Placed, HashedFile]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return files.share(name, hashed(path), fd)
    finally:
        os.close(fd)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(DATA)
    path.chmod(0o644)
    return path


@pytest.fixture
def files(tmp_path: Path) -> Iterator[TreeFiles]:
    with TreeFiles(tmp_path / "out") as files:
        yield files


def test_a_file_that_is_there_is_not_written_again(files: TreeFiles, source: Path) -> None:
    assert share(files, source, "v2/a")[0] is Placed.LINKED
    assert share(files, source, "v2/a")[0] is Placed.KEPT
    assert (files.root / "v2/a").read_bytes() == DATA


def test_a_file_that_others_may_not_read_is_copied_for_them(files: TreeFiles, source: Path) -> None:
    source.chmod(0o600)
    assert share(files, source, "v2/a")[0] is Placed.COPIED
    assert (files.root / "v2/a").stat().st_mode & 0o777 == 0o644


def test_a_copy_shares_nothing(tmp_path: Path, source: Path) -> None:
    with TreeFiles(tmp_path / "out", share=False) as files:
        assert share(files, source, "v2/a")[0] is Placed.COPIED
    source.write_bytes(b"other")
    assert (tmp_path / "out/v2/a").read_bytes() == DATA


@pytest.mark.parametrize("there", [b"other", DATA[:-1], bytes(len(DATA))], ids=["small", "cut", "zeros"])
def test_p2_what_another_wrote_is_refused_and_stays(files: TreeFiles, source: Path, there: bytes) -> None:
    (files.root / "a").write_bytes(there)
    with pytest.raises(ServeError, match="did not write it"):
        share(files, source, "a")
    with pytest.raises(ServeError, match="did not write it"):
        files.replace("a", b"mine")
    assert (files.root / "a").read_bytes() == there


def test_what_another_wrote_with_the_right_bytes_is_taken(files: TreeFiles, source: Path) -> None:
    (files.root / "a").write_bytes(DATA)
    assert share(files, source, "a")[0] is Placed.KEPT


def test_a_tag_moves_when_an_export_wrote_it_and_no_sooner(tmp_path: Path) -> None:
    with TreeFiles(tmp_path) as files:
        files.replace("tag", b"one")
    with TreeFiles(tmp_path) as files:
        files.replace("tag", b"two")
    (tmp_path / "tag").write_bytes(b"edited")
    with TreeFiles(tmp_path) as files, pytest.raises(ServeError, match="did not write it"):
        files.replace("tag", b"three")
    assert (tmp_path / "tag").read_bytes() == b"edited"


def test_a_link_in_the_place_of_a_file_is_not_followed(files: TreeFiles, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    (files.root / "tag").symlink_to(other)
    with pytest.raises(ServeError):
        files.replace("tag", b"mine")
    assert other.read_bytes() == b"precious"


def test_a_torn_line_of_the_ledger_does_no_harm(tmp_path: Path) -> None:
    with TreeFiles(tmp_path) as files:
        files.replace("tag", b"one")
    with open(tmp_path / LEDGER, "ab") as file:
        file.write(b"sha256:12")
    with TreeFiles(tmp_path) as files:
        files.replace("other", b"two")
    with TreeFiles(tmp_path) as files:
        assert files.ledger.has("other", Digest.of(b"two"))
        assert files.replace("tag", b"three") is Placed.COPIED


def test_two_exports_at_once_are_one_too_many(files: TreeFiles) -> None:
    with pytest.raises(ServeError, match="another fusefs export"):
        TreeFiles(files.root)


@pytest.mark.parametrize("own", [True, False])
def test_a_source_that_changed_since_it_was_hashed_is_refused(tmp_path: Path, source: Path, own: bool) -> None:
    entry = hashed(source)
    source.write_bytes(DATA[::-1])
    with TreeFiles(tmp_path / "out", share=own) as files, open(source, "rb") as file, pytest.raises(ServeError):
        files.share("v2/a", entry, file.fileno())
    assert not (tmp_path / "out/v2/a").exists()

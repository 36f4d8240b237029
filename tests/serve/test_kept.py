"""KeptDigests: what is kept is believed, so nobody else may get at it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from fusefs.offers.kept import HashedFile, KeptDigests
from fusefs.offers.stamp import Stamp, fitting_chunk_size
from fusefs.values.chunks import ChunkList
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

DATA = b"x" * 3000
STAMP = Stamp(len(DATA), 1, 2, 3)
CHUNK = 1000


def entry(path: Path, digest: Digest) -> HashedFile:
    size = fitting_chunk_size(STAMP.size, CHUNK)
    plain = ChunkList.uniform(STAMP.size, size)
    return HashedFile(path, STAMP, digest, plain.with_digests(digest.raw * len(plain)))


OURS, THEIRS = Digest.of(DATA), Digest.of(b"theirs")


def test_p10_another_folder_in_the_place_of_ours_is_never_read_or_written(tmp_path: Path) -> None:
    root, away, served = tmp_path / "serve", tmp_path / "away", tmp_path / "model"
    kept = KeptDigests(root, CHUNK)
    kept.save(entry(served, OURS))
    root.rename(away)
    KeptDigests(root, CHUNK).save(entry(served, THEIRS))
    before = {path: path.stat().st_mtime_ns for path in root.iterdir()}
    found = kept.load(served, STAMP)
    assert found is not None
    assert found.digest == OURS
    other = tmp_path / "other"
    kept.save(entry(other, OURS))
    assert {path: path.stat().st_mtime_ns for path in root.iterdir()} == before
    assert len(list(away.iterdir())) == 2
    shutil.rmtree(away)
    assert kept.load(served, STAMP) is None


def test_p10_a_folder_that_others_may_write_to_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, served = tmp_path / "serve", tmp_path / "model"
    KeptDigests(root, CHUNK).save(entry(served, THEIRS))
    root.chmod(0o777)
    kept = KeptDigests(root, CHUNK)
    assert kept.load(served, STAMP) is None
    kept.save(entry(served, OURS))
    assert "others may write to" in caplog.text
    root.chmod(0o700)
    tmp_path.chmod(0o777)
    try:
        assert KeptDigests(root, CHUNK).load(served, STAMP) is None, "nor one that others may rename"
    finally:
        tmp_path.chmod(0o700)
    assert KeptDigests(root, CHUNK).load(served, STAMP) is not None

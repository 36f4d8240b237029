"""The cache of the Hub's library, filled: as the library fills it, beside it, and with nothing wrong in it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download, try_to_load_from_cache
from huggingface_hub.utils._fixes import WeakFileLock

from fusefs.errors import ServeError
from fusefs.offers.hubwriter import HubWriter
from fusefs.offers.treefiles import Placed
from tests.patience import HANGS, eventually
from tests.serve.hub import FIRST, tree_of, write_downloaded

if TYPE_CHECKING:
    from fusefs.artifacts.hubtree import HubFile

FOLDER = "models--acme--tiny"
FILES = {"config.json": b'{"a": 1}', "onnx/weights.bin": os.urandom(100_000), "empty.txt": b"", "same.bin": b"same"}
FILES["twice/same.bin"] = FILES["same.bin"]
TREE = tree_of(FILES)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    return tmp_path / "hub"


def add(writer: HubWriter, file: HubFile, data: bytes, scratch: Path) -> Placed:
    scratch.write_bytes(data)
    fd = os.open(scratch, os.O_RDONLY)
    try:
        return writer.add_blob(file, fd)
    finally:
        os.close(fd)


def fill(hub: Path, scratch: Path, revision: str = "main") -> HubWriter:
    writer = HubWriter(hub, FOLDER)
    for file in TREE.files:
        add(writer, file, FILES[file.path], scratch)
    writer.finish(TREE.commit, revision, TREE.files, TREE.files)
    return writer


def below(root: Path) -> dict[str, str | bytes]:
    """Files and links, without locks."""
    found: dict[str, str | bytes] = {}
    for path in root.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(root))] = os.readlink(path)
        elif path.is_file():
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def test_it_is_the_librarys_own_layout(hub: Path, tmp_path: Path) -> None:
    fill(hub, tmp_path / "scratch")
    expected = below(write_downloaded(tmp_path / "theirs", FOLDER, FILES))
    assert below(hub / FOLDER) == expected


def test_the_library_finds_everything_without_a_network(hub: Path, tmp_path: Path) -> None:
    fill(hub, tmp_path / "scratch")
    (repository,) = scan_cache_dir(hub).repos
    assert not scan_cache_dir(hub).warnings
    assert (repository.repo_id, repository.nb_files) == ("acme/tiny", 4)
    snapshot = Path(snapshot_download("acme/tiny", cache_dir=hub, local_files_only=True))
    assert {path: (snapshot / path).read_bytes() for path in FILES} == FILES
    for path, data in FILES.items():
        assert Path(hf_hub_download("acme/tiny", path, cache_dir=hub, local_files_only=True)).read_bytes() == data
    assert try_to_load_from_cache("acme/tiny", "config.json", hub, FIRST) == str(snapshot / "config.json")


def test_p4_wrong_bytes_never_get_the_name(hub: Path, tmp_path: Path) -> None:
    writer = HubWriter(hub, FOLDER)
    file = TREE.files[2]
    wrong = bytearray(FILES[file.path])
    wrong[-1] ^= 1
    with pytest.raises(ServeError, match=f"{file.path} changed while it was copied"):
        add(writer, file, bytes(wrong), tmp_path / "scratch")
    assert not list((hub / FOLDER / "blobs").iterdir()), "and nothing is left of them"


def test_a_blob_that_is_right_is_kept_and_a_damaged_one_is_replaced(hub: Path, tmp_path: Path) -> None:
    writer = fill(hub, tmp_path / "scratch")
    file = TREE.files[2]
    blob = hub / FOLDER / "blobs" / file.blob.digest.hex
    before = blob.stat().st_ino
    assert add(writer, file, FILES[file.path], tmp_path / "scratch") is Placed.KEPT
    assert blob.stat().st_ino == before
    blob.write_bytes(b"x" * file.blob.size)
    assert add(writer, file, FILES[file.path], tmp_path / "scratch") is not Placed.KEPT
    assert blob.read_bytes() == FILES[file.path]


def test_a_shared_blob_is_kept_through_its_link_and_never_written(hub: Path, tmp_path: Path) -> None:
    file = TREE.files[2]
    shared = hub / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    shared.write_bytes(FILES[file.path])
    writer = HubWriter(hub, FOLDER)
    blob = hub / FOLDER / "blobs" / file.blob.digest.hex
    blob.symlink_to(Path("../../blobs/ab") / shared.name)
    assert writer.leads_to(file, shared)
    assert add(writer, file, FILES[file.path], tmp_path / "scratch") is Placed.KEPT
    assert blob.is_symlink()
    shared.write_bytes(b"x" * file.blob.size)
    add(writer, file, FILES[file.path], tmp_path / "scratch")
    assert not blob.is_symlink()
    assert shared.read_bytes() == b"x" * file.blob.size, "another repository's, and not ours to mend"


def test_p9_a_blob_that_the_library_is_writing_is_waited_for(hub: Path, tmp_path: Path) -> None:
    told: list[str] = []
    writer = HubWriter(hub, FOLDER, told.append)
    file = TREE.files[2]
    placed: list[Placed] = []
    thread = threading.Thread(
        target=lambda: placed.append(add(writer, file, FILES[file.path], tmp_path / "scratch")), daemon=True
    )
    with WeakFileLock(hub / ".locks" / FOLDER / f"{file.blob.digest.hex}.lock"):  # as the library does
        thread.start()
        eventually("somebody is told", lambda: bool(told))
        assert not placed
        (hub / FOLDER / "blobs" / file.blob.digest.hex).write_bytes(FILES[file.path])
    thread.join(HANGS)
    assert placed == [Placed.KEPT]
    assert "another program is writing" in told[0]


def test_a_plain_file_in_a_snapshot_becomes_a_link_and_a_reference_is_replaced(hub: Path, tmp_path: Path) -> None:
    plain = hub / FOLDER / "snapshots" / FIRST / "config.json"
    plain.parent.mkdir(parents=True)
    plain.write_bytes(b"old")
    (hub / FOLDER / "refs").mkdir()
    (hub / FOLDER / "refs/main").write_text("0" * 40)
    fill(hub, tmp_path / "scratch")
    assert plain.is_symlink()
    assert plain.read_bytes() == FILES["config.json"]
    assert (hub / FOLDER / "refs/main").read_text() == FIRST
    assert not list(hub.rglob("*.tmp"))


@pytest.mark.parametrize(("revision", "reference"), [("refs/pr/1", "refs/refs/pr/1"), (FIRST, None), ("", None)])
def test_a_revision_has_a_reference_and_a_commit_has_none(
    hub: Path, tmp_path: Path, revision: str, reference: str | None
) -> None:
    fill(hub, tmp_path / "scratch", revision)
    found = [str(path.relative_to(hub / FOLDER)) for path in (hub / FOLDER / "refs").rglob("*") if path.is_file()]
    assert found == ([reference] if reference else [])


def test_modes_are_those_of_the_umask(hub: Path, tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        fill(hub, tmp_path / "scratch")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (hub / FOLDER).rglob("*") if path.is_file()}
    assert modes == {0o664}

"""Folders of this machine as SOURCE: read in place, without a network, a server or a copy, and proved like the rest."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from fusefs.engine.local import LocalOpener
from fusefs.values.digest import Digest
from fusefs.values.reference import LocalPath
from tests.artifacts import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell

pytestmark = pytest.mark.slow

FILES = {
    "config.json": b"{}",
    "weights.bin": os.urandom(3_500_000),
    "sub/x.json": os.urandom(2_000),
    "none": b"",
}


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
        os.utime(root / path, (1_700_000_000, 1_700_000_000))
    return root


def store_of(root: Path, blobs: list[bytes]) -> Path:
    """An OLLAMA_MODELS store with one model; the first blob is its config."""
    (root / "blobs").mkdir(parents=True)
    described = []
    for data in blobs:
        digest = Digest.of(data)
        (root / "blobs" / digest.file_name).write_bytes(data)
        described.append({"mediaType": "application/vnd.ollama.image.model", "digest": str(digest), "size": len(data)})
    manifest = root / "manifests/registry.ollama.ai/library/tiny/1b"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "config": described[0], "layers": described[1:]}))
    return root


def fetched(fusefs: Shell) -> int:
    return sum(path.stat().st_size for path in (fusefs.root / "cache/fusefs").glob("blobs/*"))


def test_p1_a_folder_is_mounted_in_place_and_nothing_is_copied(fusefs: Shell) -> None:
    folder = folder_of(fusefs.root / "models/llama", FILES)
    mnt = fusefs.folder("mnt")
    fusefs("mount", "./models/llama", mnt)
    assert {path: (mnt / path).read_bytes() for path in FILES} == FILES
    assert (mnt / "weights.bin").stat().st_mtime == 1_700_000_000
    assert os.getxattr(mnt / "weights.bin", "user.fusefs.digest").decode() == str(Digest.of(FILES["weights.bin"]))
    (mount,) = json.loads(fusefs("status", mnt, "--json").stdout)["mounts"]
    assert mount["counters"]["requests"] == 0
    assert fetched(fusefs) == 0
    with (mnt / "weights.bin").open("rb") as file:
        assert os.pread(file.fileno(), 10, 1_048_570) == FILES["weights.bin"][1_048_570:1_048_580], "across two chunks"
        assert os.pread(file.fileno(), 10, 3_499_995) == FILES["weights.bin"][-5:]
    fusefs("umount", mnt)
    assert folder.is_dir()


def test_p2_a_file_that_changed_while_it_is_mounted_is_an_error_and_never_a_mixture(fusefs: Shell) -> None:
    folder = folder_of(fusefs.root / "llama", FILES)
    mnt = fusefs.folder("mnt")
    fusefs("mount", folder, mnt)
    with (folder / "weights.bin").open("r+b") as file:  # in place, and with the old time
        file.seek(2_000_000)
        file.write(bytes(byte ^ 0xFF for byte in FILES["weights.bin"][2_000_000:2_000_010]))
    os.utime(folder / "weights.bin", (1_700_000_000, 1_700_000_000))
    with pytest.raises(OSError, match="Input/output error"):
        (mnt / "weights.bin").read_bytes()
    assert (mnt / "sub/x.json").read_bytes() == FILES["sub/x.json"]
    (mount,) = json.loads(fusefs("status", mnt, "--json").stdout)["mounts"]
    assert "has changed since it was hashed; unmount, and mount it again" in mount["last_error"]
    fusefs("umount", mnt)
    fusefs("mount", folder, mnt)
    assert (mnt / "weights.bin").read_bytes() == (folder / "weights.bin").read_bytes(), "hashed again"
    fusefs("umount", mnt)


def test_a_store_is_mounted_in_place_and_a_damaged_blob_is_told(fusefs: Shell) -> None:
    blobs = [b'{"x": 1}', os.urandom(100_000)]
    store = store_of(fusefs.root / "store", blobs)
    mnt = fusefs.folder("mnt")
    fusefs("mount", store, mnt)
    assert (mnt / "model.gguf").read_bytes() == blobs[1]
    assert (mnt / "config.json").read_bytes() == blobs[0]
    fusefs("umount", mnt)
    (store / "blobs" / Digest.of(blobs[1]).file_name).write_bytes(b"x" * 100_000)
    assert "is damaged" in fusefs.fails("mount", store, mnt)


def test_models_of_every_family_in_a_store_are_shown_as_their_files_and_archives_are_read_where_they_lie(
    fusefs: Shell,
) -> None:
    store = fusefs.root / "store"
    (store / "blobs").mkdir(parents=True)
    for name, family in FAMILIES.items():
        manifest = store / "manifests/registry.example.org/families" / name / "v1"
        manifest.parent.mkdir(parents=True)
        manifest.write_bytes(family().manifest)
        for data in family().blobs:
            (store / "blobs" / Digest.of(data).file_name).write_bytes(data)
    mnt = fusefs.folder("mnt")
    fusefs("mount", store, mnt)
    for name, family in FAMILIES.items():
        root = mnt / name / "v1"
        shown = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        assert shown == family().files, name
    assert fetched(fusefs) == 0
    fusefs("umount", mnt)


def test_p7_another_cache_is_a_source_after_its_registry_is_gone(
    fusefs: Shell, model: str, content: dict[str, bytes]
) -> None:
    fusefs("pull", model, "--cache-dir", "first")
    mnt = fusefs.folder("mnt")
    fusefs("mount", "./first", mnt)
    assert {path: (mnt / path).read_bytes() for path in content} == content
    assert fetched(fusefs) == 0
    fusefs("umount", mnt)


def test_a_folder_that_is_written_as_a_name_is_a_name_and_the_error_says_so(fusefs: Shell) -> None:
    """The registry was blamed, and nothing told that a path begins with a dot or a slash."""
    folder_of(fusefs.root / "models/llama", FILES)
    fusefs.env["https_proxy"] = "http://127.0.0.1:1"
    line = fusefs.fails("mount", "models/llama", fusefs.folder("mnt"), "--timeout", "1s")
    assert "registry.ollama.ai" in line
    assert line.endswith("; for the folder 'models/llama' of this machine write ./models/llama")


def test_folders_of_models_and_names_are_mounted_side_by_side(fusefs: Shell, model: str) -> None:
    for name in ("one", "two"):
        folder_of(fusefs.root / "models" / name, FILES)
    mnt = fusefs.folder("mnt")
    fusefs("mount", "./models", model, mnt)
    assert (mnt / "one/latest/weights.bin").read_bytes() == FILES["weights.bin"]
    assert len(list(mnt.iterdir())) == 3
    fusefs("umount", mnt)


def test_each_file_is_hashed_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "llama", FILES)

    def hashed() -> int:
        opener = LocalOpener(1 << 20, others=False, warn=lambda _: None, kept=tmp_path / "kept")
        opener.open(LocalPath.parse(str(folder)))
        return opener.bytes_hashed

    assert hashed() == sum(map(len, FILES.values()))
    assert hashed() == 0
    (folder / "config.json").write_bytes(b"[1]")
    assert hashed() == 3


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("./absent", "./absent: there is no such folder"),
        ("./file", "./file: name the folder that holds this file"),
        ("./empty", "holds no model"),
        ("file://there/x", "want file:///path, of this machine"),
    ],
)
def test_a_path_that_is_no_model_is_one_line(fusefs: Shell, source: str, reason: str) -> None:
    (fusefs.root / "file").write_bytes(b"x")
    fusefs.folder("empty")
    mnt = fusefs.folder("mnt")
    code = 2 if source.startswith("file:") else 1
    assert reason in fusefs.fails("mount", source, mnt, code=code)


def test_a_folder_is_not_pulled_but_mounted(fusefs: Shell) -> None:
    assert "`fusefs mount` reads it in place" in fusefs.fails("pull", "./x", code=2)


def test_p10_links_out_of_the_folder_are_left_out_and_told(fusefs: Shell) -> None:
    folder = folder_of(fusefs.root / "llama", FILES)
    (fusefs.root / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to(fusefs.root / "secret")
    mnt = fusefs.folder("mnt")
    told = fusefs("mount", folder, mnt).stderr
    assert "link" in told
    assert sorted(path.name for path in mnt.iterdir()) == sorted({path.partition("/")[0] for path in FILES})
    fusefs("umount", mnt)


def test_a_copy_program_sees_ordinary_files(fusefs: Shell) -> None:
    folder = folder_of(fusefs.root / "llama", FILES)
    mnt = fusefs.folder("mnt")
    fusefs("mount", folder, mnt)
    subprocess.run(["cp", "-r", str(mnt), str(fusefs.root / "copy")], check=True, timeout=30)
    assert {path: (fusefs.root / "copy" / path).read_bytes() for path in FILES} == FILES
    fusefs("umount", mnt)

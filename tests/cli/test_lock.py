"""`fusefs lock`, and what `--lock` of pull and mount holds to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.components import fusefs_serve

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell


@pytest.fixture
def lock(fusefs: Shell, model: str) -> Path:
    """The lock of `model`."""
    path = fusefs.root / "model.lock"
    path.write_text(fusefs("lock", model).stdout)
    return path


def test_the_same_model_is_the_same_lock(fusefs: Shell, model: str, lock: Path) -> None:
    assert fusefs("lock", model, "--cache-dir", fusefs.folder("other")).stdout == lock.read_text()
    (entry,) = json.loads(lock.read_text())["models"]
    assert entry["source"] == f"{model}:latest"
    assert len(entry["blobs"]) >= 2


def test_a_locked_model_is_the_same_whatever_its_tag_means_by_now(fusefs: Shell, tmp_path: Path) -> None:
    folder = fusefs.folder("models")
    (folder / "m").mkdir()
    (folder / "m" / "weights").write_bytes(b"first")
    (fusefs.root / "cache").mkdir(exist_ok=True)
    with fusefs_serve(folder) as address:
        source, lock = f"http://{address}/local/m", fusefs.root / "lock"
        lock.write_text(fusefs("lock", source).stdout)
        fusefs("pull", "--lock", lock)
        (folder / "m" / "weights").write_bytes(b"second")
        unlocked = fusefs.folder("unlocked")
        fusefs("mount", source, unlocked)
        assert (unlocked / "weights").read_bytes() == b"second"
        fusefs("umount", unlocked)
        for words in ((source,), ()):
            mountpoint = fusefs.folder(f"mnt{len(words)}")
            fusefs("mount", *words, mountpoint, "--lock", lock)
            assert (mountpoint / "weights").read_bytes() == b"first"
            fusefs("umount", mountpoint)
        fresh = ("--cache-dir", fusefs.folder("fresh"))
        assert "not found" in fusefs.fails("pull", source, "--lock", lock, *fresh)


@pytest.mark.slow
def test_p10_a_lock_that_does_not_fit_is_one_line(fusefs: Shell, model: str, lock: Path) -> None:
    mountpoint = fusefs.folder("mnt")
    other = model.replace("/tiny", "/other")
    assert "is not in the lock" in fusefs.fails("pull", other, "--lock", lock)
    assert "is not in the lock" in fusefs.fails("mount", other, mountpoint, "--lock", lock)
    assert "No such file" in fusefs.fails("pull", model, "--lock", fusefs.root / "none")
    document = json.loads(lock.read_text())
    document["models"][0]["blobs"][0]["size"] += 1
    lock.write_text(json.dumps(document))
    assert "not those of the manifest" in fusefs.fails("mount", model, mountpoint, "--lock", lock)
    document["models"][0]["manifest"] = f"sha256:{'0' * 64}"
    lock.write_text(json.dumps(document))
    assert "not found" in fusefs.fails("mount", model, mountpoint, "--lock", lock)
    lock.write_text(lock.read_text()[:-9])
    assert "not a lock" in fusefs.fails("pull", model, "--lock", lock)
    lock.write_text('{"version": 7}')
    assert "version 7" in fusefs.fails("mount", mountpoint, "--lock", lock)


def test_without_a_lock_a_source_is_wanted(fusefs: Shell) -> None:
    assert "Missing argument 'SOURCE" in fusefs("pull", code=2).stderr
    assert "Missing argument 'SOURCE" in fusefs("mount", fusefs.root / "mnt", code=2).stderr

"""`fusefs lock` and `--lock` of folders on the web and in buckets."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.components import nginx
from tests.programs.world import shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bucket import Bucket
    from tests.programs.world import World

FILES = {"config.json": b'{"a": 1}', "sub dir/weights+1.bin": b"weights" * 999, "copy.json": b'{"a": 1}', "none": b""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What is served, with a list."""
    root = tmp_path / "served/models/Tiny"
    for path, data in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return listed(root)


def listed(root: Path) -> Path:
    shell("rm -f SHA256SUMS; find . -type f -print0 | xargs -0 sha256sum >../sums && mv ../sums SHA256SUMS", root)
    return root


@pytest.fixture
def source(folder: Path, tmp_path: Path) -> Iterator[str]:
    with nginx(tmp_path / "nginx", f"root {folder.parents[1]};") as address:
        yield f"http://{address}/models/Tiny/"


def check(path: Path) -> None:
    assert {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()} == FILES


def test_a_lock_of_a_folder_says_what_it_is_made_of_and_is_kept_to(
    world: World, folder: Path, source: str, tmp_path: Path
) -> None:
    lock = tmp_path / "lock"
    lock.write_text(world.fusefs("lock", source).stdout)
    assert world.fusefs("lock", source, "--cache-dir", tmp_path / "other").stdout == lock.read_text()
    (model,) = json.loads(lock.read_text())["models"]
    paths = {path: blob["digest"] for blob in model["blobs"] for path in blob["paths"]}
    assert paths == {path: f"sha256:{hashlib.sha256(data).hexdigest()}" for path, data in FILES.items()}
    with world.mount(source, options=("--lock", lock)) as mounted:
        check(mounted.path)
    (folder / "config.json").write_bytes(b"{}")
    listed(folder)
    failed = world.fusefs("pull", source, "--lock", lock, "--cache-dir", tmp_path / "fresh", code=1).stderr
    assert "is another model by now" in failed
    assert failed.count("\n") == 1


@pytest.mark.slow
def test_p1_a_lock_has_the_digests_of_a_folder_that_has_none(
    world: World, folder: Path, source: str, tmp_path: Path
) -> None:
    lock = tmp_path / "lock"
    lock.write_text(world.fusefs("lock", source).stdout)
    (folder / "SHA256SUMS").unlink()
    fresh = ("--cache-dir", tmp_path / "fresh")
    assert "has no SHA256SUMS" in world.fusefs("pull", source, *fresh, code=1).stderr
    world.fusefs("pull", "--lock", lock, *fresh)
    with world.mount(source, options=("--lock", lock)) as mounted:
        check(mounted.path)
    (folder / "config.json").write_bytes(b'{"a": 2}')
    options = ("--lock", lock, "--timeout", "5s")
    with world.mount(source, options=options, logs="does not match") as mounted, pytest.raises(OSError, match="Input"):
        (mounted.path / "config.json").read_bytes()


@pytest.mark.slow
def test_a_lock_of_one_place_is_the_digests_of_a_bucket_with_the_same_files(
    world: World, bucket: Bucket, source: str, tmp_path: Path
) -> None:
    """Somebody has hashed them elsewhere; the bucket itself keeps nothing."""
    for path, data in FILES.items():
        if data:  # SeaweedFS shows an empty object as a folder
            bucket.put(f"unlisted/{path}", data)
    name, lock = f"s3://{bucket.name}/unlisted/", tmp_path / "lock"
    lock.write_text(world.fusefs("lock", source).stdout.replace(source, name))
    with world.mount(name, options=("--lock", lock), env=bucket.env) as mounted:
        check(mounted.path)
        mounted.wait_sealed()
    world.fusefs("pull", "--lock", lock, "--cache-dir", tmp_path / "pulled", env=bucket.env)


@pytest.mark.slow
def test_a_bucket_with_a_list_is_locked_like_any_other_model(world: World, bucket: Bucket, tmp_path: Path) -> None:
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in FILES.items())
    for path, data in {**FILES, "SHA256SUMS": sums.encode()}.items():
        if data:
            bucket.put(f"locked/{path}", data)
    name, lock = f"s3://{bucket.name}/locked", tmp_path / "lock"
    lock.write_text(world.fusefs("lock", name, env=bucket.env).stdout)
    with world.mount(name, options=("--lock", lock), env=bucket.env) as mounted:
        check(mounted.path)
    bucket.put("locked/SHA256SUMS", b"".join(line for line in sums.encode().splitlines(True) if b"copy" not in line))
    options = ("--lock", lock, "--cache-dir", tmp_path / "fresh")
    assert "is another model by now" in world.fusefs("pull", name, *options, env=bucket.env, code=1).stderr

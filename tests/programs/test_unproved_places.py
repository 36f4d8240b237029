"""Folders on the web and in buckets that no digest says anything of: read by those who allow it, one version each."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.components import nginx
from tests.marks import one_soon
from tests.programs.models import MIB, random_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.bucket import Bucket
    from tests.programs.world import Mounted, World

SIZE = 72 * MIB
LARGE = random_bytes(MIB, 95) * 72
FILES = {"config.json": b'{"a": 1}', "sub dir/tokens+ü%20.txt": b"tokens " * 999, "large.bin": LARGE}
ALLOW = ("--unproved", "allow")
SAID = "keeps no sha256 of"


class Place:
    """A folder somewhere.

    Attributes:
        source: its name.
        env: the environment that leads to it.
    """

    def __init__(self, source: str, put: Callable[[str, bytes], None], env: dict[str, str]) -> None:
        self.source = source
        self.put = put
        self.env = env

    def mount(self, world: World, **options: object) -> AbstractContextManager[Mounted]:
        return world.mount(self.source, env=self.env, **options)  # type: ignore[arg-type]  # as `World.mount`


@pytest.fixture(params=one_soon(["web", "bucket"]))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A folder with the files and no list."""
    if request.param == "bucket":
        bucket: Bucket = request.getfixturevalue("bucket")
        folder = f"unproved/{tmp_path.name}"
        place = Place(
            f"s3://{bucket.name}/{folder}", lambda path, data: bucket.put(f"{folder}/{path}", data), bucket.env
        )
        for path, data in FILES.items():
            place.put(path, data)
        yield place
        return
    root = tmp_path / "served/models/Tiny"

    def put(path: str, data: bytes) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "../new").resolve().write_bytes(data)
        os.replace((root / "../new").resolve(), root / path)

    root.mkdir(parents=True)
    with nginx(tmp_path / "nginx", f"root {tmp_path}/served; autoindex on;") as address:
        place = Place(f"http://{address}/models/Tiny/", put, {})
        for path, data in FILES.items():
            place.put(path, data)
        yield place


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", [(), ("--unproved", "wait"), ("--unproved", "refuse")], ids=["default", "wait", "refuse"]
)
def test_p1_what_nothing_proves_is_not_mounted_without_being_allowed(
    world: World, place: Place, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    """There would be nothing to wait for."""
    (tmp_path / "mnt").mkdir()
    failed = world.fusefs("mount", place.source, tmp_path / "mnt", *mode, env=place.env, code=1).stderr
    assert failed.count("\n") == 1, failed
    assert "`--unproved allow` (mount, run, pull)" in failed
    failed = world.fusefs("pull", place.source, env=place.env, code=1).stderr
    assert "`--unproved allow` (mount, run, pull)" in failed


def test_what_nothing_proves_is_mounted_lazily_where_that_is_allowed_and_called_unproved(
    world: World, place: Place, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with place.mount(world, cache=cache, options=ALLOW, logs=SAID) as mounted:
        with open(mounted.path / "large.bin", "rb", buffering=0) as file:
            file.seek(60 * MIB)
            assert file.read(10) == LARGE[60 * MIB :][:10]
        assert mounted.counter("bytes_fetched") < SIZE // 2
        found = {str(p.relative_to(mounted.path)): p.read_bytes() for p in mounted.path.rglob("*") if p.is_file()}
        assert found == FILES
        assert {file["state"] for file in mounted.status()["files"]} == {"unproved"}
        assert {file["proof"] for file in mounted.status()["files"]} == {"unproved"}
        shown = world.fusefs("status", mounted.path).stdout
        assert "proof 3 files unproved" in shown
        assert f"warning: {place.source}" in shown
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"} if place.env else {}
    offline = {**place.env, **nowhere}
    if nowhere:  # what is here stays readable without a network (P7)
        logs = f"{SAID}|cached before|no answer"
        with world.mount(
            place.source, cache=cache, env=offline, options=(*ALLOW, "--timeout", "5s"), logs=logs
        ) as again:
            assert (again.path / "large.bin").read_bytes() == LARGE
    (tmp_path / "mnt").mkdir()
    assert (
        "`--unproved allow` (mount, run, pull)"
        in world.fusefs("mount", place.source, tmp_path / "mnt", "--cache-dir", cache, env=place.env, code=1).stderr
    ), "that it lies here by now proves nothing"


@pytest.mark.slow
def test_pull_takes_what_nothing_proves_where_that_is_allowed_and_never_calls_it_sealed(
    world: World, place: Place, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    pull = ("pull", place.source, *ALLOW, "--cache-dir", cache)
    done = world.fusefs(*pull, env=place.env)
    assert "3 of them unproved; fetched" in done.stdout.splitlines()[-1]
    assert SAID in done.stderr
    again = json.loads(world.fusefs(*pull, "--json", env=place.env).stdout)
    assert {blob["state"] for blob in again["blobs"]} == {"unproved"}
    assert again["counters"]["bytes_fetched"] == 0
    with place.mount(world, cache=cache, options=ALLOW, logs=SAID) as mounted:
        assert (mounted.path / "large.bin").read_bytes() == LARGE
        assert mounted.counter("bytes_fetched") == 0
        assert {file["state"] for file in mounted.status()["files"]} == {"unproved"}


@pytest.mark.slow
def test_p2_a_file_that_is_replaced_amid_reading_is_an_error_and_no_mixture_of_versions(
    world: World, place: Place
) -> None:
    options = (*ALLOW, "--timeout", "10s")
    with (
        place.mount(world, options=options, logs=f"{SAID}|has changed|any more") as mounted,
        open(mounted.path / "large.bin", "rb", buffering=0) as file,
    ):
        assert file.read(4096) == LARGE[:4096]
        place.put("large.bin", b"b" * SIZE)
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(file.fileno(), 4096, SIZE - 8192)
        assert os.pread(file.fileno(), 4096, 0) == LARGE[:4096]
    with place.mount(world, options=options, logs=SAID) as mounted:
        assert (mounted.path / "large.bin").read_bytes() == b"b" * SIZE


@pytest.mark.slow
def test_p1_another_registry_cannot_have_anything_served_by_the_name_of_a_version(world: World, tmp_path: Path) -> None:
    """Only a folder's own document may name one."""
    from tests.list_registry import ListRegistry

    document = (
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[{"mediaType":"x",'
        '"size":4,"digest":"version:%s","annotations":{"org.opencontainers.image.title":"f"}}]}' % ("0" * 64)
    )
    (tmp_path / "mnt").mkdir()
    with ListRegistry("library/m") as registry:
        registry.manifest("latest", document.encode())
        name = f"http://{registry.host}/library/m"
        failed = world.fusefs("mount", name, tmp_path / "mnt", *ALLOW, code=1).stderr
    assert "invalid digest" in failed

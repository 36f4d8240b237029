"""P5, P10: rot, through the real command: `mount --verify always`, `verify`, and a link to a secret in the cache."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.disk import DiskCache
from tests.chunkers import corrupt
from tests.faults.rot import Secret
from tests.faulty_registry import FaultyRegistry
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.programs.world import World

    Record = Callable[[str, object], None]

pytestmark = pytest.mark.reads

SMALL = some_bytes(300_000, seed=5)
ALWAYS = ("--verify", "always")


@pytest.mark.slow
@pytest.mark.parametrize("online", [True, False])
def test_p5_verify_always_hashes_again_in_the_same_boot(world: World, online: bool, record_property: Record) -> None:
    cache = world.root / "cache"
    with FaultyRegistry() as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": SMALL}, config=None)
        blob = model.blobs["model.gguf"]
        with world.mount(str(model.name), cache=cache) as mounted:
            assert (mounted.path / "model.gguf").read_bytes() == SMALL
            mounted.wait_sealed()
        sealed = DiskCache.open(cache).path(blob.digest)
        with world.mount(str(model.name), cache=cache, options=ALWAYS) as mounted:
            assert (mounted.path / "model.gguf").read_bytes() == SMALL
            assert mounted.counter("bytes_fetched") == 0, "what is right is hashed, not fetched"
        corrupt(sealed, 123_456)
        if not online:
            registry.fault("status", match=r"/v2/.*/blobs/", status=404, times=None)
        with world.mount(str(model.name), cache=cache, options=ALWAYS, logs="changed on disk|404|not found") as mounted:
            path = mounted.path / "model.gguf"
            if online:
                assert path.read_bytes() == SMALL
                mounted.wait_sealed()
                assert mounted.counter("bytes_fetched") == len(SMALL)
            else:
                with pytest.raises(OSError, match=r".") as caught:
                    path.read_bytes()
                assert caught.value.errno in (errno.EIO, errno.ENOENT)
        if online:
            assert sealed.read_bytes() == SMALL
    record_property("faults.injected", 1)
    record_property("faults.bytes_compared", len(SMALL) * (3 if online else 2))
    record_property("faults.bytes_wrong", 0)


def test_p5_the_verify_command_finds_what_has_rotted_of_blobs_and_of_manifests(world: World) -> None:
    cache = world.root / "cache"
    with FaultyRegistry() as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": SMALL}, config=None)
        world.fusefs("pull", str(model.name), "--cache-dir", cache)
        opened = DiskCache.open(cache)
        link = opened.links.path(model.name)
        corrupt(link, model.manifest.index(b"sha256:") + 20)
        corrupt(opened.path(model.blobs["model.gguf"].digest), 7)
        report = json.loads(world.fusefs("verify", "--cache-dir", cache, "--json", code=1).stdout)
        problems = {blob["label"]: blob["problem"] for blob in report["blobs"] if blob["state"] == "dropped"}
        assert len(problems) == 2
        assert any("mended from its copy" in problem for problem in problems.values())
        assert link.read_bytes() == model.manifest
        world.fusefs("pull", str(model.name), "--cache-dir", cache)
        assert opened.path(model.blobs["model.gguf"].digest).read_bytes() == SMALL
        world.fusefs("verify", "--cache-dir", cache)


@pytest.mark.slow
def test_p10_a_link_to_a_secret_in_the_place_of_a_blob_is_neither_shown_nor_changed(world: World) -> None:
    cache = world.root / "cache"
    secret = Secret(world.root / "secret", bytes(reversed(SMALL)))
    with FaultyRegistry() as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": SMALL}, config=None)
        world.fusefs("pull", str(model.name), "--cache-dir", cache)
        sealed = DiskCache.open(cache).path(model.blobs["model.gguf"].digest)
        sealed.unlink()
        sealed.symlink_to(secret.path)
        with world.mount(str(model.name), cache=cache) as mounted:
            assert (mounted.path / "model.gguf").read_bytes() == SMALL
            mounted.wait_sealed()
        secret.check()
        sealed.unlink()
        sealed.symlink_to(secret.path)
        world.fusefs("verify", "--cache-dir", cache, code=1)
        secret.check()
        assert not os.path.lexists(sealed)


@pytest.mark.slow
def test_verify_always_and_symbolic_links_exclude_each_other(world: World) -> None:
    (world.root / "mnt").mkdir()
    options = ("--sealed", "symlink", "--cache-dir", world.root / "cache")
    done = world.fusefs("mount", "m", world.root / "mnt", *ALWAYS, *options, code=2)
    assert "leave one of them out" in done.stderr
    assert len(done.stderr.splitlines()) == 1

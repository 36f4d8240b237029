"""A large file of the Hub as a program has it: tensors out of the Xet store, proved, without the rest of the file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save

from tests.hub.scriptedhub import ScriptedHub
from tests.patience import eventually
from tests.programs.models import MIB
from tests.programs.world import World, is_running, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.programs.world import Mounted

TENSOR = 32 * MIB
"""Bytes of each, as of a small layer of a model of seven billion parameters."""

pytestmark = pytest.mark.slow


def _tensors() -> dict[str, np.ndarray]:
    found = np.random.default_rng(1)
    return {f"layer.{i}": found.standard_normal((TENSOR // 4096, 1024), dtype=np.float32) for i in range(3)}


TENSORS = _tensors()
DATA = save(TENSORS)


@pytest.fixture
def hub() -> Iterator[ScriptedHub]:
    with ScriptedHub() as hub:
        hub.add("org/m", {"model.safetensors": DATA, "config.json": b"{}"})
        yield hub


@pytest.fixture
def world(tmp_path: Path, hub: ScriptedHub) -> World:
    world = World(tmp_path)
    world.env = {name: value for name, value in world.env.items() if not name.startswith(("HF_", "HUGGING"))}
    world.env |= hub.environment
    return world


def _sent(hub: ScriptedHub) -> int:
    return sum(hub.sent(kind) for kind in ("xorb", "bridge", "proof", "reconstruction", "token"))


def _is_here(mounted: Mounted, *places: int) -> bool:
    """Whether something is present at each place, and nothing more is on its way."""
    status = mounted.status()
    (file,) = [file for file in status["files"] if file["path"] == "model.safetensors"]
    cells = file["presence"]
    here = all(cells[off * len(cells) // len(DATA)] for off in places)
    return here and not status["in_flight"] and not status["queued"]


def _is_right(path: Path, name: str) -> bool:
    """Whether a program that loads one tensor gets its bytes; not this one, whose threads are the Hub."""
    script = f"""
import hashlib, safetensors
with safetensors.safe_open({str(path / "model.safetensors")!r}, "np") as file:
    print(hashlib.sha256(file.get_tensor({name!r}).tobytes()).hexdigest())
"""
    return run(sys.executable, "-c", script).strip() == hashlib.sha256(TENSORS[name].tobytes()).hexdigest()


def test_p1_a_tensor_comes_proved_and_with_little_else_and_outlives_the_daemon(
    world: World, hub: ScriptedHub, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with world.mount("hf://org/m", cache=cache) as mounted:
        assert _is_right(mounted.path, "layer.1")
        file = mounted.file("model.safetensors")
        assert file["state"] == "partial"
        packed = sum(len(xorb.data) for xorb in hub.cdn.xorbs.values()) / len(DATA)
        assert hub.sent("bridge") == 0
        assert _sent(hub) < 1.15 * TENSOR * packed
        before = mounted.status()["pid"]
        os.kill(before, signal.SIGKILL)
        eventually("the daemon is dead", lambda: not is_running(before))
        world.fusefs("umount", mounted.path)
        for origin in hub.origins:
            origin.refuse()
        world.fusefs("mount", "hf://org/m", mounted.path, "--cache-dir", cache, "--timeout", "5s")
        assert _is_right(mounted.path, "layer.1")
        for origin in hub.origins:
            origin.accept()
        assert (mounted.path / "model.safetensors").read_bytes() == DATA
        mounted.wait_sealed("model.safetensors")
        assert mounted.file("model.safetensors")["proof"] == "bound"


def test_p1_a_lock_has_the_hash_by_which_parts_are_proved_and_a_digest_alone_believes_nobody(
    world: World, hub: ScriptedHub, tmp_path: Path
) -> None:
    lock = tmp_path / "lock"
    lock.write_text(world.fusefs("lock", "hf://org/m", "--cache-dir", tmp_path / "a").stdout)
    (locked,) = json.loads(lock.read_text())["models"]
    assert hub.sent("xorb") == 0
    hub.gate.repositories["models", "org/m"].push({"config.json": b"{ }"})
    with world.mount("hf://org/m", options=("--lock", lock, "--lists", "bound")) as mounted:
        assert _is_right(mounted.path, "layer.1")
        assert mounted.file("model.safetensors")["state"] == "partial"
    assert hub.sent("bridge") == 0
    pinned = f"{locked['source']}@{locked['manifest']}"
    with world.mount(pinned, logs="a name with a digest believes no proof that the Hub gives.* `fusefs lock"):
        pass


def test_p7_a_recorded_start_is_fetched_ahead_with_its_proofs(world: World, hub: ScriptedHub, tmp_path: Path) -> None:
    places = (80 * MIB, 10 * MIB, 50 * MIB)

    def read(path: Path, *offs: int) -> None:
        with path.open("rb", buffering=0) as file:
            assert all(os.pread(file.fileno(), 4096, off) == DATA[off : off + 4096] for off in offs)

    with world.mount("hf://org/m", cache=tmp_path / "cache") as mounted:
        read(mounted.path / "model.safetensors", 0, *places)
    (tmp_path / "other").mkdir(mode=0o700)
    shutil.copytree(tmp_path / "cache/starts", tmp_path / "other/starts")
    with world.mount("hf://org/m", cache=tmp_path / "other") as mounted:
        read(mounted.path / "model.safetensors", 0)
        eventually("what came next then", lambda: _is_here(mounted, *places))
        for origin in hub.origins:
            origin.refuse()
        read(mounted.path / "model.safetensors", *places)


def test_without_proofs_it_is_said_before_the_first_read_and_pull_has_it_all_the_same(
    world: World, hub: ScriptedHub, tmp_path: Path
) -> None:
    hub.cas.proofs = False
    hub.cdn.bridge = False
    cache = tmp_path / "cache"
    with world.mount("hf://org/m", cache=cache, logs="read whole before its first byte") as mounted:
        assert _is_right(mounted.path, "layer.1")
        assert mounted.file("model.safetensors")["state"] == "sealed"
    world.fusefs("pull", "hf://org/m", "--cache-dir", tmp_path / "other")

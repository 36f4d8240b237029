"""A program on a repository of the Hub, of which a part is chosen, from a scripted Hub."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

import pytest

from tests.hub.contents import noise
from tests.hub.scriptedhub import ScriptedHub
from tests.programs.models import MIB
from tests.programs.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = {
    "config.json": b'{"a": 1}',
    "onnx/model.onnx": noise(70_000, 2),
    "pytorch_model.bin": noise(MIB, 3),
    "model.safetensors": noise(MIB, 4),
}


@pytest.fixture
def hub() -> Iterator[ScriptedHub]:
    """With one model."""
    with ScriptedHub() as hub:
        hub.add("org/Tiny", FILES, xet=False)
        yield hub


@pytest.fixture
def world(tmp_path: Path, hub: ScriptedHub) -> World:
    """Without a token, and with the scripted Hub as the Hub."""
    world = World(tmp_path)
    world.env = {name: value for name, value in world.env.items() if not name.startswith(("HF_", "HUGGING"))}
    world.env |= hub.environment | {"HF_HOME": str(tmp_path / "hf")}
    return world


def test_a_program_reads_the_chosen_files_of_a_repository(world: World, hub: ScriptedHub, tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(FILES["model.safetensors"])
    script = 'cd "$FUSEFS_MODEL" && find . -type f | sort && basename "$PWD" && cmp model.safetensors "$1"'
    choice = ("--include", "*.json", "--include", "*.safetensors")
    done = world.fusefs("run", "hf://org/Tiny", *choice, "--", "sh", "-c", script, "sh", tmp_path / "same")
    assert (done.stdout.split(), done.stderr) == (["./config.json", "./model.safetensors", "Tiny"], "")
    assert hub.sent("lfs") == MIB, "of the others nothing is fetched"


def test_a_pull_fetches_the_chosen_files_of_a_repository(world: World, hub: ScriptedHub) -> None:
    world.fusefs("pull", "hf://org/Tiny", "--exclude", "*.bin", "--exclude", "onnx/")
    assert hub.sent("lfs") == MIB
    world.fusefs("pull", "hf://org/Tiny", "--include", "*.json")
    assert hub.sent("lfs") == MIB


def test_a_program_of_the_hubs_library_finds_the_model_by_its_name(world: World) -> None:
    program = """
import hashlib, sys
from huggingface_hub import hf_hub_download
print(hashlib.sha256(open(hf_hub_download("org/Tiny", "model.safetensors"), "rb").read()).hexdigest())
"""
    done = world.fusefs("run", "hf://org/Tiny", "--layout", "hf", "--", sys.executable, "-I", "-c", program)
    assert done.stdout.split() == [hashlib.sha256(FILES["model.safetensors"]).hexdigest()], done.stderr


@pytest.mark.slow
def test_the_chosen_files_alone_go_into_the_cache_of_the_library_and_are_hashed_there(
    world: World, hub: ScriptedHub, tmp_path: Path
) -> None:
    choice = ("--include", "*.json", "--include", "*.safetensors")
    world.fusefs("pull", "hf://org/Tiny", *choice, "--into-hf-cache")
    (snapshot,) = (tmp_path / "hf/hub/models--org--Tiny/snapshots").iterdir()
    assert sorted(path.name for path in snapshot.iterdir()) == ["config.json", "model.safetensors"]
    (tmp_path / "hf/hub/models--org--Tiny/blobs").joinpath(
        hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    ).resolve().write_bytes(bytes(MIB))
    done = world.fusefs("run", "hf://org/Tiny", "--include", "*.json", "--", "cat", "{}/config.json")
    assert (done.stdout.encode(), done.stderr) == (FILES["config.json"], ""), "nobody has hashed what was damaged"

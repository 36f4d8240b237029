"""A program on a repository of the Hub, of which a part is chosen, from a scripted Hub."""

from __future__ import annotations

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
    world.env |= hub.environment
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

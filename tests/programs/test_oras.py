"""The oras library, as others have it: it pulls what `serve` serves, and a mount shows what it pushed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import oras.provider
import pytest

from tests.components import docker_registry, fusefs_serve
from tests.programs.models import random_bytes
from tests.serve.world import write_store, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.programs.world import World

FILES = {"model.gguf": random_bytes(300_000, 41), "tokenizer.json": b"{}", "sub/config.json": b'{"a": 1}'}
NAMES = {"model.gguf": "model", "template": "template"}
OLLAMA = {
    "application/vnd.ollama.image.model": b"GGUF" + bytes(100_000),
    "application/vnd.ollama.image.template": b"{{ .Prompt }}",
}


def pulled(address: str, name: str, folder: Path) -> dict[str, bytes]:
    """The files that oras has then."""
    client = oras.provider.Registry(f"http://{address}", insecure=True)
    client.pull(target=f"{address}/{name}", outdir=str(folder))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_oras_pulls_a_folder_of_files_from_serve(tmp_path: Path) -> None:
    write_tree(tmp_path / "models", {f"a/{name}": content for name, content in FILES.items()})
    with fusefs_serve(tmp_path / "models") as address:
        assert pulled(address, "local/a:latest", tmp_path / "out") == FILES


@pytest.mark.slow
def test_oras_pulls_a_model_of_ollamas_from_serve_by_the_names_of_its_files(tmp_path: Path) -> None:
    write_store(tmp_path / "store", "library/tiny/1b", OLLAMA)
    with fusefs_serve(tmp_path / "store") as address:
        found = pulled(address, "library/tiny:1b", tmp_path / "out")
    assert found == {name: OLLAMA[f"application/vnd.ollama.image.{kind}"] for name, kind in NAMES.items()}


@pytest.mark.slow
def test_what_oras_pushes_is_mounted(tmp_path: Path, world: World) -> None:
    write_tree(tmp_path / "files", FILES)
    with docker_registry(tmp_path / "registry") as address:
        client = oras.provider.Registry(f"http://{address}", insecure=True)
        paths = [str(tmp_path / "files" / name) for name in FILES]
        done = client.push(target=f"{address}/team/pushed:v1", files=paths, disable_path_validation=True)
        assert done.status_code == 201
        with world.mount(f"http://{address}/team/pushed:v1") as mounted:
            shown = {path.name: path.read_bytes() for path in mounted.path.iterdir()}
    assert shown == {name.rpartition("/")[2]: content for name, content in FILES.items()}, (
        "oras titles by the last part"
    )

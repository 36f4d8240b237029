"""Debian's docker-registry, which keeps no chunk lists: blobs that are their own chunk, and the `--unproved` modes."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from tests.components import CONFIG, OllamaLayer, docker_registry, nginx, push
from tests.modes import without
from tests.programs.models import MIB, random_bytes
from tests.programs.world import ollama_manifests, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.programs.world import World

pytestmark = pytest.mark.reads

SMALL = {
    "model.gguf": OllamaLayer("model", random_bytes(5 * MIB + 3, 21)),
    "template": OllamaLayer("template", b"{{ .System }}\n{{ .Prompt }}"),
    "system": OllamaLayer("system", b"You are a file system."),
    "params.json": OllamaLayer("params", b'{"stop":["<|end|>"]}'),
    "license": OllamaLayer("license", b"first license\n" * 50),
    "license-2": OllamaLayer("license", b"second license\n" * 50),
}

LARGE = OllamaLayer("model", random_bytes(70 * MIB, 22))
"""Larger than what is its own chunk, so nothing proves it before it is whole."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        push(address, "library/small", "latest", list(SMALL.values()))
        push(address, "library/large", "latest", [LARGE, SMALL["template"]])
        yield address


def test_a_model_pushed_as_ollama_does_has_files_named_by_media_type(world: World, registry: str) -> None:
    with world.mount(f"http://{registry}/library/small:latest") as mounted:
        for name, layer in SMALL.items():
            assert (mounted.path / name).read_bytes() == layer.content, name
            assert os.getxattr(mounted.path / name, "user.fusefs.digest").decode() == layer.digest
        assert (mounted.path / "config.json").read_bytes() == CONFIG
        names = {*SMALL, "config.json", "manifest.json"}
        assert {entry.name for entry in mounted.path.iterdir()} == names
        total = sum(len(layer.content) for layer in SMALL.values()) + len(CONFIG)
        assert mounted.counter("bytes_fetched") == total


@pytest.mark.slow
def test_unproved_wait_gives_no_byte_before_the_whole_blob_is_proved(world: World, registry: str) -> None:
    source, logs = f"http://{registry}/library/large:latest", "is read whole before its first byte"
    with world.mount(source, logs=logs) as mounted:
        file = mounted.path / "model.gguf"
        (note,) = mounted.status()["notes"]
        assert note == (
            f"{source}: model.gguf (70.0 MiB) is read whole before its first byte is served; it has no chunk list: "
            f"`fusefs publish {source}` puts one beside the model"
        )
        assert file.stat().st_size == len(LARGE.content)
        with file.open("rb", buffering=0) as stream:
            assert os.pread(stream.fileno(), 4096, 60 * MIB) == LARGE.content[60 * MIB :][:4096]
        assert mounted.counter("bytes_fetched") == len(LARGE.content)
        mounted.wait_sealed("model.gguf")
        assert hashlib.sha256(file.read_bytes()).hexdigest() == LARGE.digest.partition(":")[2]
        assert mounted.counter("bytes_fetched") == len(LARGE.content), "nothing is fetched twice"
        assert mounted.status()["notes"] == [], "what is here is not read any more"


@pytest.mark.slow
def test_unproved_allow_serves_while_it_arrives_and_says_so(world: World, registry: str, tmp_path: Path) -> None:
    slow = f"location / {{ proxy_pass http://{registry}; proxy_max_temp_file_size 0; limit_rate 8m; }}"
    with (
        nginx(tmp_path / "nginx", slow) as address,
        world.mount(f"http://{address}/library/large:latest", options=("--unproved", "allow")) as mounted,
    ):
        file = mounted.path / "model.gguf"
        with file.open("rb", buffering=0) as stream:
            assert os.pread(stream.fileno(), 4096, 0) == LARGE.content[:4096]
        status = mounted.file("model.gguf")
        assert status["state"] == "unproved"
        assert status["present"] < len(LARGE.content)
        assert os.getxattr(file, "user.fusefs.state") == b"unproved"
        assert run("sha256sum", file).split()[0] == LARGE.digest.partition(":")[2]
        mounted.wait_sealed("model.gguf")
        assert os.getxattr(file, "user.fusefs.state") == b"sealed"


@pytest.mark.slow
def test_unproved_refuse_gives_eio_and_leaves_the_small_files_readable(world: World, registry: str) -> None:
    source = f"http://{registry}/library/large:latest"
    with world.mount(source, options=("--unproved", "refuse"), logs="no source has its chunk list") as mounted:
        with (mounted.path / "model.gguf").open("rb", buffering=0) as stream, pytest.raises(OSError) as caught:
            os.pread(stream.fileno(), 4096, 0)
        assert caught.value.errno == errno.EIO
        assert (mounted.path / "template").read_bytes() == SMALL["template"].content
        status = mounted.status()
        assert status["counters"]["read_errors"] >= 1
        assert status["last_error"]


@pytest.mark.slow
def test_a_model_that_is_not_there_is_one_line(world: World, registry: str, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    done = world.fusefs("mount", f"http://{registry}/library/nothing:latest", tmp_path / "mnt", code=1)
    assert done.stdout == ""
    assert done.stderr.startswith("fusefs: error: ")
    assert done.stderr.count("\n") == 1


def test_the_ollama_layout_and_the_cache_behind_it_are_ollama_stores(world: World, registry: str) -> None:
    source = f"http://{registry}/library/small:latest"
    with world.mount(source, options=("--layout", "ollama")) as mounted:
        assert {entry.name for entry in mounted.path.iterdir()} == {"blobs", "manifests"}
        assert list(ollama_manifests(mounted.path)) == [(registry, "library", "small", "latest")]
        contents = [*(layer.content for layer in SMALL.values()), CONFIG]
        expected = {f"sha256-{hashlib.sha256(content).hexdigest()}" for content in contents}
        assert {blob.name for blob in (mounted.path / "blobs").iterdir()} == expected
        mounted.wait_sealed()
    assert list(ollama_manifests(mounted.cache)) == [(registry, "library", "small", "latest")]
    assert {blob.name for blob in (mounted.cache / "blobs").iterdir()} >= expected


@pytest.mark.slow
def test_the_small_model_is_one_request_a_blob(world: World, registry: str) -> None:
    alone = without("siblings")  # or the other small files come with it
    with world.mount(f"http://{registry}/library/small:latest", env=alone) as mounted:
        (mounted.path / "model.gguf").read_bytes()
        mounted.wait_sealed("model.gguf")
        assert mounted.counter("bytes_fetched") == len(SMALL["model.gguf"].content)
        assert mounted.counter("chunks_verified") == 1

"""Artifacts of every family in Debian's docker-registry: what a mount of each shows, and what it costs."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from fusefs.system.machine import architecture
from tests.artifacts import (
    FAMILIES,
    OCI_INDEX,
    PACKED,
    Builder,
    digest_of,
    index_of,
    modelcar,
    modelpack,
    push_artifact,
    push_manifest,
    tar_of,
)
from tests.components import docker_registry
from tests.patience import eventually
from tests.programs.models import MIB, write_safetensors
from tests.programs.world import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.programs.world import World


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        for name, family in FAMILIES.items():
            push_artifact(address, f"families/{name}", "v1", family())
        yield address


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_family_is_shown_as_its_files(world: World, registry: str) -> None:
    sources = [f"http://{registry}/families/{name}:v1" for name in FAMILIES]
    with world.mount(*sources) as mounted:
        for name, family in FAMILIES.items():
            assert tree(mounted.path / name / "v1") == family().files, name
    listed = world.fusefs("ls", "--cache-dir", mounted.cache).stdout
    assert all(f"families/{name}" in listed for name in FAMILIES)


@pytest.mark.slow
def test_p7_an_archive_is_shown_and_read_without_a_network(world: World, tmp_path: Path) -> None:
    artifact = modelpack()
    cache = tmp_path / "cache"
    with docker_registry(tmp_path / "registry") as address:
        push_artifact(address, "a/b", "v1", artifact)
        source = f"http://{address}/a/b:v1"
        with world.mount(source, cache=cache) as mounted:
            assert tree(mounted.path) == artifact.files
            mounted.wait_sealed()
    with world.mount(source, cache=cache, logs="cached before|could not be reached|in trouble|refused") as mounted:
        assert tree(mounted.path) == artifact.files


@pytest.mark.slow
def test_pin_verify_and_rm_know_a_model_with_an_archive(world: World, registry: str, tmp_path: Path) -> None:
    source, cache = f"http://{registry}/families/modelpack:v1", tmp_path / "cache"
    world.fusefs("pull", source, "--cache-dir", cache)
    world.fusefs("pin", source, "--cache-dir", cache)
    world.fusefs("gc", "--older-than", "1s", "--cache-dir", cache)
    with world.mount(source, cache=cache) as mounted:
        assert mounted.counter("bytes_fetched") == 0
        assert tree(mounted.path) == modelpack().files
    world.fusefs("verify", "--cache-dir", cache)
    world.fusefs("unpin", source, "--cache-dir", cache)
    world.fusefs("rm", source, "--cache-dir", cache)
    assert not list((cache / "blobs").iterdir())
    assert not list((cache / "tables").iterdir())


@pytest.mark.slow
def test_files_of_an_archive_are_mapped_read_and_hashed_as_any_others(world: World, registry: str) -> None:
    del registry
    with docker_registry(world.root / "registry") as address:
        content = os.urandom(3_000_001)
        data = tar_of({"a/one.bin": content, "two.bin": content[::-1]}, folders=["a"])
        artifact = Builder(("application/vnd.cncf.model.config.v1+json", b"{}")).layer(
            "application/vnd.cncf.model.weight.v1.tar", data
        )
        push_artifact(address, "a/b", "v1", artifact.artifact())
        with world.mount(f"http://{address}/a/b:v1") as mounted:
            (world.root / "want").write_bytes(content)
            run("cmp", mounted.path / "a/one.bin", world.root / "want")
            mounted.wait_sealed()
            mapped = (
                "import mmap,sys,hashlib; f=open(sys.argv[1],'rb'); m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ); "
            )
            mapped += "print('sha256:'+hashlib.sha256(m).hexdigest())"
            assert run("python3", "-c", mapped, mounted.path / "a/one.bin").strip() == digest_of(content)
            assert run("python3", "-c", mapped, mounted.path / "two.bin").strip() == digest_of(content[::-1])
            assert "user.fusefs.digest" in os.listxattr(mounted.path / "two.bin")
            with pytest.raises(OSError, match="No data available"):
                os.getxattr(mounted.path / "two.bin", "user.fusefs.digest")
            assert os.getxattr(mounted.path / "two.bin", "user.fusefs.state") == b"sealed"


@pytest.mark.slow
def test_one_tensor_of_a_file_in_an_archive_is_fetched_whole_and_no_other(world: World, registry: str) -> None:
    """Its header says where it lies from the beginning of the file, which is far inside the archive."""
    write_safetensors(world.root / "model.safetensors", {"a": 21 * MIB, "b": 13 * MIB, "c": 37 * MIB})
    model = (world.root / "model.safetensors").read_bytes()
    data = tar_of({"before.bin": os.urandom(5 * MIB + 77), "model.safetensors": model})
    artifact = Builder(("application/vnd.cncf.model.config.v1+json", b"{}")).layer(
        "application/vnd.cncf.model.weight.v1.tar", data
    )
    push_artifact(registry, "archives/tensors", "v1", artifact.artifact())
    lists = world.root / "lists"
    lists.mkdir()
    (world.root / "layer.tar").write_bytes(data)
    name = f"{digest_of(data).replace(':', '-')}.chunksums"
    (lists / name).write_text(world.fusefs("index", world.root / "layer.tar", "--chunk-size", "1MiB").stdout)
    with world.mount(f"http://{registry}/archives/tensors:v1", options=("--index-from", lists)) as mounted:
        inside = len(model) - 37 * MIB - 9 * MIB
        with open(mounted.path / "model.safetensors", "rb", buffering=0) as file:
            for off in range(inside, inside + 4 * MIB, 128 * 1024):
                assert os.pread(file.fileno(), 128 * 1024, off) == model[off : off + 128 * 1024]

            def behind() -> bool:
                """Of the 64 parts of the file the one behind the beginning of the tensor, where nobody has read."""
                return bool(mounted.file("model.safetensors")["presence"][20] == 100)

            eventually("all of the tensor is here", behind)
        presence = mounted.file("model.safetensors")["presence"]
        assert not any(presence[2:17]), "its neighbour is not"
        assert not any(presence[48:60]), "behind it there is the end of the archive alone"


@pytest.mark.slow
def test_an_index_leads_to_the_image_for_this_machine(world: World, registry: str) -> None:
    mine, other = modelcar(), modelpack()
    for one in (mine, other):
        push_artifact(registry, "families/index", digest_of(one.manifest), one)
    attestation = {"platform": {"os": "unknown", "architecture": "unknown"}}
    document = index_of(
        (other, {"platform": {"os": "linux", "architecture": "s390x"}}),
        (other, {**attestation, "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}),
        (mine, {"platform": {"os": "linux", "architecture": architecture()}}),
    )
    push_manifest(registry, "families/index", "v1", document, OCI_INDEX)
    assert platform.machine() != "s390x"
    with world.mount(f"http://{registry}/families/index:v1") as mounted:
        assert tree(mounted.path) == mine.files
    with world.mount(f"http://{registry}/families/index@{digest_of(document)}") as mounted:
        assert tree(mounted.path) == mine.files


@pytest.mark.slow
@pytest.mark.parametrize("family", list(PACKED))
def test_compressed_layers_are_made_whole_once_and_that_is_said(
    family: str, world: World, registry: str, tmp_path: Path
) -> None:
    artifact, cache = PACKED[family](), tmp_path / "cache"
    push_artifact(registry, f"packed/{family}", "v1", artifact)
    source = f"http://{registry}/packed/{family}:v1"
    with world.mount(source, cache=cache, logs="is compressed: all of it .* is fetched and decompressed") as mounted:
        assert tree(mounted.path) == artifact.files
        (note,) = mounted.status()["notes"]
        assert "layers that are compressed, and kept decompressed in the cache as a whole: 1 (" in note
    world.fusefs("pin", source, "--cache-dir", cache)
    world.fusefs("gc", "--older-than", "1s", "--cache-dir", cache)
    world.fusefs("verify", "--cache-dir", cache)
    with world.mount(source, cache=cache) as mounted:
        assert tree(mounted.path) == artifact.files
        assert mounted.counter("bytes_fetched") == 0
    world.fusefs("unpin", source, "--cache-dir", cache)
    world.fusefs("rm", source, "--cache-dir", cache)
    assert not list((cache / "blobs").iterdir())


@pytest.mark.slow
def test_what_skopeo_has_copied_is_shown_alike(world: World, registry: str, tmp_path: Path) -> None:
    assert shutil.which("skopeo"), "scripts/setup installs skopeo"
    folder = tmp_path / "image"
    copy = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"]
    for name in ("modelcar", "modelpack", "oras"):
        subprocess.run([*copy, f"docker://{registry}/families/{name}:v1", f"dir:{folder}"], check=True, timeout=60)
        subprocess.run([*copy, f"dir:{folder}", f"docker://{registry}/copied/{name}:v1"], check=True, timeout=60)
        assert json.loads((folder / "manifest.json").read_bytes())["layers"]
        shutil.rmtree(folder)
        with world.mount(f"http://{registry}/copied/{name}:v1") as mounted:
            assert tree(mounted.path) == FAMILIES[name]().files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "why"),
    [({"../up": b"x"}, "a component is '..'"), ({"/etc/passwd": b"x"}, "it is absolute")],
)
def test_p10_an_archive_that_leads_out_is_one_line(
    files: dict[str, bytes], why: str, world: World, registry: str, tmp_path: Path
) -> None:
    builder = Builder(("application/vnd.cncf.model.config.v1+json", b"{}"))
    artifact = builder.layer("application/vnd.cncf.model.weight.v1.tar", tar_of(files)).artifact()
    push_artifact(registry, "families/hostile", "v1", artifact)
    (tmp_path / "mnt").mkdir()
    cache = tmp_path / "cache"
    source = f"http://{registry}/families/hostile:v1"
    done = world.fusefs("mount", source, tmp_path / "mnt", "--cache-dir", cache, code=1)
    assert done.stderr.startswith("fusefs: error: ")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1

"""An export behind a web server that knows nothing of registries: what pulls from `fusefs serve` pulls from it, too."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.values.digest import Digest
from tests.components import OllamaLayer, docker_registry, nginx, push
from tests.programs.models import MIB, random_bytes
from tests.programs.world import run

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.programs.world import World

FRONT, TAIL = random_bytes(MIB, 71), random_bytes(3, 72)
LARGE = 65 * MIB + 3  # above what is one chunk without a list
FILES = {"config.json": b'{"a": 1}', "none": b""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one model."""
    tiny = tmp_path / "models/tiny"
    (tiny / "sub").mkdir(parents=True)
    for path, data in FILES.items():
        (tiny / path).write_bytes(data)
    with open(tiny / "sub/weights.bin", "wb") as file:
        file.write(FRONT)
        file.seek(LARGE - len(TAIL))
        file.write(TAIL)
    return tmp_path / "models"


def behind_nginx(root: Path, out: Path) -> AbstractContextManager[str]:
    return nginx(root / "nginx", f"root {out}; include {out}/nginx.conf;")


def manifest_of(out: Path, repository: str, reference: str = "latest") -> dict[str, Any]:
    found = json.loads((out / "v2" / repository / "manifests" / reference).read_bytes())
    assert isinstance(found, dict)
    return found


def test_p4_an_export_behind_nginx_is_mounted_lazily_by_its_chunk_lists(
    world: World, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said = world.fusefs("export", folder, out).stdout
    assert "local/tiny:latest" in said
    with behind_nginx(tmp_path, out) as address, world.mount(f"http://{address}/local/tiny") as mounted:
        with open(mounted.path / "sub/weights.bin", "rb") as file:
            file.seek(LARGE - len(TAIL))
            assert file.read() == TAIL
        assert mounted.counter("bytes_fetched") < LARGE // 2
        for path, data in FILES.items():
            assert (mounted.path / path).read_bytes() == data
    digest = next(x for x in manifest_of(out, "local/tiny")["layers"] if x["size"] == LARGE)["digest"]
    exported = out / "v2/local/tiny/blobs" / digest
    assert os.path.samefile(exported, folder / "tiny/sub/weights.bin"), "a link takes no room"


@pytest.mark.slow
def test_skopeo_and_curl_pull_from_an_export_behind_nginx(world: World, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    world.fusefs("export", folder, out)
    with behind_nginx(tmp_path, out) as address:
        image = f"docker://{address}/local/tiny"
        assert json.loads(run("skopeo", "list-tags", "--tls-verify=false", image))["Tags"] == ["latest"]
        run("skopeo", "copy", "--src-tls-verify=false", f"{image}:latest", f"dir:{tmp_path}/copied")
        manifest = (tmp_path / "copied/manifest.json").read_bytes()
        assert manifest == (out / "v2/local/tiny/manifests/latest").read_bytes()
        for layer in json.loads(manifest)["layers"]:
            copied = (tmp_path / "copied" / layer["digest"].removeprefix("sha256:")).read_bytes()
            assert f"sha256:{hashlib.sha256(copied).hexdigest()}" == layer["digest"]
        by_digest = f"http://{address}/v2/local/tiny/manifests/{Digest.of(manifest)}"
        head = run("curl", "--fail", "--silent", "--head", by_digest)
        assert "Content-Type: application/vnd.oci.image.manifest.v1+json" in head
        assert f"Docker-Content-Digest: {Digest.of(manifest)}" in head
        part = run("curl", "--fail", "--silent", "--range", "0-3", f"http://{address}/v2/_catalog")
        assert part == '{"re'


@pytest.mark.slow
def test_a_model_of_a_registry_is_pulled_and_exported_as_it_is(world: World, tmp_path: Path) -> None:
    """Its manifest is Docker's, so nginx must be told so; others may not read the cache, so blobs are copied."""
    layers = [OllamaLayer("model", FRONT), OllamaLayer("template", b"{{ .Prompt }}")]
    out = tmp_path / "out"
    with docker_registry(tmp_path / "registry") as address:
        raw = push(address, "library/tiny", "1b", layers)
        world.fusefs("export", f"http://{address}/library/tiny:1b", out)
    with behind_nginx(tmp_path, out) as address:
        head = run("curl", "--fail", "--silent", "--head", f"http://{address}/v2/library/tiny/manifests/1b")
        assert "Content-Type: application/vnd.docker.distribution.manifest.v2+json" in head
        assert run("curl", "--fail", "--silent", f"http://{address}/v2/library/tiny/manifests/1b").encode() == raw
        with world.mount(f"http://{address}/library/tiny:1b") as mounted:
            assert (mounted.path / "model.gguf").read_bytes() == FRONT


@pytest.mark.slow
def test_the_next_export_adds_to_the_first_and_hashes_nothing_anew(world: World, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    world.fusefs("export", folder, out)
    (folder / "second").mkdir()
    (folder / "second/config.json").write_bytes(b"{}")
    (folder / "tiny/config.json").write_bytes(b'{"a": 2}')
    world.fusefs("export", folder, out)
    assert json.loads((out / "v2/_catalog").read_bytes())["repositories"] == ["local/second", "local/tiny"]
    assert world.fusefs("export", folder, out).stdout.startswith(f"2 models in {out}: 0 files written")
    weights = next(x for x in manifest_of(out, "local/tiny")["layers"] if x["size"] == LARGE)
    (out / "v2/local/tiny/manifests/latest").write_text("{}")
    refused = world.fusefs("export", folder, out, code=1).stderr
    assert refused.count("\n") == 1
    assert "did not write it" in refused
    assert (out / "v2/local/tiny/blobs" / weights["digest"]).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{folder}", "{folder}/out"), "lies in the folder that is exported"),
        (("{folder}/nothing", "{folder}.out"), "there is no such folder"),
        (("{folder}", "{folder}/tiny/config.json"), ""),
        (("{folder}", "/proc/out"), "cannot write /proc/out"),
    ],
    ids=["inside", "missing", "file", "unwritable"],
)
def test_what_cannot_be_exported_is_one_line(world: World, folder: Path, words: tuple[str, str], said: str) -> None:
    done = world.fusefs("export", *(word.format(folder=folder) for word in words), code=None)
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1, done.stderr
    assert said in done.stderr
    assert not done.stdout

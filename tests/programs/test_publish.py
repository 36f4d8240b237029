"""Chunk lists beside a model in Debian's docker-registry, which knows neither lists nor referrers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import oras.oci
import oras.provider
import pytest
import urllib3

from fusefs.artifacts.listartifact import ARTIFACT_TYPE, TEXT_TYPE
from fusefs.artifacts.manifest import ACCEPT, OCI_INDEX
from tests.components import OllamaLayer, docker_registry, fusefs_serve, nginx, push
from tests.programs.models import MIB, random_bytes
from tests.programs.world import World, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGE = OllamaLayer("model", random_bytes(66 * MIB + 5, 31))
SYSTEM = OllamaLayer("system", b"You are a list.")
HEX = LARGE.digest.partition(":")[2]
TITLE = f"sha256-{HEX}.chunksums"
ENOUGH = 24 * MIB
"""Bytes that a read of 4 KiB may bring, with read-ahead: far from all."""


@dataclass(frozen=True)
class Published:
    """A registry whose model `library/large` was published; `plain/large` is the same model without lists.

    Attributes:
        address: of the registry.
        model: digest of its manifest, as a tag is written.
        line: what `publish` said.
        cache: what it was published from.
        lists: a folder that `index` wrote.
    """

    address: str
    model: str
    line: str
    cache: Path
    lists: Path

    def source(self, repository: str = "library/large") -> str:
        return f"http://{self.address}/{repository}:latest"

    def get(self, path: str, repository: str = "library/large") -> urllib3.BaseHTTPResponse:
        with urllib3.PoolManager(retries=False, timeout=30) as http:
            return http.request("GET", f"http://{self.address}/v2/{repository}/{path}", headers={"Accept": ACCEPT})


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    root = tmp_path_factory.mktemp("published")
    with docker_registry(root / "registry") as address:
        manifest = push(address, "library/large", "latest", [LARGE, SYSTEM])
        push(address, "plain/large", "latest", [LARGE, SYSTEM])
        (root / "world").mkdir()
        world, cache, lists = World(root / "world"), root / "cache", root / "lists"
        source = f"http://{address}/library/large:latest"
        line = world.fusefs("publish", source, "--chunk-size", "2MiB", "--cache-dir", cache).stdout
        made = world.fusefs("index", source, "--chunk-size", "2MiB", "--cache-dir", cache, "-o", lists).stdout
        assert made == f"{lists / TITLE}\n"
        yield Published(address, f"sha256-{hashlib.sha256(manifest).hexdigest()}", line, cache, lists)


def reads_a_part(world: World, source: str, *options: str | Path, logs: str | None = None) -> None:
    """A read far inside of a fresh mount is right, and fetches little."""
    with world.mount(source, options=options, logs=logs) as mounted:
        with (mounted.path / "model.gguf").open("rb", buffering=0) as file:
            assert os.pread(file.fileno(), 4096, 60 * MIB + 7) == LARGE.content[60 * MIB + 7 :][:4096]
        assert mounted.counter("bytes_fetched") < ENOUGH


def test_p1_a_published_list_makes_a_plain_registry_lazy(world: World, published: Published) -> None:
    assert f":{published.model}.chunksums  1 chunk list pushed" in published.line
    reads_a_part(world, published.source())


@pytest.mark.slow
def test_what_is_there_is_not_pushed_again(world: World, published: Published) -> None:
    before = stored(published)
    options = ("--chunk-size", "2MiB", "--cache-dir", published.cache)
    assert "there already" in world.fusefs("publish", published.source(), *options).stdout
    assert stored(published) == before


def stored(published: Published) -> dict[str, int]:
    """Every file of the registry's storage, with the time of its last change."""
    root = published.cache.parent / "registry" / "storage"
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_artifact_is_found_by_its_tag_and_by_the_index_that_stands_for_referrers(published: Published) -> None:
    assert published.get(f"referrers/{published.model.replace('-', ':')}").status == 404, "or this tests nothing"
    tagged = published.get(f"manifests/{published.model}.chunksums")
    assert tagged.json()["artifactType"] == ARTIFACT_TYPE
    assert tagged.json()["subject"]["digest"] == published.model.replace("-", ":")
    index = published.get(f"manifests/{published.model}")
    assert index.headers["Content-Type"] == OCI_INDEX
    (entry,) = index.json()["manifests"]
    assert entry["digest"] == f"sha256:{hashlib.sha256(tagged.data).hexdigest()}"
    assert entry["artifactType"] == ARTIFACT_TYPE


@pytest.mark.slow
def test_what_others_put_into_the_index_stays(world: World, published: Published, tmp_path: Path) -> None:
    manifest = push(published.address, "team/shared", "latest", [LARGE, SYSTEM])
    other = {"mediaType": "application/x", "digest": f"sha256:{hashlib.sha256(manifest).hexdigest()}", "size": 1}
    other |= {"size": len(manifest), "artifactType": "application/vnd.example.signature"}
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [other]})
    tag = f"sha256-{hashlib.sha256(manifest).hexdigest()}"
    with urllib3.PoolManager(retries=False, timeout=30) as http:
        url = f"http://{published.address}/v2/team/shared/manifests/{tag}"
        answer = http.request("PUT", url, body=raw, headers={"Content-Type": OCI_INDEX})
        assert answer.status == 201, answer.data
    world.fusefs("publish", published.source("team/shared"), "--cache-dir", published.cache)
    entries = published.get(f"manifests/{tag}", "team/shared").json()["manifests"]
    assert other in entries
    assert [entry["artifactType"] for entry in entries][1:] == [ARTIFACT_TYPE]


@pytest.mark.slow
def test_a_registry_that_lost_the_tag_still_has_the_index(world: World, published: Published) -> None:
    manifest = push(published.address, "team/untagged", "latest", [LARGE, SYSTEM])
    world.fusefs("publish", published.source("team/untagged"), "--cache-dir", published.cache, "--chunk-size", "2MiB")
    tag = f"sha256-{hashlib.sha256(manifest).hexdigest()}.chunksums"
    repositories = published.cache.parent / "registry/storage/docker/registry/v2/repositories"
    shutil.rmtree(repositories / "team/untagged/_manifests/tags" / tag)
    reads_a_part(world, published.source("team/untagged"))


@pytest.mark.slow
def test_a_folder_of_lists_serves_a_copy_anywhere(world: World, published: Published) -> None:
    reads_a_part(world, published.source("plain/large"), "--index-from", published.lists)


@pytest.mark.slow
def test_a_web_server_of_lists_serves_a_copy_anywhere(world: World, published: Published, tmp_path: Path) -> None:
    with nginx(tmp_path / "nginx", f"root {published.lists.parent};") as address:
        reads_a_part(world, published.source("plain/large"), "--index-from", f"http://{address}/lists")


@pytest.mark.slow
def test_a_repository_of_lists_serves_a_copy_anywhere(world: World, published: Published) -> None:
    place = f"oci+http://{published.address}/all/lists"
    options = ("--to", place, "--cache-dir", published.cache, "--chunk-size", "2MiB")
    assert f"all/lists:{TITLE}" in world.fusefs("publish", published.source("plain/large"), *options).stdout
    reads_a_part(world, published.source("plain/large"), "--index-from", place)


@pytest.mark.slow
def test_a_name_with_a_digest_believes_a_folder_and_no_registry(world: World, published: Published) -> None:
    pinned = f"{published.source('plain/large').removesuffix(':latest')}@{published.model.replace('-', ':')}"
    reads_a_part(world, pinned, "--index-from", published.lists)


@pytest.mark.slow
def test_a_name_with_a_digest_reads_the_whole_where_the_list_is_the_registrys(
    world: World, published: Published
) -> None:
    pinned = f"{published.source().removesuffix(':latest')}@{published.model.replace('-', ':')}"
    with world.mount(pinned, logs="is read whole") as mounted:
        with (mounted.path / "model.gguf").open("rb", buffering=0) as file:
            assert os.pread(file.fileno(), 4096, 60 * MIB) == LARGE.content[60 * MIB :][:4096]
        assert mounted.counter("bytes_fetched") >= len(LARGE.content)


@pytest.mark.slow
def test_what_oras_attaches_is_read(world: World, published: Published, tmp_path: Path) -> None:
    manifest = push(published.address, "team/attached", "latest", [LARGE, SYSTEM])
    hex_ = hashlib.sha256(manifest).hexdigest()
    (tmp_path / "config").write_text("{}")
    shutil.copy(published.lists / TITLE, tmp_path / TITLE)
    client = oras.provider.Registry(f"http://{published.address}", insecure=True)
    done = client.push(
        target=f"{published.address}/team/attached:sha256-{hex_}.chunksums",
        files=[f"{tmp_path / TITLE}:{TEXT_TYPE}"],
        manifest_config=f"{tmp_path / 'config'}:{ARTIFACT_TYPE}",
        subject=oras.oci.Subject("application/vnd.oci.image.manifest.v1+json", f"sha256:{hex_}", len(manifest)),
        disable_path_validation=True,
    )
    assert done.status_code == 201
    reads_a_part(world, published.source("team/attached"))


@pytest.mark.slow
def test_oras_pulls_what_was_published(published: Published, tmp_path: Path) -> None:
    client = oras.provider.Registry(f"http://{published.address}", insecure=True)
    target = f"{published.address}/library/large:{published.model}.chunksums"
    client.pull(target=target, outdir=str(tmp_path))
    assert (tmp_path / TITLE).read_bytes() == (published.lists / TITLE).read_bytes()


@pytest.mark.slow
def test_what_a_whole_fetch_computed_is_offered_by_serve_to_the_next(world: World, published: Published) -> None:
    world.fusefs("pull", published.source("plain/large"), "--cache-dir", world.root / "filled")
    with fusefs_serve(world.root / "filled", "--private") as address:
        reads_a_part(world, f"http://{address}/plain/large:latest")


@pytest.mark.slow
def test_garbage_collection_keeps_the_lists(published: Published, tmp_path: Path) -> None:
    copy = tmp_path / "registry"
    shutil.copytree(published.cache.parent / "registry", copy)
    config = json.loads((copy / "config.yml").read_text())
    config["storage"]["filesystem"]["rootdirectory"] = str(copy / "storage")
    (copy / "config.yml").write_text(json.dumps(config))
    run("docker-registry", "garbage-collect", "-m", copy / "config.yml")
    kept = copy / "storage/docker/registry/v2/blobs/sha256"
    text = hashlib.sha256((published.lists / TITLE).read_bytes()).hexdigest()
    assert (kept / text[:2] / text / "data").exists()


@pytest.mark.slow
def test_a_registry_that_takes_nothing_is_one_line(world: World, published: Published, tmp_path: Path) -> None:
    with nginx(
        tmp_path / "nginx", f"location / {{ limit_except GET {{ deny all; }} proxy_pass http://{published.address}; }}"
    ) as address:
        options = ("--to", f"oci+http://{address}/no/write", "--cache-dir", published.cache)
        done = world.fusefs("publish", published.source(), *options, code=1)
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("fusefs: ")]
    assert line.startswith("fusefs: error: ")
    assert "403" in line


@pytest.mark.slow
def test_a_lock_pins_the_list_and_a_locked_list_counts_whoever_has_it(world: World, published: Published) -> None:
    lock = world.root / "lock"
    lock.write_text(world.fusefs("lock", published.source(), "--cache-dir", world.root / "locking").stdout)
    (blob,) = [blob for blob in json.loads(lock.read_text())["models"][0]["blobs"] if "chunks" in blob]
    text = (published.lists / TITLE).read_bytes()
    assert blob == {
        "digest": LARGE.digest,
        "size": len(LARGE.content),
        "chunks": f"sha256:{hashlib.sha256(text).hexdigest()}",
        "paths": ["model.gguf"],
    }
    reads_a_part(world, published.source(), "--lock", lock)


@pytest.mark.slow
def test_another_list_than_the_locked_one_is_not_used(world: World, published: Published) -> None:
    lock = world.root / "lock"
    lock.write_text(world.fusefs("lock", published.source(), "--cache-dir", world.root / "locking").stdout)
    document = json.loads(lock.read_text())
    for blob in document["models"][0]["blobs"]:
        if "chunks" in blob:
            blob["chunks"] = f"sha256:{'0' * 64}"
    lock.write_text(json.dumps(document))
    logs = "not the one in the lock|is read whole"
    with world.mount(published.source(), options=("--lock", lock), logs=logs) as mounted:
        with (mounted.path / "model.gguf").open("rb", buffering=0) as file:
            assert os.pread(file.fileno(), 4096, 60 * MIB) == LARGE.content[60 * MIB :][:4096]
        assert mounted.counter("bytes_fetched") >= len(LARGE.content)

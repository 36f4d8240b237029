"""A model whose manifest names its chunk list by an annotation: whose word that is, under a tag and under a digest."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import urllib3

from fusefs.artifacts.listartifact import ANNOTATION
from fusefs.values.digest import Digest
from tests.artifacts import FILEPATH, Builder, push_artifact
from tests.components import docker_registry, push_blob
from tests.fake_source import chunk_list
from tests.programs.models import MIB, random_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.programs.world import Mounted, World

DATA = random_bytes(MIB, 51) * 66 + b"right"
LIE = random_bytes(MIB, 52) * 66 + b"wrong"
OFF = 60 * MIB
REPOSITORY = "team/annotated"


@dataclass(frozen=True)
class Annotated:
    """A docker-registry with `team/annotated:right` and `:lie`, whose lists are of those contents.

    Attributes:
        address: of the registry.
        storage: the folder of its blobs.
        digests: of the manifests, by tag.
    """

    address: str
    storage: Path
    digests: dict[str, Digest]

    def tag(self, tag: str) -> str:
        return f"http://{self.address}/{REPOSITORY}:{tag}"

    def pinned(self, tag: str) -> str:
        return f"http://{self.address}/{REPOSITORY}@{self.digests[tag]}"


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Annotated]:
    root = tmp_path_factory.mktemp("annotated")
    digests = {}
    with docker_registry(root) as address:
        for tag, content in (("right", DATA), ("lie", LIE)):
            text = "".join(chunk_list(content, MIB).format()).encode()
            with urllib3.PoolManager(retries=False, timeout=30) as http:
                push_blob(http, f"http://{address}/v2/{REPOSITORY}", text)
            builder = Builder(("application/vnd.cncf.model.config.v1+json", b"{}"))
            words = {FILEPATH: "model.bin", ANNOTATION: str(Digest.of(text))}
            artifact = builder.layer("application/vnd.cncf.model.weight.v1.raw", DATA, words).artifact()
            push_artifact(address, REPOSITORY, tag, artifact)
            digests[tag] = Digest.of(artifact.manifest)
        yield Annotated(address, root / "storage/docker/registry/v2/blobs/sha256", digests)


def part(mounted: Mounted) -> bytes:
    with (mounted.path / "model.bin").open("rb", buffering=0) as file:
        return os.pread(file.fileno(), 4096, OFF)


@pytest.mark.slow
def test_p4_the_list_that_a_manifest_names_makes_a_tag_lazy(world: World, annotated: Annotated) -> None:
    with world.mount(annotated.tag("right")) as mounted:
        assert part(mounted) == DATA[OFF:][:4096]
        assert mounted.counter("bytes_fetched") < len(DATA) // 2


@pytest.mark.slow
def test_p1_a_pinned_manifest_that_names_a_list_of_other_bytes_is_not_believed(
    world: World, annotated: Annotated
) -> None:
    """Its author chose both digests, and they may differ: what is pinned is the blob, as other programs see it."""
    hex_ = Digest.of(DATA).hex
    blob = annotated.storage / hex_[:2] / hex_ / "data"
    blob.write_bytes(LIE)
    try:
        with world.mount(annotated.pinned("lie"), logs=".") as mounted, pytest.raises(OSError, match="error"):
            part(mounted)
    finally:
        blob.write_bytes(DATA)


@pytest.mark.slow
def test_a_pinned_manifest_that_names_its_list_is_lazy_when_the_person_says_whose_word_counts(
    world: World, annotated: Annotated
) -> None:
    with world.mount(
        annotated.pinned("right"), logs="a name with a digest believes no registry's chunk list"
    ) as mounted:
        assert part(mounted) == DATA[OFF:][:4096]
        assert mounted.counter("bytes_fetched") >= len(DATA)
    with world.mount(annotated.pinned("right"), options=("--lists", "registry")) as mounted:
        assert part(mounted) == DATA[OFF:][:4096]
        assert mounted.counter("bytes_fetched") < len(DATA) // 2

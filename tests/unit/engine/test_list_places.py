"""Chunk lists of a place that a person named: which are used, which are not, and what that costs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fusefs.artifacts.listartifact import list_title
from fusefs.artifacts.manifest import Manifest
from fusefs.engine.demands import Demands
from fusefs.engine.engine import Engine
from fusefs.engine.options import PullOptions
from fusefs.offers.listfiles import write_list
from fusefs.values.digest import Digest
from fusefs.values.lockfile import Lock, LockedModel, list_digest
from fusefs.values.settings import Settings
from fusefs.vfs.blobfile import BlobFile
from tests.faulty_registry import FaultyRegistry, Model
from tests.list_registry import Given, ListRegistry, list_of, text_of
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from fusefs.values.names import Name

SETTINGS = Settings(timeout=10, stall=5, single_chunk_limit=1000, unlisted_chunk_size=500, readahead_max=0)
DATA = some_bytes(20_000, seed=5)
LIST = list_of(DATA, 1000)
OF_OTHERS = list_of(some_bytes(20_000, seed=6), 1000)


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry(chunksums=False) as made:
        yield made


@pytest.fixture
def model(registry: FaultyRegistry) -> Model:
    return registry.add_model("library/m:latest", {"model.gguf": DATA})


@asynccontextmanager
async def opened(
    root: Path, model: Model, *places: str, name: Name | None = None, lock: Lock | None = None
) -> AsyncIterator[BlobFile]:
    """The file of a model, with lists at `places`."""
    settings = replace(SETTINGS, index_from=places)
    name = name or model.name
    async with Engine.running(PullOptions((name,), root / "cache", (), settings, demands=Demands(lock))) as engine:
        engine.offer(await engine.resolve((name,)))
        yield BlobFile(engine.fetcher, engine.fetcher.track(model.blobs["model.gguf"]))


def sent(registry: FaultyRegistry, model: Model) -> int:
    """How many different bytes of the file went over the wire."""
    return sum(count > 0 for count in registry.sent(model.blobs["model.gguf"].digest))


@pytest.mark.parametrize("pinned", [False, True])
async def test_p1_a_folder_of_lists_counts_for_any_name(
    tmp_path: Path, registry: FaultyRegistry, model: Model, pinned: bool
) -> None:
    write_list(tmp_path / "lists", model.blobs["model.gguf"].digest, LIST)
    name = model.name.pinned(Manifest.parse(model.manifest).digest) if pinned else model.name
    async with opened(tmp_path, model, str(tmp_path / "lists"), name=name) as file:
        assert bytes(await file.read(15_500, 10)) == DATA[15_500:15_510]
        assert sent(registry, model) < 5000


@pytest.mark.parametrize("pinned", [False, True])
async def test_p1_a_web_server_of_lists_counts_for_a_tag_alone(
    tmp_path: Path, registry: FaultyRegistry, model: Model, pinned: bool
) -> None:
    blob = model.blobs["model.gguf"].digest
    name = model.name.pinned(Manifest.parse(model.manifest).digest) if pinned else model.name
    with ListRegistry() as web:
        web.answers[f"/lists/{list_title(blob)}"] = Given(text_of(LIST), "text/plain")
        async with opened(tmp_path, model, f"http://{web.host}/lists", name=name) as file:
            assert bytes(await file.read(15_500, 10)) == DATA[15_500:15_510]
        assert (sent(registry, model) < 5000) is not pinned
        assert len(web.asked) == (not pinned)


async def test_a_repository_of_lists_has_a_tag_for_each_blob(
    tmp_path: Path, registry: FaultyRegistry, model: Model
) -> None:
    blob = model.blobs["model.gguf"]
    with ListRegistry("all/lists") as other:
        other.lists(list_title(blob.digest), {blob: LIST}, None)
        async with opened(tmp_path, model, f"oci+http://{other.host}/all/lists") as file:
            assert bytes(await file.read(15_500, 10)) == DATA[15_500:15_510]
        assert sent(registry, model) < 5000
        assert len(other.asked) == 2


@pytest.mark.logs("not used|does not belong to it|does not match its digest")
@pytest.mark.parametrize("text", [text_of(OF_OTHERS), text_of(LIST)[:-300], b"rubbish", b"<html>", b"\xff" * 99999])
async def test_p2_a_list_that_is_none_of_the_blob_is_one_line_and_the_whole_is_proved(
    tmp_path: Path, registry: FaultyRegistry, model: Model, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / list_title(model.blobs["model.gguf"].digest)).write_bytes(text)
    async with opened(tmp_path, model, str(tmp_path / "lists")) as file:
        assert bytes(await file.read(15_500, 10)) == DATA[15_500:15_510]
    told = [record.getMessage() for record in caplog.records if "list" in record.getMessage()]
    assert len([line for line in told if "not used" in line or "does not belong" in line]) == 1
    assert sent(registry, model) == len(DATA)


async def test_p6_a_place_that_cannot_be_reached_does_not_stop_a_read(tmp_path: Path, model: Model) -> None:
    with ListRegistry() as web:
        gone = f"http://{web.host}/lists"
    async with opened(tmp_path, model, gone, str(tmp_path / "nothing")) as file:
        assert bytes(await file.read(0, 10)) == DATA[:10]


async def test_what_is_not_there_is_asked_for_once(tmp_path: Path, model: Model) -> None:
    with ListRegistry() as web:
        async with opened(tmp_path, model, f"http://{web.host}/lists") as file:
            for off in (0, 10_000, 19_000):
                await file.read(off, 10)
        assert len(web.asked) == 1


@pytest.mark.logs("not the one in the lock")
@pytest.mark.parametrize("right", [True, False])
async def test_p1_a_lock_takes_its_list_from_anybody_and_no_other(
    tmp_path: Path, registry: FaultyRegistry, model: Model, right: bool
) -> None:
    blob = model.blobs["model.gguf"]
    name = model.name.pinned(Manifest.parse(model.manifest).digest)
    wanted = list_digest(LIST if right else OF_OTHERS)
    blobs = tuple(dict.fromkeys(Manifest.parse(model.manifest).blobs()))
    lock = Lock((LockedModel(name, blobs, {blob.digest: wanted}),), "/a/lock")
    with ListRegistry() as web:
        web.answers[f"/lists/{list_title(blob.digest)}"] = Given(text_of(LIST), "text/plain")
        async with opened(tmp_path, model, f"http://{web.host}/lists", name=name, lock=lock) as file:
            assert bytes(await file.read(15_500, 10)) == DATA[15_500:15_510]
    assert (sent(registry, model) < 5000) is right


def test_a_file_of_a_list_is_what_the_lock_has_the_digest_of(tmp_path: Path) -> None:
    path = write_list(tmp_path / "new" / "folder", Digest.of(DATA), LIST)
    assert Digest.of(path.read_bytes()) == list_digest(LIST)
    assert [entry.name for entry in path.parent.iterdir()] == [list_title(Digest.of(DATA))]

"""Hashing behind the answers: the server answers at once, in the order of demand, and hashes nothing twice."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.serve import waiting
from fusefs.values.digest import Digest
from tests.patience import eventually
from tests.serve.world import CHUNK, noise, read_all, serving, write_store, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.serve.world import Running


ENDLESS = 1 << 38
"""Bytes of a file of holes that nobody waits for: minutes of hashing."""


def write_holes(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_holes(tmp_path / "models" / "endless" / "holes", ENDLESS)
    write_tree(tmp_path / "models", {"small/f": noise(CHUNK)})
    return tmp_path / "models"


@contextmanager
def serving_at_once(models: Path, **options: Any) -> Iterator[Running]:
    """A server that has begun with the endless file."""
    with serving(models, models.parent / "index", wait=False, chunk_size=1 << 20, **options) as running:
        eventually("it hashes", lambda: running.server.indexer.bytes_hashed > 0)
        yield running


def test_it_answers_while_it_hashes_and_who_is_asked_for_goes_first(models: Path) -> None:
    with serving_at_once(models) as running:
        assert running.client.get("/v2/_catalog").json() == {"repositories": ["local/endless", "local/small"]}
        assert running.client.get("/").status == 200
        assert running.client.tree("local/small") == {"f": noise(CHUNK)}


@pytest.mark.slow
def test_a_small_model_passes_by_a_large_one_that_was_asked_for_before(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_holes(models / "endless-too" / "holes", ENDLESS)
    monkeypatch.setattr(waiting, "PATIENCE", 0.0)
    with serving_at_once(models) as running:
        for name in ("endless", "endless-too"):
            assert running.client.get(f"/v2/local/{name}/manifests/latest").status == 503
        monkeypatch.setattr(waiting, "PATIENCE", 60.0)
        assert running.client.tree("local/small") == {"f": noise(CHUNK)}


@pytest.mark.slow
def test_who_waits_too_long_is_told_how_far_it_is_and_nothing_is_hashed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.0)
    size = 64 << 20
    write_holes(tmp_path / "models" / "m" / "holes", size)
    said = []
    with serving(tmp_path / "models", tmp_path / "index", wait=False, chunk_size=1 << 20) as running:
        while (answer := running.client.get("/v2/local/m/manifests/latest")).status == 503:
            said.append(answer.error)
            # It would be about the whole server: a mount would ask for nothing of other models, either.
            assert "Retry-After" not in answer.headers
        assert answer.status == 200
        assert running.server.indexer.bytes_hashed == size
    assert said
    for code, message in said:
        assert code == "UNAVAILABLE"
        assert re.fullmatch(rf"local/m is being hashed, \d{{1,3}}% of {size} bytes; ask again", message)


@pytest.mark.slow
def test_many_who_wait_for_one_model_do_not_hold_up_those_who_want_another(models: Path) -> None:
    with ThreadPoolExecutor(60) as threads, serving_at_once(models) as running:
        waiters = [threads.submit(running.client.get, "/v2/local/endless/manifests/latest") for _ in range(60)]
        for _ in range(5):
            assert running.client.tree("local/small") == {"f": noise(CHUNK)}
        assert not any(future.done() for future in waiters)
        running.server.stop()
        assert {future.result().status for future in waiters} == {503}


@pytest.mark.slow
def test_p11_a_stop_ends_the_hashing_and_those_who_wait_for_it(models: Path) -> None:
    with serving_at_once(models) as running:
        with running.raw(b"GET /v2/local/endless/manifests/latest HTTP/1.1\r\nHost: localhost\r\n\r\n") as sock:
            assert running.client.get("/v2/").status == 200
            running.stop()  # which fails when it takes long
            assert read_all(sock).split(b" ")[1:2] in ([b"503"], [])
        hashed = running.server.indexer.bytes_hashed
        time.sleep(0.3)
        assert running.server.indexer.bytes_hashed <= hashed + (8 << 20), "a piece may be under way"


@pytest.mark.slow
@pytest.mark.logs("changed while it was read")
def test_a_file_that_is_being_written_is_not_hashed_for_each_request(tmp_path: Path) -> None:
    path = tmp_path / "models" / "m" / "download.bin"
    write_tree(tmp_path / "models", {"m/download.bin": noise(32 << 20), "m/f": b"f"})
    complete, warned = threading.Event(), list[str]()

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            while not complete.wait(0.001):
                file.write(b"more")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with serving(
            tmp_path / "models", tmp_path / "index", wait=False, chunk_size=1 << 20, warn=warned.append
        ) as running:
            for _ in range(20):
                answer = running.client.get("/v2/local/m/manifests/latest")
                assert (answer.status, answer.error[0]) == (503, "UNAVAILABLE")
                assert "changed while it was read; try again when it is complete" in answer.error[1]
            assert running.server.indexer.bytes_hashed < 2 * (32 << 20)
            assert len([line for line in warned if "changed while" in line]) == 1
            complete.set()
            writer.join()
            eventually("it is served", lambda: running.client.get("/v2/local/m/manifests/latest").status == 200)
            assert set(running.client.tree("local/m")) == {"download.bin", "f"}
    finally:
        complete.set()
        writer.join()


@pytest.mark.slow
def test_a_large_list_of_a_store_says_that_it_is_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.0)
    write_store(tmp_path / "s", "library/m/latest", {"application/x": b"small"})
    size = 70 << 20
    digest = Digest.of(bytes(size))
    write_holes(tmp_path / "s" / "blobs" / digest.file_name, size)
    path = f"/v2/library/m/chunksums/{digest}"
    with serving(tmp_path / "s", tmp_path / "index", chunk_size=1 << 20) as running:
        answer = running.client.get(path)
        assert (answer.status, answer.error[0]) == (503, "UNAVAILABLE")
        while answer.status == 503:
            answer = running.client.get(path)
        assert answer.status == 200
        assert running.server.indexer.bytes_hashed == size

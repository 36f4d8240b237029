"""OLLAMA_MODELS directories as they lie, and a fusefs cache as one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fusefs.offers.stamp import fitting_chunk_size
from fusefs.values.chunkpack import pack
from fusefs.values.chunks import ChunkList
from fusefs.values.digest import Digest
from fusefs.values.voucher import NOBODY
from tests.serve.world import CHUNK, noise, serving, touch_later, write_store

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "application/vnd.ollama.image.model"
LICENSE = "application/vnd.ollama.image.license"
WEIGHTS = noise(20 * CHUNK + 5)
LARGE = noise((64 << 20) + 1, "large")


def test_a_store_is_served_as_it_lies(tmp_path: Path) -> None:
    digest = write_store(tmp_path / "s", "library/llama3.2/1b", {MODEL: WEIGHTS, LICENSE: b"free"})
    write_store(tmp_path / "s", "library/llama3.2/latest", {MODEL: b"small"})
    write_store(tmp_path / "s", "me/My.Model/x", {MODEL: b"mine"}, host="example.com:5000")
    with serving(tmp_path / "s", tmp_path / "index") as running:
        client = running.client
        assert client.get("/v2/_catalog").json() == {"repositories": ["library/llama3.2", "me/My.Model"]}
        assert client.get("/v2/library/llama3.2/tags/list").json()["tags"] == ["1b", "latest"]
        for reference in ("1b", "1B", str(digest)):
            answer = client.get(f"/v2/library/llama3.2/manifests/{reference}")
            assert Digest.of(answer.body) == digest
            assert answer.headers["Docker-Content-Digest"] == str(digest)
        assert client.get(f"/v2/library/llama3.2/blobs/{digest}").body == answer.body
        assert client.get(f"/v2/library/llama3.2/blobs/{Digest.of(WEIGHTS)}").body == WEIGHTS
        assert client.get("/v2/ME/my.model/manifests/X").status == 200


def test_a_cache_serves_names_of_any_depth_and_a_short_name_of_the_library(tmp_path: Path) -> None:
    for path in ("+/flat/v1", "a+b/c/v1", "n.n/m/v1", "library/llama3.2/v1"):
        write_store(tmp_path / "s", path, {MODEL: path.encode()}, host="h:5000")
    with serving(tmp_path / "s", tmp_path / "index") as running:
        client = running.client
        names = ["a/b/c", "flat", "library/llama3.2", "n.n/m"]
        assert client.get("/v2/_catalog").json() == {"repositories": names}
        for name in (*names, "llama3.2"):
            assert client.get(f"/v2/{name}/manifests/v1").status == 200
            assert client.get(f"/v2/{name}/tags/list").json()["tags"] == ["v1"]
        assert client.get(f"/v2/a/b/c/blobs/{Digest.of(b'a+b/c/v1')}").body == b"a+b/c/v1"
        assert client.get("/v2/a/b/manifests/v1").status == 404


def test_nothing_is_hashed_before_somebody_asks(tmp_path: Path) -> None:
    write_store(tmp_path / "s", "library/m/latest", {MODEL: WEIGHTS})
    with serving(tmp_path / "s", tmp_path / "index") as running:
        running.client.manifest("library/m")
        assert running.server.indexer.bytes_hashed == 0
        running.client.get(f"/v2/library/m/blobs/{Digest.of(WEIGHTS)}")
        running.client.get(f"/v2/library/m/chunksums/{Digest.of(WEIGHTS)}")
        assert running.server.indexer.bytes_hashed == len(WEIGHTS)
    with serving(tmp_path / "s", tmp_path / "index") as running:
        running.client.get(f"/v2/library/m/chunksums/{Digest.of(WEIGHTS)}")
        assert running.server.indexer.bytes_hashed == 0


def test_many_who_ask_at_once_for_one_list_cost_one_pass(tmp_path: Path) -> None:
    content = noise(9 << 20)
    write_store(tmp_path / "s", "library/m/latest", {MODEL: content})
    with serving(tmp_path / "s", tmp_path / "index") as running, ThreadPoolExecutor(12) as threads:
        path = f"/v2/library/m/chunksums/{Digest.of(content)}"
        bodies = set(threads.map(lambda _: running.client.get(path).body, range(12)))
        assert len(bodies) == 1
        chunk_size = fitting_chunk_size(len(content), CHUNK)
        assert len(ChunkList.parse(len(content), bodies.pop())) == -(-len(content) // chunk_size)
        assert running.server.indexer.bytes_hashed == len(content)


def test_those_who_wait_for_a_list_do_not_hold_up_those_who_read(tmp_path: Path) -> None:
    write_store(tmp_path / "s", "library/m/latest", {MODEL: LARGE})
    digest = Digest.of(LARGE)
    hashing, go_on = threading.Event(), threading.Event()

    def block(_path: str, _done: int, _size: int) -> None:
        hashing.set()
        assert go_on.wait(30)

    with (
        serving(tmp_path / "s", tmp_path / "index", chunk_size=1 << 20, progress=block) as running,
        ThreadPoolExecutor(50) as threads,
    ):
        path = f"/v2/library/m/chunksums/{digest}"
        try:
            lists = [threads.submit(running.client.get, path) for _ in range(50)]
            assert hashing.wait(30)
            answer = running.client.get(f"/v2/library/m/blobs/{digest}", Range="bytes=3-9")
            assert answer.body == LARGE[3:10]
            assert not any(future.done() for future in lists)
        finally:
            go_on.set()
        assert {future.result().status for future in lists} == {200}


@pytest.mark.logs("is damaged and not served")
def test_p1_a_damaged_blob_is_not_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_store(tmp_path / "s", "library/m/latest", {MODEL: WEIGHTS, LICENSE: b"good"})
    path = tmp_path / "s" / "blobs" / Digest.of(WEIGHTS).file_name
    path.write_bytes(WEIGHTS[:-1] + b"!")
    with serving(tmp_path / "s", tmp_path / "index") as running:
        for kind in ("blobs", "chunksums", "blobs"):
            answer = running.client.get(f"/v2/library/m/{kind}/{Digest.of(WEIGHTS)}")
            assert answer.status == 404
            assert answer.error == ("BLOB_UNKNOWN", f"the blob {Digest.of(WEIGHTS)} is damaged in this store")
        assert running.client.get(f"/v2/library/m/blobs/{Digest.of(b'good')}").body == b"good"
        assert caplog.text.count("is damaged") == 1
        path.write_bytes(WEIGHTS)
        touch_later(path)
        assert running.client.get(f"/v2/library/m/blobs/{Digest.of(WEIGHTS)}").body == WEIGHTS


@pytest.mark.logs("is damaged and not served")
def test_p1_a_large_damaged_blob_is_not_served_once_its_list_was_asked_for(tmp_path: Path) -> None:
    write_store(tmp_path / "s", "library/m/latest", {MODEL: LARGE})
    digest = Digest.of(LARGE)
    path = tmp_path / "s" / "blobs" / digest.file_name
    with serving(tmp_path / "s", tmp_path / "index", chunk_size=1 << 20) as running:
        answer = running.client.get(f"/v2/library/m/blobs/{digest}", Range="bytes=-5")
        assert (answer.status, answer.body) == (206, LARGE[-5:])
        assert running.server.indexer.bytes_hashed == 0
        with path.open("r+b") as file:
            file.write(b"?")
        assert running.client.get(f"/v2/library/m/chunksums/{digest}").status == 404
        assert running.client.get(f"/v2/library/m/blobs/{digest}", Range="bytes=-5").status == 404


def test_a_list_that_the_cache_pinned_is_served_as_it_is(tmp_path: Path) -> None:
    write_store(tmp_path / "s", "library/m/latest", {MODEL: WEIGHTS})
    digest = Digest.of(WEIGHTS)
    plan = ChunkList.uniform(len(WEIGHTS), 7 * CHUNK)
    pinned = plan.with_digests(b"".join(Digest.of(WEIGHTS[c.start : c.stop]).raw for c in plan))
    folder = tmp_path / "s" / "partial" / digest.file_name
    folder.mkdir(parents=True)
    (folder / "chunks").write_bytes(pack(pinned, NOBODY))
    with serving(tmp_path / "s", tmp_path / "index") as running:
        answer = running.client.get(f"/v2/library/m/chunksums/{digest}")
        assert ChunkList.parse(len(WEIGHTS), answer.body) == pinned
        assert running.server.indexer.bytes_hashed == 0


@pytest.mark.parametrize("damage", ["torn", "other size", "foreign", "no digests", "folder"])
def test_a_pinned_list_that_does_not_parse_is_computed_instead(tmp_path: Path, damage: str) -> None:
    write_store(tmp_path / "s", "library/m/latest", {MODEL: WEIGHTS})
    digest = Digest.of(WEIGHTS)
    chunks = tmp_path / "s" / "partial" / digest.file_name / "chunks"
    chunks.parent.mkdir(parents=True)
    good = pack(ChunkList.uniform(len(WEIGHTS), len(WEIGHTS)).with_digests(digest.raw), NOBODY)
    if damage == "folder":
        chunks.mkdir()
    else:
        chunks.write_bytes(
            {
                "torn": good[:-1],
                "other size": pack(ChunkList.uniform(10, 10).with_digests(bytes(32)), NOBODY),
                "foreign": b"hello\n",
                "no digests": pack(ChunkList.uniform(len(WEIGHTS), CHUNK), NOBODY),
            }[damage]
        )
    with serving(tmp_path / "s", tmp_path / "index") as running:
        answer = running.client.get(f"/v2/library/m/chunksums/{digest}")
        parsed = ChunkList.parse(len(WEIGHTS), answer.body)
        assert parsed[0].size == CHUNK
        assert running.server.indexer.bytes_hashed == len(WEIGHTS)


def test_a_blob_that_is_only_partial_is_not_served(tmp_path: Path) -> None:
    write_store(tmp_path / "s", "library/m/latest", {MODEL: WEIGHTS})
    digest = Digest.of(WEIGHTS)
    folder = tmp_path / "s" / "partial" / digest.file_name
    folder.mkdir(parents=True)
    (tmp_path / "s" / "blobs" / digest.file_name).rename(folder / "data")
    with serving(tmp_path / "s", tmp_path / "index") as running:
        for kind in ("blobs", "chunksums"):
            answer = running.client.get(f"/v2/library/m/{kind}/{digest}")
            assert (answer.status, answer.error[0]) == (404, "BLOB_UNKNOWN")


@pytest.mark.logs("is not served")
def test_p10_links_that_lead_out_of_the_store_are_not_followed(tmp_path: Path) -> None:
    write_store(tmp_path / "s", "library/m/latest", {MODEL: WEIGHTS})
    secret = tmp_path / "secret"
    secret.write_bytes(WEIGHTS)
    blob = tmp_path / "s" / "blobs" / Digest.of(WEIGHTS).file_name
    blob.unlink()
    blob.symlink_to(secret)
    link = tmp_path / "s" / "manifests" / "registry.ollama.ai" / "library" / "m" / "out"
    (tmp_path / "manifest").write_bytes(link.with_name("latest").read_bytes())
    link.symlink_to(tmp_path / "manifest")
    with serving(tmp_path / "s", tmp_path / "index") as running:
        answer = running.client.get(f"/v2/library/m/blobs/{Digest.of(WEIGHTS)}")
        assert (answer.status, answer.error[0]) == (404, "BLOB_UNKNOWN")
        assert running.client.get("/v2/library/m/manifests/out").status == 404
        assert running.client.get("/v2/library/m/manifests/latest").status == 200


@pytest.mark.logs(r"The manifest .* is not served")
@pytest.mark.parametrize("raw", [b"", b"null", b"!!!", b'{"layers":[]}', b"[" * 100_000, b"x" * ((16 << 20) + 1)])
def test_a_manifest_that_is_none_is_not_found(tmp_path: Path, raw: bytes) -> None:
    write_store(tmp_path / "s", "library/m/latest", {MODEL: b"x"})
    (tmp_path / "s" / "manifests" / "registry.ollama.ai" / "library" / "m" / "bad").write_bytes(raw)
    with serving(tmp_path / "s", tmp_path / "index") as running:
        answer = running.client.get("/v2/library/m/manifests/bad")
        assert (answer.status, answer.error[0]) == (404, "MANIFEST_UNKNOWN")
        assert running.client.get("/v2/library/m/manifests/latest").status == 200


def test_where_two_hosts_have_the_same_name_the_public_registry_wins(tmp_path: Path) -> None:
    write_store(tmp_path / "s", "library/m/latest", {MODEL: b"other"}, host="aaa.example.com")
    wanted = write_store(tmp_path / "s", "library/m/latest", {MODEL: b"public"})
    with serving(tmp_path / "s", tmp_path / "index") as running:
        assert running.client.get("/v2/library/m/manifests/latest").headers["Docker-Content-Digest"] == str(wanted)
        assert running.client.get(f"/v2/library/m/blobs/{Digest.of(b'other')}").body == b"other"


def test_stray_files_among_the_manifests_are_left_out(tmp_path: Path) -> None:
    write_store(tmp_path / "s", "library/m/latest", {MODEL: b"x"})
    top = tmp_path / "s" / "manifests"
    (top / ".DS_Store").write_bytes(b"x")
    (top / "registry.ollama.ai" / "library" / "m" / ".hidden").write_bytes(b"x")
    (top / "registry.ollama.ai" / "library" / "m" / "-x").write_bytes(b"x")
    with serving(tmp_path / "s", tmp_path / "index") as running:
        assert running.client.get("/v2/_catalog").json() == {"repositories": ["library/m"]}
        assert running.client.get("/v2/library/m/tags/list").json()["tags"] == ["latest"]


def test_an_empty_store_is_served_and_fills(tmp_path: Path) -> None:
    (tmp_path / "s" / "blobs").mkdir(parents=True)
    (tmp_path / "s" / "manifests").mkdir()
    with serving(tmp_path / "s", tmp_path / "index") as running:
        assert running.client.get("/v2/_catalog").json() == {"repositories": []}
        write_store(tmp_path / "s", "library/m/latest", {MODEL: b"x"})
        assert running.client.get("/v2/library/m/manifests/latest").status == 200


def test_the_list_of_any_blob_is_given_by_its_digest_and_of_no_other(tmp_path: Path) -> None:
    write_store(tmp_path / "s", "library/m/latest", {MODEL: WEIGHTS})
    write_store(tmp_path / "s", "library/n/latest", {LICENSE: b"free"})
    with serving(tmp_path / "s", tmp_path / "index") as running:
        get = running.client.get
        digest = Digest.of(WEIGHTS)
        get(f"/v2/library/m/chunksums/{digest}")
        answer = get(f"/chunksums/{digest.file_name}.chunksums")
        assert answer.status == 200
        assert answer.body == get(f"/v2/library/m/chunksums/{digest}").body
        for path in (f"{Digest.of(b'x').file_name}.chunksums", f"{digest}", "passwd", f"{digest.file_name}.chunksums/"):
            assert get(f"/chunksums/{path}").status == 404

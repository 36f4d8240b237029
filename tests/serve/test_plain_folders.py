"""Plain folders: what becomes a model, and that its tree is served as it is."""

from __future__ import annotations

import json
import logging
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import urllib3

from fusefs.artifacts.manifest import DOCKER_MANIFEST, OCI_MANIFEST, Manifest
from fusefs.errors import ServeError
from fusefs.offers.folders import model_name
from fusefs.offers.leftout import Allowed
from fusefs.offers.stamp import fitting_chunk_size
from fusefs.values.chunks import ChunkList
from fusefs.values.digest import Digest
from tests.components import docker_registry
from tests.serve.world import CHUNK, noise, serving, touch_later, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ODD = {
    "config.json": b'{"a": 1}',
    ".gitattributes": b"* text\n",
    "nested/deep/er/weights.bin": noise(5 * CHUNK + 17),
    "a b.txt": b"space",
    "größe-模型-🦙.txt": b"unicode",
    "hash#mark?.txt": b"url characters",
    "100%25.txt": b"percent",
    "..hidden..": b"dots that are no path trick",
    "empty": b"",
    "nested/empty too": b"",
    "same-1": b"same content",
    "same-2": b"same content",
}


def manifest_type(raw: bytes) -> object:
    return json.loads(raw)["mediaType"]


def test_every_file_of_a_tree_comes_back_under_its_relative_name(tmp_path: Path) -> None:
    write_tree(tmp_path / "models" / "odd", ODD)
    with serving(tmp_path / "models", tmp_path / "index", allowed=Allowed(hidden=True)) as running:
        assert running.client.tree("local/odd") == ODD


def test_the_manifest_is_one_that_our_own_client_reads(tmp_path: Path) -> None:
    write_tree(tmp_path / "models" / "odd", ODD)
    with serving(tmp_path / "models", tmp_path / "index", allowed=Allowed(hidden=True)) as running:
        answer = running.client.get("/v2/local/odd/manifests/latest")
        manifest = Manifest.parse(answer.body)
        assert {layer.name for layer in manifest.layers} == set(ODD)
        assert answer.headers["Docker-Content-Digest"] == str(manifest.digest)
        assert answer.headers["ETag"] == f'"{manifest.digest}"'
        assert answer.headers["Content-Type"] == OCI_MANIFEST == manifest_type(answer.body)
        assert manifest.config is not None
        config = running.client.get(f"/v2/local/odd/blobs/{manifest.config.blob.digest}")
        assert Digest.of(config.body) == manifest.config.blob.digest
        assert len(config.body) == manifest.config.blob.size
        by_digest = running.client.get(f"/v2/local/odd/manifests/{manifest.digest}")
        assert by_digest.body == answer.body


def test_the_manifest_in_dockers_form_is_there_for_who_pinned_its_digest(tmp_path: Path) -> None:
    """Servers before gave out that form, whose content is the same; a cache knows a model by its digest."""
    write_tree(tmp_path / "models" / "m", {"config.json": b"{}", "w": b"w"})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        now = running.client.get("/v2/local/m/manifests/latest")
        former = now.body.replace(OCI_MANIFEST.encode(), DOCKER_MANIFEST.encode())
        for kind in ("manifests", "blobs"):
            answer = running.client.get(f"/v2/local/m/{kind}/{Digest.of(former)}")
            assert (answer.status, answer.body) == (200, former)
            assert answer.headers["Content-Type"] == DOCKER_MANIFEST
        assert Manifest.parse(former).layers == Manifest.parse(now.body).layers


@pytest.mark.slow
def test_a_registry_of_others_takes_the_manifest_and_its_blobs(tmp_path: Path) -> None:
    """As a tool that copies between registries would hand them over: types that it does not know are refused by it."""
    write_tree(tmp_path / "models" / "m", ODD | {"config.json": b"{}"})
    with (
        docker_registry(tmp_path / "registry") as address,
        serving(tmp_path / "models", tmp_path / "index", allowed=Allowed(hidden=True)) as running,
    ):
        manifest = running.client.get("/v2/local/m/manifests/latest")
        http = urllib3.PoolManager(retries=False)
        for name, content in running.client.tree("local/m").items():
            begun = http.request("POST", f"http://{address}/v2/copy/m/blobs/uploads/")
            put = http.request("PUT", f"{begun.headers['Location']}&digest={Digest.of(content)}", body=content)
            assert put.status == 201, (name, put.data)
        headers = {"Content-Type": manifest.headers["Content-Type"]}
        url = f"http://{address}/v2/copy/m/manifests/v1"
        put = http.request("PUT", url, body=manifest.body, headers=headers)
        assert put.status == 201, put.data
        got = http.request("GET", url, headers={"Accept": manifest.headers["Content-Type"]})
        assert (got.status, got.data) == (200, manifest.body)
        http.clear()


def test_the_manifest_is_the_same_on_another_machine(tmp_path: Path) -> None:
    bodies = []
    for place in ("one", "two"):
        write_tree(tmp_path / place / "m", dict(sorted(ODD.items(), reverse=place == "two")))
        with serving(tmp_path / place, tmp_path / f"{place}-index") as running:
            bodies.append(running.client.get("/v2/local/m/manifests/latest").body)
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK, 5 * CHUNK + 1, 9 * 1024 * 1024 + 3])
def test_chunksums_are_those_of_the_bytes(tmp_path: Path, size: int) -> None:
    content = noise(size)
    write_tree(tmp_path / "models" / "m", {"f": content})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        digest = str(Digest.of(content))
        answer = running.client.get(f"/v2/local/m/chunksums/{digest}")
        assert answer.status == 200
        assert answer.headers["Content-Location"] == f"/v2/local/m/blobs/{digest}"
        chunks = ChunkList.parse(size, answer.body)
        assert len(chunks) == -(-size // fitting_chunk_size(size, CHUNK))
        for i, chunk in enumerate(chunks):
            assert chunks.digest(i) == Digest.of(content[chunk.start : chunk.stop])


def test_chunksums_of_an_empty_file_are_empty(tmp_path: Path) -> None:
    write_tree(tmp_path / "models" / "m", {"f": b""})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        answer = running.client.get(f"/v2/local/m/chunksums/{Digest.of(b'')}")
        assert (answer.status, answer.body) == (200, b"")


def test_each_folder_of_a_folder_is_a_model(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_tree(tmp_path / "models" / name, {"f": name.encode()})
    write_tree(tmp_path / "models" / ".cache", {"f": b"not a model"})
    (tmp_path / "models" / ".DS_Store").write_bytes(b"x")
    with serving(tmp_path / "models", tmp_path / "index") as running:
        assert running.client.get("/v2/_catalog").json() == {"repositories": ["local/a", "local/b"]}
        assert running.client.tree("local/a") == {"f": b"a"}
        tags = running.client.get("/v2/local/b/tags/list").json()
        assert tags == {"name": "local/b", "tags": ["latest"]}


def test_a_folder_with_a_file_at_its_top_is_one_model(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "sub/weights.safetensors": noise(3000)}
    write_tree(tmp_path / "my-model", files)
    with serving(tmp_path / "my-model", tmp_path / "index") as running:
        assert running.client.get("/v2/_catalog").json() == {"repositories": ["local/my-model"]}
        assert running.client.tree("local/my-model") == files


@pytest.mark.parametrize("written", ["LOCAL/M", "local/m", "Local/M"])
def test_names_are_compared_without_case(tmp_path: Path, written: str) -> None:
    write_tree(tmp_path / "models" / "m", {"f": b"x"})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        assert running.client.tree(written) == {"f": b"x"}
        assert running.client.get(f"/v2/{written}/manifests/LATEST").status == 200


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
        ("My model (v2)", "My-model-v2"),
        ("--x", "x"),
        ("größe", "gr-e"),
        ("a" * 100, "a" * 80),
        ("a:b", "a-b"),
        ("a--b", "a--b"),
        ("acme--tiny-", "acme--tiny-"),
    ],
)
def test_folder_names_are_made_to_fit_the_grammar(folder: str, name: str) -> None:
    assert model_name(folder) == name


def test_folders_that_have_no_name_or_the_same_name_are_left_out_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("A b", "a-b", "模型"):
        write_tree(tmp_path / "models" / folder, {"f": folder.encode()})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        for _ in range(3):
            assert running.client.get("/v2/_catalog").json() == {"repositories": ["local/A-b"]}
        assert running.client.tree("local/a-b") == {"f": b"A b"}
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2
    assert "a-b is not served: there is another model" in warnings[0]
    assert "模型 is not served" in warnings[1]


def test_git_and_pycache_are_left_out(tmp_path: Path) -> None:
    write_tree(
        tmp_path / "models" / "m",
        {"f": b"x", ".git/HEAD": b"ref", "src/__pycache__/a.pyc": b"x", "src/.git/HEAD": b"x"},
    )
    with serving(tmp_path / "models", tmp_path / "index") as running:
        assert running.client.tree("local/m") == {"f": b"x"}


def test_links_inside_are_followed_and_links_out_are_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = tmp_path / "models"
    write_tree(models / "m", {"blobs/1": b"one", "snapshot/readme": b"r"})
    (tmp_path / "secret").write_bytes(b"secret")
    (models / "m" / "snapshot" / "weights").symlink_to("../blobs/1")
    (models / "m" / "alias").symlink_to("blobs")
    (models / "m" / "out").symlink_to(tmp_path / "secret")
    (models / "m" / "dangling").symlink_to("nowhere")
    (models / "m" / "blobs" / "loop").symlink_to("..")
    (models / "m" / "self").symlink_to("self")
    with serving(models, tmp_path / "index") as running:
        tree = running.client.tree("local/m")
    assert tree == {"blobs/1": b"one", "alias/1": b"one", "snapshot/weights": b"one", "snapshot/readme": b"r"}
    text = caplog.text
    for what in ("out' is left out: it leads out", "dangling' is left out", "self' is left out", "loop is left out"):
        assert what in text


def test_sockets_and_fifos_are_left_out(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_tree(models / "m", {"f": b"x"})
    os.mkfifo(models / "m" / "fifo")
    with (
        socket.socket(socket.AF_UNIX) as sock,
        bound_at(sock, models / "m" / "s"),
        serving(models, tmp_path / "index") as running,
    ):
        assert running.client.tree("local/m") == {"f": b"x"}


@contextmanager
def bound_at(sock: socket.socket, path: Path) -> Iterator[None]:
    """Bind a Unix socket through a short path: `path` itself may be too long for sun_path."""
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        sock.bind(f"/proc/self/fd/{fd}/{path.name}")
    finally:
        os.close(fd)
    yield
    path.unlink()


@pytest.mark.parametrize("name", [b"\xff\xfe", b"new\nline", b"\x1b[31m", b"\xc2\x85"])
def test_a_file_name_that_no_mount_takes_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: bytes
) -> None:
    write_tree(tmp_path / "models" / "m", {"f": b"x"})
    (tmp_path / "models" / "m" / os.fsdecode(name)).write_bytes(b"x")
    with serving(tmp_path / "models", tmp_path / "index") as running:
        assert running.client.tree("local/m") == {"f": b"x"}
    assert "its name is not UTF-8" in caplog.text


def test_a_changed_file_is_never_served_under_its_old_digest(tmp_path: Path) -> None:
    path = tmp_path / "models" / "m" / "f"
    write_tree(tmp_path / "models" / "m", {"f": b"before", "other": b"stays"})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        client = running.client
        old, _ = client.layers("local/m")["f"]
        path.write_bytes(b"after!")
        touch_later(path)
        answer = client.get(f"/v2/local/m/blobs/{old}")
        assert answer.status == 404
        assert answer.error[0] == "BLOB_UNKNOWN"
        assert "changed" in answer.error[1]
        assert client.tree("local/m") == {"f": b"after!", "other": b"stays"}
        assert client.get(f"/v2/local/m/blobs/{old}").status == 404


def test_a_replaced_file_with_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "models" / "m" / "f"
    write_tree(tmp_path / "models" / "m", {"f": b"before"})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        old, _ = running.client.layers("local/m")["f"]
        status = path.stat()
        new = path.with_name("new")
        new.write_bytes(b"after!")
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
        new.rename(path)
        assert running.client.get(f"/v2/local/m/blobs/{old}").status == 404
        assert running.client.tree("local/m") == {"f": b"after!"}


def test_a_second_file_with_the_same_content_stands_in_for_a_removed_one(tmp_path: Path) -> None:
    write_tree(tmp_path / "models" / "m", {"a": b"same", "b": b"same"})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        digest, _ = running.client.layers("local/m")["a"]
        (tmp_path / "models" / "m" / "a").unlink()
        assert running.client.get(f"/v2/local/m/blobs/{digest}").body == b"same"
        assert running.client.tree("local/m") == {"b": b"same"}


def test_models_that_come_and_go_are_seen(tmp_path: Path) -> None:
    write_tree(tmp_path / "models" / "m", {"f": b"x"})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        assert running.client.get("/v2/local/late/manifests/latest").error[0] == "NAME_UNKNOWN"
        write_tree(tmp_path / "models" / "late", {"g": b"y"})
        assert running.client.tree("local/late") == {"g": b"y"}
        (tmp_path / "models" / "late" / "g").unlink()
        (tmp_path / "models" / "late").rmdir()
        assert running.client.get("/v2/local/late/manifests/latest").status == 404


def test_a_model_without_files_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tree(tmp_path / "models" / "m", {"f": b"x"})
    (tmp_path / "models" / "hollow").mkdir()
    with serving(tmp_path / "models", tmp_path / "index") as running:
        assert running.client.tree("local/m") == {"f": b"x"}
        assert running.client.get("/v2/local/hollow/manifests/latest").error[0] == "MANIFEST_UNKNOWN"
    assert "local/hollow is not served" in caplog.text


def test_a_folder_with_nothing_in_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="holds no model"), serving(tmp_path, tmp_path / "index"):
        raise AssertionError("served nothing")


def test_a_link_to_a_model_folder_keeps_the_name_of_the_link(tmp_path: Path) -> None:
    write_tree(tmp_path / "models" / ".real", {"f": b"x"})
    (tmp_path / "models" / "alias").symlink_to(".real")
    with serving(tmp_path / "models", tmp_path / "index") as running:
        assert running.client.get("/v2/_catalog").json() == {"repositories": ["local/alias"]}
        assert running.client.tree("local/alias") == {"f": b"x"}


@pytest.mark.logs("lies deeper than 64 levels")
def test_folders_without_end_are_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "models" / "m", {"f": b"x"})
    (tmp_path / "models" / "deep" / "/".join("d" * 300)).mkdir(parents=True)
    deepest = "/".join("d" * 63) + "/f"
    write_tree(tmp_path / "models" / "as-deep-as-can-be", {deepest: b"y"})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        assert running.client.tree("local/m") == {"f": b"x"}
        assert running.client.tree("local/as-deep-as-can-be") == {deepest: b"y"}
        assert running.client.get("/v2/local/deep/manifests/latest").status == 500


def test_head_of_chunksums_says_where_the_blob_is_and_sends_nothing(tmp_path: Path) -> None:
    write_tree(tmp_path / "models" / "m", {"f": noise(5000)})
    digest = Digest.of(noise(5000))
    with serving(tmp_path / "models", tmp_path / "index") as running:
        answer = running.client.get(f"/v2/local/m/chunksums/{digest}", "HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Content-Location"] == f"/v2/local/m/blobs/{digest}"

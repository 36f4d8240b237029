"""Manifest: the shape of tests/conformance/README.md, §6, and that nothing from the network gets past it."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from fusefs.artifacts.index import choose_from_index
from fusefs.artifacts.manifest import (
    DOCKER_MANIFEST,
    MAX_LAYERS,
    MAX_MANIFEST_SIZE,
    OCI_INDEX,
    TITLE,
    Manifest,
)
from fusefs.errors import InvalidManifest
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.digest import Digest

A, B = Digest.of(b"a"), Digest.of(b"b")


def layer(digest: object = A, size: object = 1, **more: object) -> dict[str, Any]:
    return {"mediaType": "application/vnd.ollama.image.model", "digest": str(digest), "size": size, **more}


def raw(**parts: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, **parts}).encode()


def test_a_manifest_of_ollama() -> None:
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": str(B), "size": 7}
    text = raw(config=config, layers=[layer(), layer(A, 1, name="x.json", **{"from": "/somewhere"})])
    manifest = Manifest.parse(text)
    assert manifest.raw == text
    assert manifest.digest == Digest.of(text)
    assert manifest.config is not None
    assert (manifest.config.blob.digest, manifest.config.blob.size) == (B, 7)
    assert [one.name for one in manifest.layers] == ["", "x.json"]
    assert manifest.layers[0].media_type == "application/vnd.ollama.image.model"
    assert [blob.digest for blob in manifest.blobs()] == [B, A, A]


def test_media_types_may_be_left_out() -> None:
    manifest = Manifest.parse(json.dumps({"layers": [{"digest": str(A), "size": 3}]}).encode())
    assert manifest.config is None
    assert manifest.layers[0].media_type == ""
    assert manifest.layers[0].blob.size == 3


def test_an_empty_config_is_none() -> None:
    assert Manifest.parse(raw(config={"digest": ""}, layers=[layer()])).config is None
    assert Manifest.parse(raw(config=None, layers=[layer()])).config is None


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({}, ""),
        ({"name": "n"}, "n"),
        ({"annotations": {TITLE: "t"}}, "t"),
        ({"name": "n", "annotations": {TITLE: "t"}}, "t"),
        ({"name": "", "annotations": {TITLE: "t"}}, "t"),
        ({"annotations": {"other": "x"}}, ""),
        ({"annotations": None}, ""),
        ({"name": "../unchecked"}, "../unchecked"),
    ],
)
def test_a_layer_is_called_by_its_title_else_its_name(more: dict[str, Any], name: str) -> None:
    assert Manifest.parse(raw(layers=[layer(**more)])).layers[0].name == name


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"!!!",
        b"[]",
        b"{}",
        b'"x"',
        b"1",
        b'{"layers":[]}',
        b'{"layers":null}',
        b'{"layers":{}}',
        b'{"layers":[1]}',
        b'{"layers":[{}]}',
        b'{"layers":[null]}',
        b'{"layers":[{"digest":1}]}',
        b"<html>not found</html>",
        b"\xff\xfe",
        b'{"layers":["\xff"]}',
        raw(layers=[layer()])[:-1],
        raw(layers=[layer()]) + b"x",
        b"\xef\xbb\xbf" + raw(layers=[layer()])[:-2],
    ],
)
def test_what_is_no_manifest_is_called_that(text: bytes) -> None:
    with pytest.raises(InvalidManifest, match="invalid manifest") as caught:
        Manifest.parse(text)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("digest", ["", "sha256:12", "sha512:" + "0" * 128, "../../etc/passwd", "x" * 100_000])
def test_p10_a_layer_has_a_digest(digest: str) -> None:
    with pytest.raises(InvalidManifest, match="invalid digest") as caught:
        Manifest.parse(raw(layers=[layer(digest)]))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "size", [-1, MAX_BLOB_SIZE + 1, 2**63, 2**64, 2**200, -(2**63), 1.5, "1", None, True, [], 1e300]
)
def test_p10_a_layer_has_a_size_that_a_blob_can_have(size: object) -> None:
    with pytest.raises(InvalidManifest, match="invalid manifest"):
        Manifest.parse(raw(layers=[layer(A, size)]))
    with pytest.raises(InvalidManifest, match="invalid manifest"):
        Manifest.parse(raw(config=layer(B, size), layers=[layer()]))


def test_the_largest_size_is_accepted() -> None:
    assert Manifest.parse(raw(layers=[layer(A, MAX_BLOB_SIZE)])).layers[0].blob.size == MAX_BLOB_SIZE


def test_p10_one_digest_has_one_size() -> None:
    with pytest.raises(InvalidManifest, match="listed with two sizes"):
        Manifest.parse(raw(layers=[layer(A, 1), layer(B, 1), layer(A, 2)]))
    with pytest.raises(InvalidManifest, match="listed with two sizes"):
        Manifest.parse(raw(config=layer(A, 2), layers=[layer(A, 1)]))
    upper = "sha256:" + A.hex.upper()
    with pytest.raises(InvalidManifest, match="listed with two sizes"):
        Manifest.parse(raw(layers=[layer(A, 1), layer(upper, 2)]))


def test_p10_a_manifest_of_100_mb_is_refused_unread() -> None:
    text = b'{"layers":[' + b" " * (100 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidManifest, match="bytes, at most"):
            Manifest.parse(text)
        with pytest.raises(InvalidManifest, match="bytes, at most"):
            choose_from_index(text, "amd64")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_p10_a_million_layers_are_refused() -> None:
    one = json.dumps({"digest": str(A), "size": 1}, separators=(",", ":")).encode()
    text = b'{"layers":[' + b",".join([one] * 1_000_000) + b"]}"
    assert len(text) > MAX_MANIFEST_SIZE
    with pytest.raises(InvalidManifest, match="bytes, at most"):
        Manifest.parse(text)
    many = b'{"layers":[' + b",".join([one] * (MAX_LAYERS + 1)) + b"]}"
    with pytest.raises(InvalidManifest, match=f"{MAX_LAYERS + 1} layers, at most {MAX_LAYERS}"):
        Manifest.parse(many)
    most = b'{"layers":[' + b",".join([one] * MAX_LAYERS) + b"]}"
    assert len(Manifest.parse(most).layers) == MAX_LAYERS


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("where", ["top", "unknown", "platform"])
def test_p10_deep_nesting_is_refused(opening: str, where: str) -> None:
    deep = opening * 100_000
    text = {
        "top": deep,
        "unknown": '{"unknown":' + deep,
        "platform": '{"layers":[{"digest":"x","platform":{"a":' + deep,
    }[where]
    with pytest.raises(InvalidManifest):
        Manifest.parse(text.encode())


def test_p10_many_unknown_fields_are_skipped() -> None:
    more = {f"unknown-{i}": [{"x": i}] for i in range(10_000)}
    assert len(Manifest.parse(raw(layers=[layer(**more)], **more)).layers) == 1


def test_an_index_asks_for_one_of_its_manifests() -> None:
    index = json.dumps({"mediaType": OCI_INDEX, "manifests": [layer(A, 1)]}).encode()
    with pytest.raises(InvalidManifest, match="index of several manifests"):
        Manifest.parse(index)
    assert choose_from_index(index, "amd64") == A


def test_an_index_of_several_manifests_lets_a_person_choose() -> None:
    index = json.dumps({"manifests": [layer(A, 1), layer(B, 1)]}).encode()
    with pytest.raises(InvalidManifest, match=f"@{A}, @{B}"):
        choose_from_index(index, "amd64")


def test_what_is_no_index_chooses_nothing() -> None:
    assert choose_from_index(raw(layers=[layer()]), "amd64") is None
    assert choose_from_index(b"{}", "amd64") is None
    with pytest.raises(InvalidManifest):
        choose_from_index(b"!!!", "amd64")
    with pytest.raises(InvalidManifest, match="invalid digest"):
        choose_from_index(b'{"manifests":[{"digest":"../x"}]}', "amd64")

"""Manifest: the shape of tests/conformance/README.md, §6, and that nothing from the network gets past it."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.artifacts.imageindex import check_media_type, choose_from_index
from fusefs.artifacts.manifest import (
    DOCKER_MANIFEST,
    MAX_LAYERS,
    MAX_MANIFEST_SIZE,
    OCI_INDEX,
    OCI_MANIFEST,
    TITLE,
    Manifest,
)
from fusefs.artifacts.times import nanoseconds
from fusefs.errors import InvalidManifest
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

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
    one = json.dumps({"mediaType": OCI_INDEX, "manifests": [layer(A, 1)]}).encode()
    with pytest.raises(InvalidManifest, match="index of several manifests"):
        Manifest.parse(one)
    assert choose_from_index(one, "amd64") == A


def test_an_index_of_several_manifests_lets_a_person_choose() -> None:
    two = json.dumps({"manifests": [layer(A, 1), layer(B, 1)]}).encode()
    with pytest.raises(InvalidManifest, match=f"@{A}, @{B}"):
        choose_from_index(two, "amd64")


def test_what_is_no_index_chooses_nothing() -> None:
    assert choose_from_index(raw(layers=[layer()]), "amd64") is None
    assert choose_from_index(b"{}", "amd64") is None
    with pytest.raises(InvalidManifest):
        choose_from_index(b"!!!", "amd64")
    with pytest.raises(InvalidManifest, match="invalid digest"):
        choose_from_index(b'{"manifests":[{"digest":"../x"}]}', "amd64")


ATTESTATION = {"vnd.docker.reference.type": "attestation-manifest"}


def entry(digest: Digest, os: str = "linux", architecture: str = "amd64", **more: object) -> dict[str, Any]:
    platform = {"os": os, "architecture": architecture}
    return {"mediaType": OCI_MANIFEST, "digest": str(digest), "size": 1, "platform": platform, **more}


def index(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}).encode()


def test_of_an_index_the_manifest_for_this_machine_is_taken() -> None:
    both = index(entry(A), entry(B, architecture="arm64", variant="v8"))
    assert choose_from_index(both, "amd64") == A
    assert choose_from_index(both, "arm64") == B
    assert choose_from_index(index(entry(A, os="windows"), entry(B)), "amd64") == B
    assert choose_from_index(index(entry(A, architecture="arm64")), "amd64") == A, "if one is left, it is taken"


def test_attestations_and_what_lies_beside_an_image_are_passed_over() -> None:
    unknown = entry(B, "unknown", "unknown", annotations=ATTESTATION)
    assert choose_from_index(index(entry(A), unknown), "arm64") == A
    signature = {"mediaType": OCI_MANIFEST, "digest": str(B), "size": 1, "artifactType": "application/vnd.dev.cosign"}
    model = {**signature, "digest": str(A), "artifactType": "application/vnd.cncf.model.manifest.v1+json"}
    assert choose_from_index(index(signature, model), "amd64") == A
    with pytest.raises(InvalidManifest, match="none of them is a model or an image"):
        choose_from_index(index(unknown, signature), "amd64")


def test_the_choices_are_listed_where_a_person_must_choose() -> None:
    with pytest.raises(InvalidManifest, match=rf"@{A} \(linux/arm64\), @{B} \(linux/s390x\)"):
        choose_from_index(index(entry(A, architecture="arm64"), entry(B, architecture="s390x")), "amd64")


def test_p10_an_index_in_an_index_is_refused_with_its_reason() -> None:
    with pytest.raises(InvalidManifest, match=f"an index of an index .*{A}.* round in a circle"):
        choose_from_index(index({"mediaType": OCI_INDEX, "digest": str(A), "size": 1}), "amd64")


@pytest.mark.parametrize("parse", [Manifest.parse, lambda text: choose_from_index(text, "amd64")])
def test_p10_a_document_with_layers_and_manifests_is_refused(parse: Callable[[bytes], object]) -> None:
    """CVE-2021-41190: one reader would take it for a manifest, another for an index."""
    with pytest.raises(InvalidManifest, match="both layers and manifests"):
        parse(json.dumps({"layers": [layer()], "manifests": [layer(B)]}).encode())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (index(), "has no manifests"),
        (index(*[entry(A)] * 1001), "1001 manifests, at most 1000"),
        (b'{"manifests":[{"digest":"x","platform":5}]}', "invalid manifest"),
        (b'{"manifests":5}', "invalid manifest"),
        (b'{"manifests":[' + b"{" * 300_000, "more than"),
    ],
)
def test_p10_a_hostile_index_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(InvalidManifest, match=why) as caught:
        choose_from_index(text, "amd64")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("media_type", "packing", "tar"),
    [
        ("application/vnd.cncf.model.weight.v1.raw", "", False),
        ("application/vnd.cncf.model.weight.v1.tar", "", True),
        ("application/vnd.cncf.model.weight.v1.tar+gzip", "gzip", True),
        ("application/vnd.cncf.model.weight.v1.tar+zstd", "zstd", True),
        ("application/vnd.kitops.modelkit.model.v1.raw+gzip", "gzip", False),
        ("application/vnd.docker.ai.dir.tar", "", True),
        ("application/vnd.docker.ai.gguf.v3", "", False),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip", True),
        ("application/vnd.oci.image.layer.v1.tar", "", True),
        ("application/x-tar", "", False),
        ("", "", False),
        ("+gzip", "", False),
        ("APPLICATION/X.TAR+GZIP; q=1", "gzip", True),
    ],
)
def test_the_end_of_a_media_type_says_how_files_lie_in_a_layer(media_type: str, packing: str, tar: bool) -> None:
    one = Manifest.parse(raw(layers=[layer(mediaType=media_type)])).layers[0]
    assert (one.packing, one.is_tar) == (packing, tar)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1),
        ("2024-02-29t12:00:00+01:00", 1_709_204_400),
        ("2024-02-29 12:00:00-01:00", 1_709_211_600),
        ("", 0),
        ("yesterday", 0),
        ("1969-12-31T23:59:59Z", 0),
        ("2024-13-01T00:00:00Z", 0),
        ("9999-01-01T00:00:00Z", 0),
        ("2024-01-01T00:00:00", 0),
        ("٢٠٢٤-01-01T00:00:00Z", 0),
        ("2024-01-01T00:00:00." + "9" * 100_000, 0),
    ],
)
def test_a_time_of_a_document_is_one_that_a_file_can_have_or_none(text: str, seconds: int) -> None:
    assert nanoseconds(text) == seconds * 10**9


@pytest.mark.parametrize(
    ("text", "said", "good"),
    [
        (raw(layers=[layer()]), DOCKER_MANIFEST, True),
        (raw(layers=[layer()]), f"{DOCKER_MANIFEST}; charset=utf-8", True),
        (raw(layers=[layer()]), "application/octet-stream", True),
        (raw(layers=[layer()]), "", True),
        (raw(layers=[layer()], mediaType=""), OCI_MANIFEST, True),
        (raw(layers=[layer()]), OCI_MANIFEST, False),
        (raw(layers=[layer()]), OCI_INDEX, False),
        (raw(layers=[layer()], mediaType=""), OCI_INDEX, False),
        (index(entry(A)), OCI_INDEX, True),
        (index(entry(A)), OCI_MANIFEST, False),
    ],
)
def test_p10_a_document_is_what_the_registry_called_it(text: bytes, said: str, good: bool) -> None:
    if good:
        check_media_type(text, said)
        return
    with pytest.raises(InvalidManifest, match=r"the registry calls it .*, and it calls itself"):
        check_media_type(text, said)

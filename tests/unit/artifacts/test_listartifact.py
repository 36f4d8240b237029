"""Manifests of chunk lists and the indexes that name them: what is made, what is read, what is refused."""

from __future__ import annotations

import json

import pytest

from fusefs.artifacts.listartifact import (
    ARTIFACT_TYPE,
    MAX_REFERRERS,
    ListArtifact,
    annotated,
    descriptor,
    fallback_tag,
    list_tag,
    list_title,
    media_type_of,
    referring,
    with_referrer,
)
from fusefs.artifacts.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from fusefs.errors import InvalidManifest
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest

BLOB, TEXT, MODEL = Digest.of(b"blob"), Digest.of(b"text"), b'{"schemaVersion": 2}'


def made() -> ListArtifact:
    return ListArtifact.of({BLOB: Blob(TEXT, 4)}, descriptor(OCI_MANIFEST, MODEL))


def test_what_is_made_is_read_back_and_has_a_tag_that_a_registry_takes() -> None:
    artifact = made()
    assert ListArtifact.parse(artifact.raw) == artifact
    assert artifact.texts == {BLOB: TEXT}
    assert artifact.subject == Digest.of(MODEL)
    assert list_tag(Digest.of(MODEL)) == f"sha256-{Digest.of(MODEL).hex}.chunksums"
    assert fallback_tag(Digest.of(MODEL)) == f"sha256-{Digest.of(MODEL).hex}"
    assert len(list_tag(BLOB)) <= 128


def test_the_same_lists_are_the_same_bytes_in_any_order() -> None:
    one, two = (Digest.of(b"1"), Blob(TEXT, 4)), (Digest.of(b"2"), Blob(TEXT, 4))
    assert ListArtifact.of(dict([one, two]), None).raw == ListArtifact.of(dict([two, one]), None).raw


def test_the_shape_is_that_of_an_image_manifest_with_an_empty_config() -> None:
    document = json.loads(made().raw)
    assert document["mediaType"] == OCI_MANIFEST
    assert document["artifactType"] == ARTIFACT_TYPE
    assert document["config"] == {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "size": 2,
        "data": "e30=",
    }
    assert document["layers"][0]["annotations"] == {"org.opencontainers.image.title": list_title(BLOB)}
    assert document["subject"] == {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(MODEL)), "size": len(MODEL)}


def test_a_config_that_says_what_it_is_will_do_and_other_layers_are_left() -> None:
    # Source: image-spec 1.1: without an artifactType the config's media type is it.
    document = json.loads(made().raw)
    del document["artifactType"]
    document["config"]["mediaType"] = ARTIFACT_TYPE
    document["layers"].insert(0, {"digest": str(BLOB), "annotations": {"org.opencontainers.image.title": "README"}})
    document["layers"].insert(0, {"digest": str(BLOB)})
    assert ListArtifact.parse(json.dumps(document).encode()).texts == {BLOB: TEXT}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"{}",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"{" * 70_000,
        made().raw.replace(b"chunksums.v1", b"chunksums.v2"),
        made().raw.replace(b"sha256-", b"sha512-"),
        made().raw.replace(str(TEXT).encode(), b"sha256:0"),
        made().raw.replace(str(Digest.of(MODEL)).encode(), b"../../etc"),
        json.dumps({**json.loads(made().raw), "manifests": []}).encode(),
        b" " * (5 << 20),
    ],
)
def test_anything_else_is_refused_in_one_line(raw: bytes) -> None:
    with pytest.raises(InvalidManifest) as caught:
        ListArtifact.parse(raw)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_index_keeps_what_others_put_into_it() -> None:
    other = {"mediaType": OCI_MANIFEST, "digest": str(TEXT), "size": 4, "artifactType": "application/x", "x": [1, None]}
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [other], "annotations": {"a": "b"}})
    more = with_referrer(raw.encode(), made())
    assert more is not None
    document = json.loads(more)
    assert document["manifests"][0] == other
    assert document["annotations"] == {"a": "b"}
    assert referring(more) == [made().digest], "the entry of somebody else is no list"
    assert with_referrer(more, made()) is None, "it is there already"


def test_the_first_index_is_made() -> None:
    raw = with_referrer(None, made())
    assert raw is not None
    assert json.loads(raw)["mediaType"] == OCI_INDEX
    assert referring(raw) == [made().digest]


def test_of_many_referrers_a_few_are_looked_at() -> None:
    entry = {"digest": str(TEXT), "artifactType": ARTIFACT_TYPE}
    assert len(referring(json.dumps({"manifests": [entry] * 5000}).encode())) == MAX_REFERRERS


def test_the_newest_of_many_referrers_are_looked_at() -> None:
    """Old lists must not keep newer ones from being seen."""
    digests = [Digest.of(b"%d" % i) for i in range(20)]
    entries = [{"digest": str(digest), "artifactType": ARTIFACT_TYPE} for digest in digests]
    assert referring(json.dumps({"manifests": entries}).encode()) == digests[-MAX_REFERRERS:]


@pytest.mark.parametrize("raw", [b"{}", MODEL, made().raw, b"<html>", b'{"manifests": [], "layers": []}'])
def test_what_is_no_index_is_not_written_over(raw: bytes) -> None:
    with pytest.raises(InvalidManifest):
        with_referrer(raw, made())


def test_an_annotation_that_is_no_digest_is_none() -> None:
    layers = [
        {"digest": str(BLOB), "annotations": {"vnd.fusefs.chunksums.digest": value}} for value in (7, "x", None, ["y"])
    ]
    assert annotated(json.dumps({"layers": layers}).encode()) == {}


def test_a_manifest_says_its_type_or_is_of_oci() -> None:
    assert media_type_of(MODEL) == OCI_MANIFEST
    assert media_type_of(json.dumps({"mediaType": DOCKER_MANIFEST}).encode()) == DOCKER_MANIFEST

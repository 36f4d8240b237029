"""Chunk lists beside a model: where they are looked for, what is refused, and what a second blob costs."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fusefs.artifacts.listartifact import ANNOTATION, annotated, fallback_tag, list_tag
from fusefs.artifacts.manifest import OCI_INDEX
from fusefs.errors import SourceError
from fusefs.sources.bound import BoundSource
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.registry import RegistrySource
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.settings import Settings
from tests.list_registry import Given, ListRegistry, artifact_of, index_of, list_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA, OTHER = bytes(range(256)) * 40, b"other" * 999
BLOB, OTHER_BLOB = Blob(Digest.of(DATA), len(DATA)), Blob(Digest.of(OTHER), len(OTHER))
CHUNKS, OTHER_CHUNKS = list_of(DATA, 1000), list_of(OTHER, 500)
MODEL = b'{"schemaVersion":2,"layers":[]}'
ANOTHER_MODEL = b'{"schemaVersion":2,"layers":[ ]}'
LISTS = {BLOB: CHUNKS, OTHER_BLOB: OTHER_CHUNKS}
TAG = list_tag(Digest.of(MODEL))
REFERRERS = f"/v2/library/m/referrers/{Digest.of(MODEL)}"
FALLBACK = fallback_tag(Digest.of(MODEL))


@pytest.fixture
def registry() -> Iterator[ListRegistry]:
    with ListRegistry() as made:
        yield made


@pytest.fixture
def bound(registry: ListRegistry, tmp_path: Path) -> Iterator[BoundSource]:
    name = Name.parse(f"http://{registry.host}/library/m")
    keys = KeyRing(tmp_path / "no-key", tmp_path / "no-config")
    with closing(RegistrySource(name.scheme, name.host, Settings(timeout=10, stall=5), keys=keys)) as source:
        yield BoundSource(source, name, Digest.of(MODEL))


def test_a_list_at_the_tag_is_found_and_nothing_else_is_asked(registry: ListRegistry, bound: BoundSource) -> None:
    registry.lists(TAG, LISTS, MODEL)
    assert bound.chunk_list(BLOB) == CHUNKS
    text = Digest.of(text_of(CHUNKS))
    assert registry.asked == [
        f"/v2/library/m/chunksums/{BLOB.digest}",
        f"/v2/library/m/manifests/{TAG}",
        f"/v2/library/m/blobs/{text}",
    ]
    assert bound.chunk_list(OTHER_BLOB) == OTHER_CHUNKS
    assert registry.asked[3:] == [f"/v2/library/m/blobs/{Digest.of(text_of(OTHER_CHUNKS))}"]


def test_a_list_among_the_referrers_is_found(registry: ListRegistry, bound: BoundSource) -> None:
    artifact = registry.lists("unnamed", LISTS, MODEL)
    registry.answers[REFERRERS] = Given(index_of(artifact), OCI_INDEX)
    assert bound.chunk_list(BLOB) == CHUNKS
    assert registry.count(FALLBACK) == 1, "the tag of the lists alone; the fallback is not asked"


def test_referrers_on_a_second_page_are_found(registry: ListRegistry, bound: BoundSource) -> None:
    artifact = registry.lists("unnamed", LISTS, MODEL)
    link = {"Link": f'<{REFERRERS}/2>; rel="next"'}
    registry.answers[REFERRERS] = Given(index_of(), OCI_INDEX, headers=link)
    registry.answers[f"{REFERRERS}/2"] = Given(index_of(artifact), OCI_INDEX)
    assert bound.chunk_list(BLOB) == CHUNKS


@pytest.mark.parametrize("pages", [1, 2])
def test_of_several_lists_among_the_referrers_the_newest_counts(
    registry: ListRegistry, bound: BoundSource, pages: int
) -> None:
    """The one in the last place of the last page, however many old ones there are."""
    old = [registry.lists(f"old{i}", {BLOB: list_of(DATA, 2000 + i)}, MODEL) for i in range(9)]
    newest = registry.lists("new", {BLOB: CHUNKS}, MODEL)
    listed = [index_of(*old, newest)] if pages == 1 else [index_of(*old), index_of(newest)]
    for number, raw in enumerate(listed, 1):
        link = {"Link": f'<{REFERRERS}/{number + 1}>; rel="next"'} if number < pages else {}
        registry.answers[REFERRERS if number == 1 else f"{REFERRERS}/{number}"] = Given(raw, OCI_INDEX, headers=link)
    assert bound.chunk_list(BLOB) == CHUNKS


def test_a_list_in_the_fallback_index_is_found(registry: ListRegistry, bound: BoundSource) -> None:
    artifact = registry.lists("unnamed", LISTS, MODEL)
    registry.manifest(FALLBACK, index_of(artifact), OCI_INDEX)
    assert bound.chunk_list(BLOB) == CHUNKS


def test_an_annotation_in_the_manifest_is_believed_before_the_tag(registry: ListRegistry, bound: BoundSource) -> None:
    text = Digest.of(text_of(CHUNKS))
    layer = {"digest": str(BLOB.digest), "size": BLOB.size, "annotations": {ANNOTATION: str(text)}}
    texts = annotated(json.dumps({"layers": [layer]}).encode())
    assert texts == {BLOB.digest: text}
    registry.blob(text_of(CHUNKS))
    named = BoundSource(bound._source, bound._name, Digest.of(MODEL), texts)  # as the engine binds it
    assert named.chunk_list(BLOB) == CHUNKS
    assert registry.asked == [f"/v2/library/m/blobs/{text}"]


def test_what_is_not_there_costs_one_search_a_model(registry: ListRegistry, bound: BoundSource) -> None:
    assert bound.chunk_list(BLOB) is None
    asked = len(registry.asked)
    assert asked == 4, registry.asked
    for blob in (BLOB, OTHER_BLOB, Blob(Digest.of(b"third"), 5)):
        assert bound.chunk_list(blob) is None
    assert len(registry.asked) == asked


def test_an_endpoint_that_knows_a_blob_not_is_asked_for_the_next(registry: ListRegistry, bound: BoundSource) -> None:
    path = f"/v2/library/m/chunksums/{BLOB.digest}"
    registry.answers[path] = Given(b'{"errors":[{"code":"BLOB_UNKNOWN"}]}', "application/json", 404)
    registry.answers[f"/v2/library/m/chunksums/{OTHER_BLOB.digest}"] = Given(text_of(OTHER_CHUNKS))
    assert bound.chunk_list(BLOB) is None
    assert bound.chunk_list(OTHER_BLOB) == OTHER_CHUNKS


@pytest.mark.logs("are not used|is not used")
@pytest.mark.parametrize(
    "raw",
    [
        artifact_of(LISTS, ANOTHER_MODEL).raw,
        artifact_of(LISTS, None).raw,
        b"<!DOCTYPE html><title>Sign in</title>",
        b"{}",
        b"[" * 100_000,
        index_of(),
        artifact_of(LISTS, MODEL).raw.replace(b"chunksums.v1", b"chunksums.v9"),
        b" " * (5 << 20),
    ],
    ids=["of another model", "of no model", "a page", "nothing", "deep", "an index", "a later version", "long"],
)
def test_rubbish_at_the_tag_is_one_line_and_the_next_place_is_asked(
    registry: ListRegistry, bound: BoundSource, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    artifact = registry.lists("unnamed", LISTS, MODEL)
    registry.manifest(FALLBACK, index_of(artifact), OCI_INDEX)
    registry.answers[f"/v2/library/m/manifests/{TAG}"] = Given(raw, "application/json")
    assert bound.chunk_list(BLOB) == CHUNKS
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "\n" not in line
    assert TAG in line


@pytest.mark.logs("are not used")
@pytest.mark.parametrize("kind", ["redirect", "html", "json"])
def test_p10_referrers_that_lead_to_a_login_page_are_not_used(
    registry: ListRegistry, bound: BoundSource, kind: str
) -> None:
    with ListRegistry() as elsewhere:
        page = Given(b"<html><title>Sign in to continue</title></html>", "text/html")
        elsewhere.answers["/login"] = page
        answers = {
            "redirect": Given(status=303, headers={"Location": f"http://{elsewhere.host}/login"}),
            "html": page,
            "json": Given(b"{}", "application/json"),
        }
        registry.answers[REFERRERS] = answers[kind]
        artifact = registry.lists("unnamed", LISTS, MODEL)
        registry.manifest(FALLBACK, index_of(artifact), OCI_INDEX)
        assert bound.chunk_list(BLOB) == CHUNKS


@pytest.mark.parametrize("status", [401, 403, 405, 429, 500, 501])
def test_a_registry_that_refuses_referrers_has_none(registry: ListRegistry, bound: BoundSource, status: int) -> None:
    headers = {"Retry-After": "1000"} if status == 429 else {}
    registry.answers[REFERRERS] = Given(b"no", "text/plain", status, headers)
    artifact = registry.lists("unnamed", LISTS, MODEL)
    registry.manifest(FALLBACK, index_of(artifact), OCI_INDEX)
    if status == 401:
        registry.answers[REFERRERS].headers["WWW-Authenticate"] = 'Basic realm="x"'
    assert bound.chunk_list(BLOB) == CHUNKS


def test_a_registry_in_trouble_is_trouble_and_not_a_missing_list(registry: ListRegistry, bound: BoundSource) -> None:
    tag = f"/v2/library/m/manifests/{TAG}"
    registry.answers[tag] = Given(b"later", "text/plain", 503)
    with pytest.raises(SourceError, match="503"):
        bound.chunk_list(BLOB)
    del registry.answers[tag]
    registry.lists(TAG, LISTS, MODEL)
    assert bound.chunk_list(BLOB) == CHUNKS, "trouble is not remembered"


@pytest.mark.logs("is not used")
@pytest.mark.parametrize("case", ["other bytes", "another size", "no list", "gone"])
def test_a_text_that_is_no_list_of_the_blob_is_one_line_and_not_asked_for_again(
    registry: ListRegistry, bound: BoundSource, case: str
) -> None:
    wrong = {"no list": b"hello\n" * 9, "another size": text_of(OTHER_CHUNKS)}.get(case, text_of(CHUNKS))
    lists = {BLOB.digest: Blob(Digest.of(wrong), len(wrong))}
    texts = artifact_of(LISTS, MODEL)
    document = json.loads(texts.raw)
    document["layers"] = [layer for layer in document["layers"] if BLOB.digest.hex in json.dumps(layer)]
    document["layers"][0]["digest"] = str(lists[BLOB.digest].digest)
    registry.manifest(TAG, json.dumps(document).encode())
    if case != "gone":
        served = wrong.replace(b"9", b"8", 1) if case == "other bytes" else wrong
        registry.answers[f"/v2/library/m/blobs/{Digest.of(wrong)}"] = Given(served)
    assert bound.chunk_list(BLOB) is None
    asked = len(registry.asked)
    assert bound.chunk_list(BLOB) is None
    assert len(registry.asked) == asked


def test_an_index_of_a_thousand_is_read_for_a_few(registry: ListRegistry, bound: BoundSource) -> None:
    artifact = registry.lists("unnamed", LISTS, MODEL)
    many = [replace(artifact, raw=b"%d" % i, digest=Digest.of(b"%d" % i)) for i in range(1000)]
    registry.answers[REFERRERS] = Given(index_of(*many), OCI_INDEX)
    assert bound.chunk_list(BLOB) is None
    assert registry.count("/manifests/") <= 10


def test_after_a_refresh_it_is_looked_for_anew(registry: ListRegistry, bound: BoundSource) -> None:
    assert bound.chunk_list(BLOB) is None
    registry.lists(TAG, LISTS, MODEL)
    source = bound._source  # what `fusefs` does at SIGHUP
    assert isinstance(source, RegistrySource)
    source.refresh()
    assert bound.chunk_list(BLOB) == CHUNKS

"""README.md, §6, the client's rows, and F5 to F8 and F11 of §1: a scripted server asserts what it is asked."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.artifacts.manifest import ACCEPT, DOCKER_MANIFEST, MAX_MANIFEST_SIZE, OCI_INDEX, OCI_MANIFEST, Manifest
from fusefs.errors import (
    DigestMismatch,
    InvalidChunk,
    InvalidChunkList,
    InvalidDigest,
    InvalidManifest,
    ModelNotFound,
    NotFound,
    RangeIgnored,
    ResponseError,
    SourceError,
    StallTimeout,
    TlsError,
    TransportError,
    Unauthorized,
    WrongResponse,
)
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.registry import RegistrySource
from fusefs.sources.retry import Retrying
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.names import DEFAULT_HOST, Name
from fusefs.values.settings import Settings
from tests.certificate import make_certificate
from tests.faulty_registry import FaultyRegistry
from tests.reading import FakeClock, read_blob, read_body, read_range
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = Settings(timeout=5, stall=0.25)
DATA = bytes(range(200))
BLOB = Blob(Digest.of(DATA), len(DATA))


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as server:
        yield server


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "no-key", tmp_path / "no-config")


@pytest.fixture
def source(registry: FaultyRegistry, keys: KeyRing) -> Iterator[RegistrySource]:
    with closing(RegistrySource("http", registry.host, SETTINGS, keys=keys)) as made:
        yield made


@pytest.fixture
def retrying(source: RegistrySource) -> Retrying:
    return Retrying(source, timeout=60, counters=Counters(), clock=FakeClock())


@pytest.fixture
def name(registry: FaultyRegistry) -> Name:
    return Name.parse(f"{registry.url}/library/m:latest")


# --- manifests


def test_a_manifest_is_asked_for_with_all_four_types(
    registry: FaultyRegistry, source: RegistrySource, name: Name
) -> None:
    registry.expect("/v2/library/m/manifests/latest", headers={"Accept": ACCEPT}, body=b'{"layers":[]}')
    assert source.manifest(name) == b'{"layers":[]}'


@pytest.mark.parametrize("ollamas", [True, False])
def test_a_digest_is_asked_for_where_the_registry_has_manifests_and_then_in_the_other_place(
    registry: FaultyRegistry, source: RegistrySource, name: Name, ollamas: bool
) -> None:
    """Ollama's registry has them among the blobs; a registry of the specification among the manifests."""
    raw = b'{"layers":[{"digest":"x"}]}'
    name = replace(name, host=DEFAULT_HOST if ollamas else name.host).pinned(Digest.of(raw))
    kinds = ("blobs", "manifests") if ollamas else ("manifests", "blobs")
    first, second = (f"/v2/library/m/{kind}/{Digest.of(raw)}" for kind in kinds)
    registry.expect(first, headers={"Accept": ACCEPT}, body=raw)
    assert source.manifest(name) == raw
    registry.expect(first, answer=Answer(404))
    registry.expect(second, headers={"Accept": ACCEPT}, body=raw)
    assert source.manifest(name) == raw


@pytest.mark.parametrize(
    ("said", "own", "fits"),
    [
        (OCI_MANIFEST, OCI_MANIFEST, True),
        (f"{OCI_MANIFEST.upper()}; charset=utf-8", OCI_MANIFEST, True),
        (OCI_MANIFEST, "", True),
        ("application/octet-stream", OCI_MANIFEST, True),
        (OCI_MANIFEST, OCI_INDEX, False),
        (OCI_INDEX, OCI_MANIFEST, False),
        (DOCKER_MANIFEST, OCI_MANIFEST, False),
        (OCI_MANIFEST, "text/\x1b[31mplain", False),
    ],
)
def test_p10_a_manifest_with_two_media_types_is_refused(
    registry: FaultyRegistry, source: RegistrySource, name: Name, said: str, own: str, fits: bool
) -> None:
    raw = json.dumps({"mediaType": own, "layers": [{"digest": str(BLOB.digest), "size": 1}]}).encode()
    registry.expect("/v2/library/m/manifests/latest", answer=Answer(200, raw, {"Content-Type": said} if said else {}))
    if fits:
        assert source.manifest(name) == raw
        return
    with pytest.raises(InvalidManifest, match=r"the registry calls it .*, and it calls itself") as caught:
        source.manifest(name)
    assert str(caught.value).isprintable()


def test_f7_a_manifest_is_compared_with_its_digest(
    registry: FaultyRegistry, source: RegistrySource, name: Name
) -> None:
    digest = Digest.of(b"what was asked for")
    registry.expect(f"/v2/library/m/manifests/{digest}", body=b'{"layers":[{"digest":"y"}]}')
    with pytest.raises(DigestMismatch) as caught:
        source.manifest(name.pinned(digest))
    assert caught.value.expected == str(digest)


@pytest.mark.parametrize("body", [b"", b"null", b"!!!", b'{"layers":[]}', b"Welcome to the hotel"])
def test_junk_is_no_manifest(registry: FaultyRegistry, source: RegistrySource, name: Name, body: bytes) -> None:
    registry.expect("/v2/library/m/manifests/latest", body=body)
    with pytest.raises(InvalidManifest):
        Manifest.parse(source.manifest(name))


def test_a_page_in_the_place_of_a_manifest_is_called_that(
    registry: FaultyRegistry, source: RegistrySource, name: Name
) -> None:
    registry.expect("/v2/library/m/manifests/latest", body=b"<html>Welcome to the hotel</html>")
    with pytest.raises(WrongResponse, match="HTML page, 'Welcome to the hotel'") as caught:
        source.manifest(name)
    assert registry.host in str(caught.value)
    assert not caught.value.temporary


def test_a_page_in_the_place_of_a_blob_is_called_that(
    registry: FaultyRegistry, source: RegistrySource, name: Name
) -> None:
    answer = Answer(200, b"<html>log in</html>", {"Content-Type": "text/html; charset=utf-8"})
    registry.expect(f"/v2/library/m/blobs/{BLOB.digest}", span=(0, BLOB.size - 1), answer=answer)
    with pytest.raises(WrongResponse, match="bytes 0-199 of 200, got status 200 with 19 bytes of an HTML page"):
        source.open_range(name, BLOB, Chunk(0, BLOB.size - 1))


def test_p10_a_huge_manifest_is_read_to_its_bound_only(
    registry: FaultyRegistry, source: RegistrySource, name: Name
) -> None:
    registry.expect("/v2/library/m/manifests/latest", body=b" " * (MAX_MANIFEST_SIZE + 5_000_000))
    with pytest.raises(InvalidManifest, match="at most"):
        source.manifest(name)


def _index(*digests: Digest) -> bytes:
    return json.dumps({"mediaType": OCI_INDEX, "manifests": [{"digest": str(d)} for d in digests]}).encode()


def test_an_index_is_given_as_it_is_and_its_manifest_by_digest(
    registry: FaultyRegistry, source: RegistrySource, name: Name
) -> None:
    """Which of its manifests is meant is the engine's to say (tests/unit/engine/test_indexes.py)."""
    model = registry.add_model("library/inner:latest", {"model.gguf": DATA})
    registry.add_manifest("library/m:inner", model.manifest)
    index = _index(Digest.of(model.manifest))
    registry.add_manifest("library/m:latest", index, media_type=OCI_INDEX)
    assert source.manifest(name) == index
    assert source.manifest(name.pinned(Digest.of(model.manifest))) == model.manifest


def test_the_manifest_of_an_index_is_compared_with_its_digest(
    registry: FaultyRegistry, source: RegistrySource, name: Name
) -> None:
    digest = Digest.of(b"asked for")
    registry.expect(f"/v2/library/m/manifests/{digest}", body=b'{"layers":[{"digest":"y"}]}')
    with pytest.raises(DigestMismatch):
        source.manifest(name.pinned(digest))


def test_p10_a_document_of_another_kind_than_its_content_type_is_refused(
    registry: FaultyRegistry, source: RegistrySource, name: Name
) -> None:
    answer = Answer(200, _index(Digest.of(b"1")), {"Content-Type": OCI_MANIFEST})
    registry.expect("/v2/library/m/manifests/latest", answer=answer)
    with pytest.raises(InvalidManifest, match="the registry calls it"):
        source.manifest(name)


# --- errors


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"errors": [{"code": "DENIED", "message": "go away"}, {"code": "X"}]}, "status 418: code DENIED: go away"),
        ({"error": "no tea", "code": "TEAPOT"}, "status 418: code TEAPOT: no tea"),
        ({"error": "no tea"}, "status 418: no tea"),
        ({"errors": []}, "status 418: no messages"),
        ({"error": ""}, "status 418: no messages"),
        ({"error": 1}, "status 418: no messages"),
        ({}, "status 418: no messages"),
        ([], "status 418: []"),
        ("plain text\n of two lines", "status 418: plain text of two lines"),
        ("", "status 418: no messages"),
        ("red \x1b[31mtext", "status 418: red �[31mtext"),
    ],
)
def test_an_error_document_is_told(
    registry: FaultyRegistry, source: RegistrySource, name: Name, body: Any, text: str
) -> None:
    raw = body if isinstance(body, str) else json.dumps(body)
    registry.expect("/v2/library/m/manifests/latest", answer=Answer(418, raw.encode()))
    with pytest.raises(ResponseError) as caught:
        source.manifest(name)
    assert str(caught.value) == f"{registry.host}: registry responded with {text}"
    assert not caught.value.temporary


@pytest.mark.parametrize(("status", "code"), [(404, "NAME_UNKNOWN"), (404, ""), (400, "Manifest_Unknown")])
def test_an_unknown_manifest_is_model_not_found(
    registry: FaultyRegistry, source: RegistrySource, name: Name, status: int, code: str
) -> None:
    body = json.dumps({"errors": [{"code": code, "message": "m"}]}).encode()
    registry.expect("/v2/library/m/manifests/latest", answer=Answer(status, body))
    with pytest.raises(ModelNotFound, match="library/m:latest not found") as caught:
        source.manifest(name)
    assert not caught.value.temporary


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_unauthorized(registry: FaultyRegistry, source: RegistrySource, name: Name, status: int) -> None:
    registry.expect("/v2/library/m/manifests/latest", answer=Answer(status, b"no"))
    with pytest.raises(Unauthorized, match=f"status {status}: no"):
        source.manifest(name)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 599])
def test_trouble_of_the_server_is_temporary(
    registry: FaultyRegistry, source: RegistrySource, name: Name, status: int
) -> None:
    registry.fault("status", status=status, retry_after="7")
    with pytest.raises(ResponseError) as caught:
        source.manifest(name)
    assert (caught.value.status, caught.value.temporary, caught.value.retry_after) == (status, True, 7.0)


@pytest.mark.parametrize("status", [400, 418, 451])
def test_other_errors_are_final(registry: FaultyRegistry, source: RegistrySource, name: Name, status: int) -> None:
    registry.fault("html", status=status)
    with pytest.raises(ResponseError, match="Something is wrong") as caught:
        source.manifest(name)
    assert not caught.value.temporary


# --- chunk lists

LIST_URL = f"/v2/library/m/chunksums/{BLOB.digest}"
BLOB_URL = f"/v2/library/m/blobs/{BLOB.digest}"
PAIRS = [(Digest.of(DATA[:50]), Chunk(0, 49)), (Digest.of(DATA[50:]), Chunk(50, 199))]
TEXT = "".join(f"{digest} {chunk}\n" for digest, chunk in PAIRS)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip(),
        TEXT.replace("sha256:", "sha256-"),
        TEXT.replace("\n", "  \r\n\t"),
        "\n".join(reversed(TEXT.splitlines())),
        " ".join(TEXT.split()),
    ],
)
def test_every_spelling_of_a_chunk_list_is_read(
    registry: FaultyRegistry, source: RegistrySource, name: Name, text: str
) -> None:
    registry.expect(LIST_URL, body=text.encode())
    assert source.chunk_list(name, BLOB) == ChunkList.from_pairs(200, PAIRS)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 501])
def test_a_registry_without_chunk_lists_has_none(
    registry: FaultyRegistry, source: RegistrySource, name: Name, status: int
) -> None:
    registry.expect(LIST_URL, answer=Answer(status, b"404 page not found\n"))
    assert source.chunk_list(name, BLOB) is None


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        (f"{PAIRS[0][0]} 0-49\nsha256:! 50-199\n", InvalidDigest, "invalid digest"),
        (f"{PAIRS[0][0]} 0-49\nsha256:!", InvalidDigest, "invalid digest"),
        (f"{PAIRS[0][0]} 049\n", InvalidChunk, "invalid chunk range"),
        (f"{PAIRS[0][0]} 0-x\n", InvalidChunk, "invalid chunk range"),
        (f"{PAIRS[0][0]} 9-0 {PAIRS[1][0]} 10-199\n", InvalidChunk, "invalid chunk range"),
        (f"{PAIRS[0][0]} -1-5\n", InvalidChunk, "invalid chunk range"),
        (f"{PAIRS[0][0]} 0-200\n{PAIRS[1][0]} 0-49\n", InvalidChunkList, "behind the end"),
    ],
)
def test_a_wrong_chunk_list_is_refused_for_good(
    registry: FaultyRegistry, source: RegistrySource, name: Name, text: str, kind: type[Exception], reason: str
) -> None:
    registry.expect(LIST_URL, body=text.encode())
    with pytest.raises(kind, match=reason):
        source.chunk_list(name, BLOB)


@pytest.mark.parametrize("spans", ["0-99,0-99", "0-99,150-249", "0-99,100-198", "1-199", "0-99,99-199"])
def test_f5_coverage_is_contiguous_and_not_a_byte_sum(
    registry: FaultyRegistry, source: RegistrySource, name: Name, spans: str
) -> None:
    registry.expect(LIST_URL, body="".join(f"{BLOB.digest} {span}\n" for span in spans.split(",")).encode())
    with pytest.raises((WrongResponse, InvalidChunkList)):
        source.chunk_list(name, BLOB)


@pytest.mark.parametrize("at", range(0, len(TEXT) - 1, 7))
def test_f11_a_cut_chunk_list_is_asked_for_again(
    registry: FaultyRegistry, retrying: Retrying, name: Name, at: int
) -> None:
    registry.add_model("library/m:latest", {"model.gguf": DATA})
    registry.set_chunksums(BLOB.digest, TEXT.encode())
    registry.fault("cut-body", "/chunksums/", at=at, times=2)
    assert retrying.chunk_list(name, BLOB) == ChunkList.from_pairs(200, PAIRS)
    assert registry.paths() == [LIST_URL] * 3


def test_f11_a_chunk_list_that_breaks_off_is_asked_for_again(
    registry: FaultyRegistry, retrying: Retrying, name: Name
) -> None:
    registry.add_model("library/m:latest", {"model.gguf": DATA})
    registry.fault("reset-amid", "/chunksums/", times=2)
    registry.fault("short-body", "/chunksums/", times=2)
    assert retrying.chunk_list(name, BLOB) == ChunkList.single(BLOB)
    assert registry.paths() == [LIST_URL] * 5


def test_a_list_that_stays_incomplete_is_refused_in_the_end(
    registry: FaultyRegistry, retrying: Retrying, name: Name
) -> None:
    registry.add_model("library/m:latest", {"model.gguf": DATA})
    registry.fault("cut-body", "/chunksums/", at=0, times=None)
    with pytest.raises(WrongResponse, match="incomplete"):
        retrying.chunk_list(name, BLOB)
    assert len(registry.requests) < 10


@pytest.mark.parametrize("size", [-1, 1 << 60])
def test_a_blob_of_impossible_size_has_no_list(
    registry: FaultyRegistry, source: RegistrySource, name: Name, size: int
) -> None:
    registry.add_model("library/m:latest", {"model.gguf": DATA})
    with pytest.raises(InvalidChunkList, match="cannot have"):
        source.chunk_list(name, Blob(BLOB.digest, size))


# --- where the bytes of a blob lie


@pytest.mark.parametrize("location", ["absolute", "relative", "none"])
def test_f6_every_content_location_leads_to_the_blob(location: Any, keys: KeyRing) -> None:
    with FaultyRegistry(content_location=location) as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": DATA})
        with closing(RegistrySource("http", registry.host, SETTINGS, keys=keys)) as source:
            source.chunk_list(model.name, BLOB)
            assert read_blob(source, model.name, BLOB) == DATA
        assert registry.paths() == [LIST_URL, BLOB_URL]


def test_a_signed_content_location_is_read_without_the_registry(keys: KeyRing) -> None:
    with FaultyRegistry() as storage, FaultyRegistry(content_location="signed", storage=storage) as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": DATA})
        with closing(RegistrySource("http", registry.host, SETTINGS, keys=keys)) as source:
            source.chunk_list(model.name, BLOB)
            assert read_blob(source, model.name, BLOB) == DATA
        assert registry.paths() == [LIST_URL]
        assert len(storage.requests) == 1


@pytest.mark.parametrize("location", ["ftp://elsewhere/x", "http://[", "http://host:port/"])
def test_p10_a_content_location_that_is_no_url_is_ignored(
    registry: FaultyRegistry, source: RegistrySource, name: Name, location: str
) -> None:
    registry.expect(LIST_URL, answer=Answer(200, TEXT.encode(), {"Content-Location": location}))
    head = {"Content-Range": "bytes 0-199/200"}
    registry.expect(BLOB_URL, span=(0, 199), answer=Answer(206, DATA, head))
    source.chunk_list(name, BLOB)
    assert read_blob(source, name, BLOB) == DATA


def test_an_expired_signed_url_is_renewed(keys: KeyRing) -> None:
    with FaultyRegistry() as storage, FaultyRegistry(content_location="signed", storage=storage) as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": DATA})
        with closing(RegistrySource("http", registry.host, SETTINGS, keys=keys)) as source:
            source.chunk_list(model.name, BLOB)
            for _ in range(3):
                storage.expire()
                assert read_range(source, model.name, BLOB, 0, 99) == DATA[:100]
                assert read_range(source, model.name, BLOB, 100, 199) == DATA[100:]
        assert registry.paths() == [LIST_URL] + [BLOB_URL] * 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_target_that_refuses_is_asked_for_anew(keys: KeyRing, status: int) -> None:
    with FaultyRegistry() as storage, FaultyRegistry(storage=storage) as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": DATA})
        with closing(RegistrySource("http", registry.host, SETTINGS, keys=keys)) as source:
            assert read_range(source, model.name, BLOB, 0, 0) == DATA[:1]
            storage.fault("status", status=status, times=2)
            assert read_range(source, model.name, BLOB, 1, 1) == DATA[1:2]
        assert registry.paths() == [BLOB_URL] * 3


def test_a_target_that_refuses_for_good_is_an_error(keys: KeyRing) -> None:
    with FaultyRegistry() as storage, FaultyRegistry(storage=storage) as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": DATA})
        storage.fault("status", status=403, times=None)
        with (
            closing(RegistrySource("http", registry.host, SETTINGS, keys=keys)) as source,
            pytest.raises(Unauthorized),
        ):
            source.open_range(model.name, BLOB, Chunk(0, 0))
        assert len(registry.requests) == 2


def test_a_dead_target_is_forgotten(registry: FaultyRegistry, retrying: Retrying, name: Name) -> None:
    registry.add_model("library/m:latest", {"model.gguf": DATA})
    registry.fault("redirect", "/blobs/", to="http://127.0.0.1:1/gone")
    assert read_blob(retrying, name, BLOB) == DATA


def test_f6_authorization_goes_to_the_registrys_own_host_only(keys: KeyRing) -> None:
    with FaultyRegistry() as storage, FaultyRegistry(token="sesame", storage=storage) as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": DATA})
        with closing(RegistrySource("http", registry.host, SETTINGS, keys=keys)) as source:
            source.manifest(model.name)
            source.chunk_list(model.name, BLOB)
            assert read_range(source, model.name, BLOB, 0, 99) == DATA[:100]
            assert read_range(source, model.name, BLOB, 100, 199) == DATA[100:]
        blobs = [request for request in registry.requests if "/blobs/" in request.path]
        assert [request.headers["authorization"] for request in blobs] == ["Bearer sesame"] * len(blobs)
        assert storage.requests
        assert not any("authorization" in request.headers for request in storage.requests)


# --- ranges


def test_a_range_request_is_framed_as_agreed(registry: FaultyRegistry, source: RegistrySource, name: Name) -> None:
    head = {"Content-Range": "bytes 10-19/200"}
    wanted = {"Range": "bytes=10-19", "Accept-Encoding": "identity"}
    registry.expect(BLOB_URL, span=(10, 19), headers=wanted, answer=Answer(206, DATA[10:20], head))
    assert read_range(source, name, BLOB, 10, 19) == DATA[10:20]
    assert "if-range" not in registry.requests[0].headers


def test_a_total_of_star_is_accepted(registry: FaultyRegistry, source: RegistrySource, name: Name) -> None:
    head = {"Content-Range": "bytes 10-19/*"}
    registry.expect(BLOB_URL, span=(10, 19), answer=Answer(206, DATA[10:20], head))
    assert read_range(source, name, BLOB, 10, 19) == DATA[10:20]


@pytest.mark.parametrize("chunked", [True, False])
def test_f8_200_counts_when_the_range_is_the_whole_blob(
    registry: FaultyRegistry, source: RegistrySource, name: Name, chunked: bool
) -> None:
    registry.expect(BLOB_URL, span=(0, 199), answer=Answer(200, DATA, chunked=chunked))
    assert read_blob(source, name, BLOB) == DATA


FRAME_FAULTS = [
    "wrong-content-range",
    "wrong-total",
    "no-content-range",
    "wrong-length",
    "short-clean",
    "long-body",
    "long-chunked",
    "cut-body",
    "gzip",
]


@pytest.mark.parametrize("kind", FRAME_FAULTS)
def test_f8_a_wrong_frame_is_refused_and_temporary(
    registry: FaultyRegistry, source: RegistrySource, name: Name, kind: Any
) -> None:
    registry.add_model("library/m:latest", {"model.gguf": DATA})
    registry.fault(kind)
    with pytest.raises((WrongResponse, TransportError)) as caught:
        read_range(source, name, BLOB, 20, 119)
    assert caught.value.temporary
    assert read_range(source, name, BLOB, 20, 119) == DATA[20:120]


@pytest.mark.parametrize(
    "kind",
    [*FRAME_FAULTS, "short-body", "reset-before", "reset-amid", "reset-after", "silence-before", "silence-amid"],
)
def test_every_fault_of_the_wire_ends_in_the_right_bytes(
    registry: FaultyRegistry, retrying: Retrying, name: Name, kind: Any
) -> None:
    registry.add_model("library/m:latest", {"model.gguf": DATA})
    registry.fault(kind, times=3)
    assert read_range(retrying, name, BLOB, 20, 119) == DATA[20:120]


WIDER = ["bytes 0-99/200", "bytes 10-199/200", "bytes 5-30/200", "bytes 10-20/*"]


@pytest.mark.parametrize("said", WIDER)
@pytest.mark.parametrize("chunked", [True, False])
def test_what_was_asked_for_is_taken_out_of_a_wider_range(
    registry: FaultyRegistry, source: RegistrySource, name: Name, said: str, chunked: bool
) -> None:
    """Caches give whole blocks of their own."""
    start, _, end = said.removeprefix("bytes ").partition("/")[0].partition("-")
    body = DATA[int(start) : int(end) + 1]
    registry.expect(BLOB_URL, span=(10, 19), answer=Answer(206, body, {"Content-Range": said}, chunked=chunked))
    assert read_range(source, name, BLOB, 10, 19) == DATA[10:20]
    assert not source.ignores_range


@pytest.mark.parametrize("said", ["10-19/200", "BYTES 10-19/200", "bytes=10-19/200"])
def test_a_range_needs_no_unit(registry: FaultyRegistry, source: RegistrySource, name: Name, said: str) -> None:
    registry.expect(BLOB_URL, span=(10, 19), answer=Answer(206, DATA[10:20], {"Content-Range": said}))
    assert read_range(source, name, BLOB, 10, 19) == DATA[10:20]


CONTRADICTIONS = [
    ("bytes 11-19/200", DATA[11:20]),  # not all of it
    ("bytes 10-18/200", DATA[10:19]),
    ("bytes 10-200/200", DATA[10:] + b"x"),  # behind the end
    ("bytes 19-10/200", DATA[10:20]),
    ("bytes 5-30/200", DATA[10:20]),  # another length
    ("bytes 10-19/199", DATA[10:20]),
    ("bits 10-19/200", DATA[10:20]),
]


@pytest.mark.parametrize(("said", "body"), CONTRADICTIONS, ids=[said for said, _ in CONTRADICTIONS])
def test_a_range_that_contradicts_itself_is_refused(
    registry: FaultyRegistry, source: RegistrySource, name: Name, said: str, body: bytes
) -> None:
    registry.expect(BLOB_URL, span=(10, 19), answer=Answer(206, body, {"Content-Range": said}))
    with pytest.raises(WrongResponse, match="asked for bytes 10-19 of 200, got"):
        source.open_range(name, BLOB, Chunk(10, 19))


@pytest.mark.logs("ignores Range")
def test_all_of_a_blob_where_a_part_was_asked_for_is_given_as_all(
    registry: FaultyRegistry, source: RegistrySource, name: Name
) -> None:
    head = {"Content-Range": "bytes 0-199/200"}
    for answer in (Answer(200, DATA), Answer(200, DATA, chunked=True), Answer(206, DATA, head)):
        registry.expect(BLOB_URL, span=(10, 19), answer=answer)
        with closing(source.open_range(name, BLOB, Chunk(10, 19))) as body:
            assert body.given == Chunk(0, 199)
            assert read_body(body, 300) == DATA
        assert source.ignores_range
    source.refresh()
    assert not source.ignores_range


@pytest.mark.logs("ignores Range")
def test_a_host_that_gives_parts_again_is_believed(
    registry: FaultyRegistry, source: RegistrySource, name: Name
) -> None:
    registry.add_model("library/m:latest", {"model.gguf": DATA})
    registry.fault("whole-for-range")
    source.open_range(name, BLOB, Chunk(10, 19)).close()
    assert source.ignores_range
    assert read_range(source, name, BLOB, 10, 19) == DATA[10:20]
    assert not source.ignores_range


@pytest.mark.logs("ignores Range")
def test_a_whole_blob_that_is_cut_goes_on_where_it_broke(keys: KeyRing) -> None:
    with FaultyRegistry(ranges=False) as registry:
        name = registry.add_model("library/m:latest", {"model.gguf": DATA}).name
        registry.fault("reset-amid", at=50)
        registry.fault("short-body", at=120)
        registry.fault("reset-amid", at=60)  # before what it had reached
        with closing(RegistrySource("http", registry.host, SETTINGS, keys=keys)) as inner:
            source = Retrying(inner, timeout=60, counters=Counters(), clock=FakeClock())
            with closing(source.open_range(name, BLOB, Chunk(10, 19))) as body:
                assert body.given == Chunk(0, 199)
                assert read_body(body, 300) == DATA
        assert registry.asked(BLOB.digest) == [(10, 19), (50, 199), (120, 199), (120, 199)]


@pytest.mark.logs("ignores Range")
def test_the_rest_of_a_whole_blob_is_taken_as_a_range_where_that_is_given(
    registry: FaultyRegistry, retrying: Retrying, name: Name
) -> None:
    registry.add_model("library/m:latest", {"model.gguf": DATA})
    registry.expect(BLOB_URL, span=(10, 19), answer=Answer(200, DATA[:50], {}, chunked=True))
    head = {"Content-Range": "bytes 50-199/200"}
    registry.expect(BLOB_URL, span=(50, 199), answer=Answer(206, DATA[50:], head))
    with closing(retrying.open_range(name, BLOB, Chunk(10, 19))) as body:
        assert read_body(body, 300) == DATA


@pytest.mark.logs("ignores Range")
def test_the_rest_of_a_part_is_not_taken_out_of_a_whole_blob(
    registry: FaultyRegistry, retrying: Retrying, name: Name
) -> None:
    registry.add_model("library/m:latest", {"model.gguf": DATA})
    registry.fault("reset-amid", at=5)
    registry.fault("whole-for-range")
    with pytest.raises(RangeIgnored):
        read_range(retrying, name, BLOB, 10, 19)


@pytest.mark.parametrize("kind", ["short-body", "silence-amid"])
def test_a_broken_range_goes_on_where_it_broke(
    registry: FaultyRegistry, retrying: Retrying, name: Name, kind: Any
) -> None:
    registry.add_model("library/m:latest", {"model.gguf": DATA})
    registry.fault(kind, at=30, times=3)
    assert read_range(retrying, name, BLOB, 20, 199) == DATA[20:]
    assert registry.asked(BLOB.digest) == [(20, 199), (50, 199), (80, 199), (110, 199)]
    assert set(registry.sent(BLOB.digest)[20:]) == {1}


def test_416_is_final_and_ends_the_connection(registry: FaultyRegistry, source: RegistrySource, name: Name) -> None:
    """Its Content-Length is that of the whole blob with docker-registry, so the connection cannot serve again."""
    registry.expect(BLOB_URL, span=(0, 199), answer=Answer(416, b"x" * 200))
    with pytest.raises(ResponseError) as caught:
        source.open_range(name, BLOB, Chunk(0, 199))
    assert (caught.value.status, caught.value.temporary) == (416, False)


def test_an_unknown_blob_says_so(registry: FaultyRegistry, source: RegistrySource, name: Name) -> None:
    with pytest.raises(NotFound, match="code BLOB_UNKNOWN"):
        source.open_range(name, BLOB, Chunk(0, 0))


def test_silence_after_the_head_is_a_stall_in_time(
    registry: FaultyRegistry, source: RegistrySource, name: Name
) -> None:
    registry.add_model("library/m:latest", {"model.gguf": DATA})
    registry.fault("silence-amid", at=0)
    with pytest.raises(StallTimeout):
        read_blob(source, name, BLOB)
    assert read_blob(source, name, BLOB) == DATA


def test_p6_a_byte_a_moment_holds_nobody_for_ever(registry: FaultyRegistry, keys: KeyRing, name: Name) -> None:
    registry.add_model("library/m:latest", {"model.gguf": DATA})
    registry.fault("trickle", interval=0.05)
    settings = Settings(timeout=0.4, stall=0.25)
    with (
        closing(RegistrySource("http", registry.host, settings, keys=keys)) as source,
        pytest.raises(StallTimeout, match="no complete answer"),
    ):
        read_blob(source, name, BLOB)


# --- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_redirect_is_followed_with_its_range(keys: KeyRing, status: int) -> None:
    head = {"Content-Range": "bytes 5-9/200"}
    with FaultyRegistry() as other, FaultyRegistry() as registry:
        registry.expect(BLOB_URL, span=(5, 9), answer=Answer(status, b"moved", {"Location": f"{other.url}/there?x=1"}))
        other.expect("/there?x=1", span=(5, 9), answer=Answer(206, DATA[5:10], head))
        name = Name.parse(f"{registry.url}/library/m:latest")
        with closing(RegistrySource("http", registry.host, SETTINGS, keys=keys)) as source:
            assert read_range(source, name, BLOB, 5, 9) == DATA[5:10]


def test_a_relative_redirect_is_followed(registry: FaultyRegistry, source: RegistrySource, name: Name) -> None:
    registry.expect("/v2/library/m/manifests/latest", answer=Answer(302, b"", {"Location": "other"}))
    registry.expect("/v2/library/m/manifests/other", body=b"{}")
    assert source.manifest(name) == b"{}"


def test_a_redirect_loop_ends(registry: FaultyRegistry, retrying: Retrying, name: Name) -> None:
    registry.fault("redirect-loop", times=None)
    with pytest.raises(WrongResponse, match="too many redirects"):
        retrying.manifest(name)
    assert len(registry.requests) < 10


def test_an_endless_chain_of_redirects_ends(registry: FaultyRegistry, source: RegistrySource, name: Name) -> None:
    for i in range(12):
        registry.fault("redirect", to=f"/hop/{i}")
    with pytest.raises(WrongResponse, match="too many redirects"):
        source.manifest(name)
    assert len(registry.requests) == 11


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://[::1", "gopher:x"])
def test_p10_a_redirect_to_what_is_not_http_is_refused(
    registry: FaultyRegistry, source: RegistrySource, name: Name, target: str
) -> None:
    registry.fault("redirect", to=target)
    with pytest.raises(SourceError):
        source.manifest(name)
    assert len(registry.requests) == 1


# --- TLS


def test_an_unknown_certificate_fails_at_once(tmp_path: Path, keys: KeyRing) -> None:
    with FaultyRegistry(certificate=make_certificate(tmp_path)) as registry:
        name = Name.parse(f"{registry.url}/library/m:latest")
        with (
            closing(RegistrySource("https", registry.host, SETTINGS, keys=keys)) as source,
            pytest.raises(TlsError, match="not trusted") as caught,
        ):
            source.manifest(name)
        assert not caught.value.temporary
        assert registry.requests == []


def test_https_insecure_asks_for_no_certificate(tmp_path: Path, keys: KeyRing) -> None:
    with FaultyRegistry(certificate=make_certificate(tmp_path)) as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": DATA})
        name = replace(model.name, scheme="https+insecure")
        with closing(RegistrySource(name.scheme, registry.host, SETTINGS, keys=keys)) as source:
            assert source.manifest(name) == model.manifest


def test_a_trusted_certificate_works(tmp_path: Path, keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    with FaultyRegistry(certificate=certificate) as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": DATA})
        with closing(RegistrySource("https", registry.host, SETTINGS, keys=keys)) as source:
            assert source.manifest(model.name) == model.manifest


def test_a_certificate_for_another_host_fails(tmp_path: Path, keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path, names=("elsewhere.example",), address="127.9.9.9")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    with FaultyRegistry(certificate=certificate) as registry:
        name = Name.parse(f"{registry.url}/library/m:latest")
        with (
            closing(RegistrySource("https", registry.host, SETTINGS, keys=keys)) as source,
            pytest.raises(TlsError, match="not trusted"),
        ):
            source.manifest(name)


def test_p10_a_redirect_out_of_tls_is_refused(tmp_path: Path, keys: KeyRing) -> None:
    with FaultyRegistry() as plain, FaultyRegistry(certificate=make_certificate(tmp_path)) as registry:
        registry.fault("redirect", to=f"{plain.url}/x")
        name = Name.parse(f"https+insecure://{registry.host}/library/m:latest")
        with (
            closing(RegistrySource(name.scheme, registry.host, SETTINGS, keys=keys)) as source,
            pytest.raises(SourceError, match="refused"),
        ):
            source.manifest(name)
        assert plain.requests == []


def test_a_server_without_tls_is_told_apart(registry: FaultyRegistry, keys: KeyRing, name: Name) -> None:
    with (
        closing(RegistrySource("https", registry.host, SETTINGS, keys=keys)) as source,
        pytest.raises((TlsError, TransportError)),
    ):
        source.manifest(name)

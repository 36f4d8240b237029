"""Blobs over HTTP: ranges, tags, HEAD, errors, many clients."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fusefs.values.digest import Digest
from tests.serve.world import noise, serving, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.serve.world import Client

SIZE = 3_000_001
CONTENT = noise(SIZE)
DIGEST = Digest.of(CONTENT)
BLOB = f"/v2/local/m/blobs/{DIGEST}"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("blobs")
    write_tree(root / "models" / "m", {"f": CONTENT, "empty": b""})
    with serving(root / "models", root / "index", chunk_size=1 << 16) as running:
        yield running.client


@pytest.mark.parametrize(
    ("text", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-1048575", 0, 1 << 20),
        ("bytes=1048575-1048576", 1048575, 1048577),
        (f"bytes=0-{SIZE - 1}", 0, SIZE),
        (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("bytes=5-", 5, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        (f"bytes=-{SIZE}", 0, SIZE),
        (f"bytes=-{SIZE + 1}", 0, SIZE),
        (f"bytes=10-{SIZE + 10}", 10, SIZE),
        ("bytes=10-9999999999999999999", 10, SIZE),
        ("BYTES = 1-2", 1, 3),
    ],
)
def test_one_range_gives_those_bytes(client: Client, text: str, start: int, stop: int) -> None:
    answer = client.get(BLOB, Range=text)
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert answer.headers["Content-Length"] == str(stop - start)
    assert answer.body == CONTENT[start:stop]


@pytest.mark.parametrize("text", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE}", "bytes=9999999999999999999-", "bytes=-0"])
def test_a_range_without_a_byte_is_416(client: Client, text: str) -> None:
    answer = client.get(BLOB, Range=text)
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"
    assert answer.error == ("RANGE_INVALID", f"the blob has {SIZE} bytes")


@pytest.mark.parametrize("text", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_no_range_of_an_empty_blob_has_a_byte(client: Client, text: str) -> None:
    assert client.get(f"/v2/local/m/blobs/{Digest.of(b'')}", Range=text).status == 416


@pytest.mark.parametrize(
    "text",
    [
        "bytes=5-2",
        "bytes=-",
        "bytes=",
        "items=0-1",
        "bytes=0-1,5-6",
        "bytes=a-b",
        "bytes=+1-2",
        "0-1",
        "bytes=\u0661-\u0662",
    ],
)
def test_what_is_no_single_range_gives_everything(client: Client, text: str) -> None:
    answer = client.get(BLOB, Range=text.encode().decode("latin-1"))
    assert (answer.status, answer.body) == (200, CONTENT)


def test_the_whole_blob_says_what_it_is(client: Client) -> None:
    answer = client.get(BLOB)
    assert answer.body == CONTENT
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] == f'"{DIGEST}"'
    assert answer.headers["Docker-Content-Digest"] == str(DIGEST)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "Server" not in answer.headers


def test_an_empty_blob_is_an_empty_body(client: Client) -> None:
    answer = client.get(f"/v2/local/m/blobs/{Digest.of(b'')}")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "0", b"")


def test_head_says_the_length_and_sends_nothing(client: Client) -> None:
    for headers in ({}, {"Range": "bytes=0-9"}):
        answer = client.get(BLOB, "HEAD", **headers)
        assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, str(SIZE), b"")


@pytest.mark.parametrize("tags", [f'"{DIGEST}"', "*", f'"x", W/"{DIGEST}"'])
def test_a_blob_that_the_client_has_is_304(client: Client, tags: str) -> None:
    for path in (BLOB, BLOB.replace("blobs", "BLOBS").replace("BLOBS", "blobs")):
        answer = client.get(path, If_None_Match=tags)
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", f'"{DIGEST}"')


def test_if_range_with_another_tag_gives_everything(client: Client) -> None:
    assert client.get(BLOB, Range="bytes=0-1", If_Range='"other"').status == 200
    assert client.get(BLOB, Range="bytes=0-1", If_Range=f'"{DIGEST}"').status == 206


def test_a_manifest_that_the_client_has_is_304(client: Client) -> None:
    first = client.get("/v2/local/m/manifests/latest")
    again = client.get("/v2/local/m/manifests/latest", If_None_Match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"")


def test_head_of_a_manifest(client: Client) -> None:
    full, head = client.get("/v2/local/m/manifests/latest"), client.get("/v2/local/m/manifests/latest", "HEAD")
    assert head.body == b""
    for name in ("Content-Length", "Content-Type", "Docker-Content-Digest", "ETag"):
        assert head.headers[name] == full.headers[name]


def test_the_manifest_is_also_a_blob_with_ranges(client: Client) -> None:
    manifest = client.get("/v2/local/m/manifests/latest")
    path = f"/v2/local/m/blobs/{manifest.headers['Docker-Content-Digest']}"
    assert client.get(path).body == manifest.body
    part = client.get(path, Range="bytes=2-5")
    assert (part.status, part.body) == (206, manifest.body[2:6])
    assert client.get(path, Range=f"bytes={len(manifest.body)}-").status == 416


def test_both_spellings_of_a_digest_are_the_same_blob(client: Client) -> None:
    assert client.get(f"/v2/local/m/blobs/{DIGEST.file_name}").body == CONTENT
    assert client.get(f"/v2/local/m/blobs/sha256:{DIGEST.hex.upper()}").body == CONTENT


def test_version_check(client: Client) -> None:
    for path in ("/v2/", "/v2"):
        answer = client.get(path)
        assert (answer.status, answer.json()) == (200, {})
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/else", 404, "NOT_FOUND"),
        ("/v2/local/m/blobs", 404, "NOT_FOUND"),
        ("/v2/local/none/manifests/latest", 404, "NAME_UNKNOWN"),
        ("/v2/local/none/tags/list", 404, "NAME_UNKNOWN"),
        (f"/v2/local/none/blobs/{DIGEST}", 404, "NAME_UNKNOWN"),
        (f"/v2/local/none/chunksums/{DIGEST}", 404, "NAME_UNKNOWN"),
        ("/v2/library/m/manifests/latest", 404, "NAME_UNKNOWN"),
        ("/v2/local/m/manifests/other", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/local/m/manifests/{DIGEST}", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/local/m/blobs/{Digest.of(b'no')}", 404, "BLOB_UNKNOWN"),
        (f"/v2/local/m/chunksums/{Digest.of(b'no')}", 404, "BLOB_UNKNOWN"),
        ("/v2/local/m/blobs/sha256:12", 400, "DIGEST_INVALID"),
        ("/v2/local/m/manifests/sha256:12", 400, "DIGEST_INVALID"),
        ("/v2/local/m/chunksums/x", 400, "DIGEST_INVALID"),
        ("/v2/-local/m/manifests/latest", 400, "NAME_INVALID"),
        ("/v2/local/m/manifests/-latest", 400, "NAME_INVALID"),
    ],
)
def test_errors_have_the_registrys_form(client: Client, path: str, status: int, code: str) -> None:
    answer = client.get(path)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.error[0] == code
    assert answer.error[1]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_writing_is_refused(client: Client, method: str) -> None:
    answer = client.get(BLOB, method)
    assert (answer.status, answer.error[0]) == (405, "UNSUPPORTED")
    assert set(re.split(r", *", answer.headers["Allow"])) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    "path",
    [
        "/v2/local/m/blobs/../../../../etc/passwd",
        "/v2/local/../local/manifests/latest",
        "/v2/local/m/manifests/..",
        "/v2/local/m/manifests/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v2/local/m/manifests/..%2f..%2f",
        "/v2/%2e%2e/%2e%2e/manifests/latest",
        "/v2/local/m%00/manifests/latest",
        "/v2/local/m/blobs/%2fetc%2fpasswd",
        "//etc/passwd",
        "/v2/local/m/manifests/latest%0d%0aX-Injected:1",
        "/v2/" + "a" * 5000 + "/m/manifests/latest",
        "/v2/local/m/manifests/%ff%fe",
    ],
)
def test_p10_path_tricks_are_refused(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status in (400, 404)
    assert "X-Injected" not in answer.headers
    assert client.get("/v2/").status == 200


def test_twenty_clients_at_once_get_right_bytes(client: Client) -> None:
    def fetch(i: int) -> Digest:
        whole = client.get(BLOB).body
        start = i * 100_003
        part = client.get(BLOB, Range=f"bytes={start}-{start + 99_999}")
        assert part.body == CONTENT[start : start + 100_000]
        return Digest.of(whole)

    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(fetch, range(20))) == [DIGEST] * 20

"""Small values: names, digests, addresses, sizes and times on the command line, and the Range header of a request."""

from __future__ import annotations

import threading
from contextlib import suppress

from fusefs.artifacts.manifest import ACCEPT, OCI_MANIFEST
from fusefs.errors import InvalidInput, InvalidName
from fusefs.serve.accept import wants_oci
from fusefs.serve.byteranges import Unsatisfiable, matches, requested_range
from fusefs.serve.passwords import Passwords, read_hashes
from fusefs.values.chunks import Chunk
from fusefs.values.digest import Digest
from fusefs.values.names import BaseUrl, Name
from fusefs.values.settings import MAX_SECONDS, parse_age, parse_seconds, parse_size
from tests.components import HTPASSWD
from tests.fuzz.target import NUMBERS, Target


def name(data: bytes) -> None:
    """A name comes back from its text, and each of its parts is one component of a path."""
    text = data.decode("utf-8", "surrogateescape")
    for parse in (Name.parse, Name.parse_qualified):
        try:
            found = parse(text)
        except InvalidInput:
            continue
        assert Name.parse(str(found)) == found
        assert Name.parse(found.short).key == found.key
        assert Name.from_path(*found.path).key == found.key
        assert not {"", ".", ".."}.intersection(found.path)
        assert not any(char in part for part in found.path for char in "/\0\n")
        assert all(part.isascii() and part.isprintable() for part in found.path)
    parts = text.split("/")
    if len(parts) == 4:
        with suppress(InvalidName):
            assert Name.from_path(parts[0], parts[1], parts[2], parts[3]).path == tuple(parts)


def base_url(data: bytes) -> None:
    """The address of a mirror comes back from its text, and holds no user, password or path."""
    try:
        found = BaseUrl.parse(data.decode("utf-8", "surrogateescape"))
    except InvalidInput:
        return
    assert BaseUrl.parse(str(found)) == found
    assert not set("@/?# \n").intersection(found.host)


def small_value(data: bytes) -> None:
    """A digest, a range, a size or a time is within its bounds and comes back from its text."""
    text = data.decode("utf-8", "surrogateescape")
    with suppress(InvalidInput):
        assert Digest.parse(str(Digest.parse(text))) == Digest.parse(text)
    with suppress(InvalidInput):
        chunk = Chunk.parse(text)
        assert 0 <= chunk.start <= chunk.end < 10**19
        assert Chunk.parse(str(chunk)) == chunk
    with suppress(InvalidInput):
        assert 1 <= parse_size(text) < 1 << 101
    with suppress(InvalidInput):
        assert 0 < parse_seconds(text) <= MAX_SECONDS < threading.TIMEOUT_MAX
    with suppress(InvalidInput):
        assert 0 < parse_age(text) < 1e16


def range_header(data: bytes) -> None:
    """A range that a server answers lies in what it has; anything else is everything, or nothing."""
    header = data.decode("latin-1")  # as servers hand them on
    for size in (0, 1, 5000, 1 << 44):
        try:
            chunk = requested_range(header, size)
        except Unsatisfiable:
            continue
        assert chunk is None or 0 <= chunk.start <= chunk.end < size
    assert matches(header, '"x"') in (False, True)


_PASSWORDS = Passwords(read_hashes(HTPASSWD.encode(), "file"))


def client_header(data: bytes) -> None:
    """What a client sends of itself lets nobody in, and asks for one form or the other."""
    header = data.decode("latin-1")
    assert not _PASSWORDS.knows(header)
    assert not _PASSWORDS.admits(header)
    assert wants_oci([header]) in (False, True)
    assert wants_oci([header, header]) is wants_oci([header]) or OCI_MANIFEST in header.lower()


def password_file(data: bytes) -> None:
    """A file of passwords is people and hashes that take a bounded time, or is refused."""
    with suppress(InvalidInput):
        for person, hashed in read_hashes(data, "file").items():
            assert person
            assert b":" not in person
            assert 4 <= int(hashed[4:6]) <= 15


_DIGEST = str(Digest.of(b"")).encode()
_NAMES = (
    b"llama3.2:1b",
    b"registry.ollama.ai/library/llama3.2:1b",
    b"http://127.0.0.1:8080/local/a:latest",
    b"m@" + _DIGEST,
    b"h:1/n/m/t",
    b"oci://ghcr.io/a/b.c/d__e/m:v1@" + _DIGEST,
    b"docker://ai/smollm2:360M",
    b"oci+http://h/flat",
    b"h/+/m/t",
    b"h/a+b/m/t",
)
_SIGNS = (b"://", b"@", b":", b"/", b"..", b"+")
_SMALL = (_DIGEST, Digest.of(b"x").file_name.encode(), b"0-99", b"64MiB", b"1.5 GiB", b"300", b"5m", b"0.5h", b"2w")
_RANGES = (b"bytes=0-99", b"bytes=-5", b"bytes=5-", b"bytes = , 0 - 1 ,", b"bytes=0-1,5-9", b'W/"x", "y"', b"*")
_HEADERS = (
    b"Basic dXNlcjp3cm9uZw==",
    b"basic Og==",
    b"Bearer x",
    ACCEPT.encode(),
    f"{OCI_MANIFEST};q=0.5, */*".encode(),
)
_PEOPLE = (HTPASSWD.encode(), b"# a\n\nu:$2y$31$" + b"a" * 53, b"u:{SHA}x")
_URLS = (b"https://registry.example", b"http://[::1]:5000", b"https+insecure://h:1")

TARGETS = (
    Target("name", name, lambda: _NAMES, (*_SIGNS, b"https+insecure", b"oci", b"docker.io/", _DIGEST), 1024),
    Target("base-url", base_url, lambda: _URLS, (b"@", b":65536", b"[", b"]", b"://"), 512),
    Target("small-value", small_value, lambda: _SMALL, (b"sha256:", "٣".encode(), "\u212a".encode(), *NUMBERS), 256),
    Target("client-header", client_header, lambda: _HEADERS, (b"Basic ", b";q=0", b",", OCI_MANIFEST.encode()), 512),
    Target("password-file", password_file, lambda: _PEOPLE, (b"$2b$04$", b":", b"#", b"\n"), 1024),
    Target("range-header", range_header, lambda: _RANGES, (b"bytes", b"=", b"-", b" , ", *NUMBERS), 512),
)

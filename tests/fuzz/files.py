"""Files that somebody else may have written: map files, pins, Docker's configuration, keys."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fusefs.artifacts.manifest import Manifest
from fusefs.cache.blob.chunkmap import ChunkMap
from fusefs.cache.blob.mapfile import ABSENT, CLAIMED, last_use, open_locked, peek
from fusefs.cache.documents.links import Links
from fusefs.cache.documents.pins import Pins
from fusefs.errors import InvalidSetting
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.dockerconfig import entry_of
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.digest import Digest
from tests.fuzz.manifests import TARGETS as MANIFESTS
from tests.fuzz.target import NUMBERS, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOB = Blob(Digest.of(b"blob"), 1000)
LIST = ChunkList.from_pairs(1000, [(Digest.of(b"%d" % i), Chunk(100 * i, 100 * i + 99)) for i in range(10)])


@cache
def folder() -> Path:
    """A folder for this process."""
    made = tempfile.TemporaryDirectory(prefix="fusefs-fuzz-")
    _kept.append(made)  # it is removed when the interpreter ends
    return Path(made.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


def written(name: str, data: bytes) -> Path:
    """A file of one's own that holds `data`."""
    path = folder() / name
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    return path


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Complaints are said once a text, and here every input has its own."""
    log = logging.getLogger("fusefs.sources.registry.credentials")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def map_file(data: bytes) -> None:
    """A map of as many states as there are chunks, none of which says that a chunk is here for no reason."""
    path = written("map", data)
    states = peek(path, BLOB)
    assert len(states) <= max(0, len(data) - 128)
    assert last_use(path) >= 0
    for anew in (False, True):
        map_ = ChunkMap.attach(path, open_locked(path), BLOB, LIST, otherwise=CLAIMED, anew=anew)
        try:
            found = [map_[index] for index in range(len(LIST))]
            ours = data[:16] == b"fusefs-map 1\n\0\0\0" and data[16:48] == BLOB.digest.raw and len(data) == 138
            assert (ours and not anew) or set(found) == {CLAIMED}
            before = -1
            for start, stop in map_.byte_ranges(LIST):
                assert before < start < stop <= BLOB.size
                before = stop
            map_.claim_present(arrived_too=True)
            assert not any(map_[index] == 1 for index in range(len(LIST)))
            map_.mark_all(ABSENT)
            assert map_.all_in((ABSENT,))
        finally:
            map_.close()
        path.unlink()
        path = written("map", data)


def pin(data: bytes) -> None:
    """A pinned model whose manifest may be anything keeps what it names, or nothing; nothing is raised."""
    root = folder()
    place = root / "pins" / "h" / "n" / "m"
    place.mkdir(parents=True, exist_ok=True)
    (place / "t").write_bytes(data)
    pins = Pins(root / "pins", Links(root / "links", root), root)
    digests = pins.digests()
    try:
        blobs = {blob.digest for blob in Manifest.parse(data).blobs()}
    except Exception:  # the manifest's own target looks at what it raises
        assert not digests
        return
    assert digests == blobs | {Digest.of(data)}


def docker_config(data: bytes) -> None:
    """What may stand in a header, or nothing; and helpers that are programs' names.  None is started here."""
    for host in ("registry.example", "registry.example:5000", "docker.io"):
        try:
            login = entry_of(data, host, "ns/repository")
        except InvalidSetting as exc:
            assert str(exc).startswith("it is no JSON")  # most bytes are none
            continue
        assert login.found is not bool(login.lack)
        assert b":" in login.pair or not login.pair
        login.pair.decode()
        assert login.token.isprintable()
        assert login.lack.isprintable()
        assert all(re.fullmatch(r"[\w.-]{1,64}", helper.name, re.ASCII) for helper in login.helpers)


def key_file(data: bytes) -> None:
    """A key that signs, or none; the bytes are those of the file, and those inside its armour."""
    for content in (data, _pem(data)):
        with _unlogged():
            signer = KeyRing(written("key", content), folder() / "no-config").signer()
        if signer is not None:
            secret = signer.authorization("https://registry.example/token?ts=1")
            assert secret.value.isascii()
            assert secret.value.isprintable()


def _map_seeds() -> list[bytes]:
    path = written("seed", b"")
    map_ = ChunkMap.attach(path, open_locked(path), BLOB, LIST, otherwise=ABSENT, anew=False)
    map_.mark(3, 1)
    map_.mark(4, 1)
    map_.close()
    now = path.read_bytes()
    return [now, now[:-1], now + b"\1", now[:96] + b"another boot id!" + now[112:], now[:60], b""]


def _config_seeds() -> list[bytes]:
    auth = base64.b64encode(b"user:password").decode()
    documents: list[object] = [
        {"auths": {"registry.example": {"auth": auth}, "https://registry.example:5000/v1/": {"auth": ""}}},
        {"auths": {"127.0.0.1:5000": {"username": "user", "password": "word"}}, "credsStore": "x"},
        {
            "auths": {
                "https://index.docker.io/v1/": {"identitytoken": "t"},
                "registry.example/ns": {"registrytoken": "r"},
            }
        },
        {"credHelpers": {"registry.example": "ecr-login", "docker.io": "../x"}},
        {},
    ]
    return [json.dumps(document).encode() for document in documents]


def _key_seeds() -> list[bytes]:
    inner = _openssh(bytes(range(32)))
    return [_pem(inner), inner, b"", _pem(inner.replace(b"none", b"bcry"))]


def _openssh(secret: bytes) -> bytes:
    """The binary inside of an OpenSSH private key; by hand, because its own writer adds random numbers."""
    kind = _field(b"ssh-ed25519")
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    private = bytes(8) + kind + _field(public) + _field(secret + public) + _field(b"me")
    private += bytes(range(1, 1 + -len(private) % 8))
    head = _field(b"none") + _field(b"none") + _field(b"") + (1).to_bytes(4, "big")
    return b"openssh-key-v1\0" + head + _field(kind + _field(public)) + _field(private)


def _field(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _pem(inner: bytes) -> bytes:
    text = base64.encodebytes(inner)
    return b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + text + b"-----END OPENSSH PRIVATE KEY-----\n"


_JSON = (b'"auths":', b'"auth":', b'"username":', b'"password":', b'"\\ud800"', b"[" * 2000, b'{"":' * 9, *NUMBERS)

TARGETS = (
    Target("map-file", map_file, _map_seeds, (b"fusefs-map 1\n\0\0\0", b"\xff" * 8, b"\0" * 8), 300),
    Target("pin", pin, MANIFESTS[0].seeds, MANIFESTS[0].words),
    Target("docker-config", docker_config, _config_seeds, _JSON),
    Target(
        "key-file", key_file, _key_seeds, (b"openssh-key-v1\0", b"ssh-ed25519", b"bcrypt", b"none", b"\xff\xff\xff\xff")
    ),
)

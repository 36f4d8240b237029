"""Servers that lie, break off, fall silent or send elsewhere: right bytes in the end, or an error in time.

Through the real HTTP client, retries, fetcher and cache.  Nothing is latched: once the server behaves, the next read
gives the bytes.
"""

from __future__ import annotations

import contextlib
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import trio

from fusefs.cache.place import Place
from fusefs.errors import BlobQuarantined, DigestMismatch, FusefsError, NotFound, Unauthorized
from fusefs.values.chunks import ChunkList
from fusefs.values.digest import Digest
from tests.faults.wired import SHORT, wired
from tests.faulty_registry import FaultyRegistry
from tests.patience import HANGS
from tests.world import some_bytes, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faulty_registry import Model
    from tests.wire_faults import Kind

CHUNK = 1000
DATA = some_bytes(8 * CHUNK + 77)

BYTES = "/blobs/"
LIST = "/chunksums/"


CONTENT: list[tuple[Kind, dict[str, Any]]] = [
    ("wrong-bytes", {}),
    ("flipped-bit", {}),
    ("replace-body", {"body": bytes(2 * CHUNK)}),
]
"""The frame is right, the bytes are not: asked for again at once, and an error after that."""

FRAME: list[tuple[Kind, dict[str, Any]]] = [
    ("short-body", {}),
    ("short-body", {"at": 0}),
    ("short-clean", {}),
    ("short-clean", {"at": 0}),
    ("cut-body", {}),
    ("long-body", {}),
    ("long-chunked", {}),
    ("whole-for-range", {}),
    ("wrong-content-range", {}),
    ("wrong-total", {}),
    ("no-content-range", {}),
    ("wrong-length", {}),
    ("gzip", {}),
    ("html", {"status": 200}),
    ("html", {"status": 206}),
    ("redirect-loop", {}),
]
TRANSPORT: list[tuple[Kind, dict[str, Any]]] = [
    ("reset-before", {}),
    ("reset-amid", {}),
    ("reset-amid", {"at": 0}),
    ("reset-amid", {"at": 1}),
    ("silence-before", {}),
    ("silence-amid", {}),
    ("status", {"status": 408}),
    ("status", {"status": 429}),
    ("status", {"status": 429, "retry_after": "0"}),
    ("status", {"status": 429, "retry_after": "nonsense"}),
    ("status", {"status": 500}),
    ("status", {"status": 503, "retry_after": "0"}),
    ("html", {"status": 502}),
    ("html", {"status": 504}),
]
ONE_OF_A_KIND = list(
    {
        kind: (kind, options)
        for kind, options in CONTENT + FRAME + TRANSPORT
        if kind != "whole-for-range"  # for ever it is no fault, but a stream: `test_whole_streams`
    }.values()
)
FINAL: list[tuple[int, type[FusefsError]]] = [
    (400, FusefsError),
    (401, Unauthorized),
    (403, Unauthorized),
    (404, NotFound),
    (410, FusefsError),
    (416, FusefsError),
]
"""Trying again will not help; the next read asks anew all the same."""


def _name(value: object) -> str:
    return str(value) if isinstance(value, str) else "-".join(map(str, value.values())) if value else ""  # type: ignore[attr-defined]


def model_of(registry: FaultyRegistry) -> Model:
    return registry.add_model("library/m:latest", {"model.gguf": DATA}, chunk_size=CHUNK)


def in_time() -> Any:
    """A deadline that a hanging read breaks."""
    return trio.fail_after(HANGS)


@pytest.mark.logs("does not match its digest|ignores Range")
@pytest.mark.parametrize(("kind", "options"), CONTENT + FRAME + TRANSPORT, ids=_name)
async def test_p2_a_fault_once_is_got_over(tmp_path: Path, kind: Kind, options: dict[str, Any]) -> None:
    with FaultyRegistry() as registry:
        model = model_of(registry)
        blob = model.blobs["model.gguf"]
        registry.fault(kind, BYTES, **options)
        async with wired(tmp_path, model.name, blob, DATA) as world:
            with in_time():
                await world.read(1500, 3000)
                await world.read()
            await until(lambda: world.file.state == "sealed")
            assert Place(tmp_path, blob.digest).sealed.read_bytes() == DATA


@pytest.mark.logs("does not match its digest")
@pytest.mark.parametrize(("kind", "options"), ONE_OF_A_KIND, ids=_name)
async def test_p6_a_fault_for_ever_is_an_error_in_time_and_never_latched(
    tmp_path: Path, kind: Kind, options: dict[str, Any]
) -> None:
    with FaultyRegistry() as registry:
        model = model_of(registry)
        registry.fault(kind, BYTES, times=None, **options)
        async with wired(tmp_path, model.name, model.blobs["model.gguf"], DATA, timeout=SHORT) as world:
            with in_time(), pytest.raises(FusefsError):
                await world.read(1500, 3000)
            registry.clear_faults()
            registry.release()
            with in_time():
                await world.read_in_the_end()


@pytest.mark.parametrize(("status", "error"), FINAL)
async def test_p6_what_will_not_help_is_not_tried_for_long(
    tmp_path: Path, status: int, error: type[FusefsError]
) -> None:
    with FaultyRegistry() as registry:
        model = model_of(registry)
        blob = model.blobs["model.gguf"]
        registry.fault("status", BYTES, times=None, status=status)
        async with wired(tmp_path, model.name, blob, DATA, timeout=60) as world:
            with in_time(), pytest.raises(error):
                await world.read(0, 10)
            assert len(registry.asked(blob.digest)) <= 2
            registry.clear_faults()
            with in_time():
                await world.read()


async def test_p6_a_byte_now_and_then_does_not_count_as_life(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        model = model_of(registry)
        registry.fault("trickle", BYTES, times=None, interval=0.05)
        async with wired(tmp_path, model.name, model.blobs["model.gguf"], DATA, timeout=SHORT) as world:
            with in_time(), pytest.raises(FusefsError):
                await world.read(0, CHUNK)
            registry.clear_faults()
            with in_time():
                await world.read_in_the_end()


async def test_p6_a_retry_after_beyond_the_timeout_is_an_error_at_once(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        model = model_of(registry)
        registry.fault("status", BYTES, times=None, status=429, retry_after="3600")
        async with wired(tmp_path, model.name, model.blobs["model.gguf"], DATA) as world:
            with in_time(), pytest.raises(FusefsError):
                await world.read(0, 10)
            registry.clear_faults()
            with in_time():
                await world.read()


async def test_p6_a_redirect_to_a_host_that_is_gone_is_an_error_in_time(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        gone = f"http://127.0.0.1:{listener.getsockname()[1]}/blob"
    with FaultyRegistry() as registry:
        model = model_of(registry)
        registry.fault("redirect", BYTES, times=None, to=gone)
        async with wired(tmp_path, model.name, model.blobs["model.gguf"], DATA, timeout=SHORT) as world:
            with in_time(), pytest.raises(FusefsError):
                await world.read(0, 10)
            registry.clear_faults()
            with in_time():
                await world.read_in_the_end()


@pytest.mark.parametrize("how", ["redirected", "announced"])
async def test_f6_signed_urls_that_expire_are_renewed(tmp_path: Path, how: str) -> None:
    with (
        FaultyRegistry() as storage,
        FaultyRegistry(storage=storage, content_location="signed" if how == "announced" else "none") as registry,
    ):
        model = model_of(registry)
        async with wired(tmp_path, model.name, model.blobs["model.gguf"], DATA) as world:
            for off in range(0, len(DATA), 2 * CHUNK):
                with in_time():
                    await world.read(off, 10)
                storage.expire()
            await world.read()
        assert all(count == 1 for count in storage.sent(model.blobs["model.gguf"].digest))
        assert all("authorization" not in request.headers for request in storage.requests)


LISTS: list[tuple[str, Kind, dict[str, Any]]] = [
    ("cut in a line", "cut-body", {"at": 200}),
    ("cut at a line", "cut-body", {"at": 82}),
    ("empty", "cut-body", {"at": 0}),
    ("reset", "reset-amid", {}),
    ("silent", "silence-before", {}),
    ("silent amid", "silence-amid", {}),
    ("503", "status", {"status": 503}),
    ("html", "html", {"status": 502}),
    ("gzip", "gzip", {}),
    ("redirect loop", "redirect-loop", {}),
]


@pytest.mark.logs("chunk list of")
@pytest.mark.parametrize(("kind", "options"), [fault[1:] for fault in LISTS], ids=[fault[0] for fault in LISTS])
async def test_f11_a_chunk_list_that_does_not_come_whole_is_asked_for_again(
    tmp_path: Path, kind: Kind, options: dict[str, Any]
) -> None:
    with FaultyRegistry() as registry:
        model = model_of(registry)
        blob = model.blobs["model.gguf"]
        registry.fault(kind, LIST, **options)
        async with wired(tmp_path, model.name, blob, DATA) as world:
            with in_time():
                await world.read(2500, 10)
            assert registry.asked(blob.digest) == [(2000, 2999)], "the list was had, and used"


BAD_LISTS = {
    "html": b"<html>an error page with status 200</html>",
    "a gap": b"sha256:" + b"0" * 64 + b" 0-999\nsha256:" + b"0" * 64 + b" 2000-8076\n",
    "an overlap": b"sha256:" + b"0" * 64 + b" 0-1999\nsha256:" + b"0" * 64 + b" 1000-8076\n",
    "of a longer blob": b"sha256:" + b"0" * 64 + b" 0-9999\n",
    "of a shorter blob": b"sha256:" + b"0" * 64 + b" 0-999\n",
    "a bad digest": b"sha256:! 0-8076\n",
}


@pytest.mark.logs("chunk list of")
@pytest.mark.parametrize("text", BAD_LISTS.values(), ids=BAD_LISTS.keys())
async def test_f5_a_list_that_is_none_is_an_error_and_the_next_read_asks_again(tmp_path: Path, text: bytes) -> None:
    """Never a way to the weaker check of a blob that has no list at all."""
    with FaultyRegistry() as registry:
        model = model_of(registry)
        blob = model.blobs["model.gguf"]
        registry.fault("replace-body", LIST, times=None, body=text)
        async with wired(tmp_path, model.name, blob, DATA, timeout=SHORT) as world:
            with in_time(), pytest.raises(FusefsError):
                await world.read(0, 10)
            assert not registry.asked(blob.digest)
            registry.clear_faults()
            with in_time():
                await world.read_in_the_end()


def list_of(data: bytes) -> bytes:
    """The chunk list of `data`."""
    chunks = ChunkList.uniform(len(data), CHUNK)
    return "".join(f"{Digest.of(data[chunk.start : chunk.stop])} {chunk}\n" for chunk in chunks).encode()


def other_digest(text: bytes, chunk: int) -> bytes:
    """The list with one flipped digit in the digest of one chunk."""
    lines = text.splitlines(keepends=True)
    lines[chunk] = lines[chunk].replace(lines[chunk][7:8], b"0" if lines[chunk][7:8] != b"0" else b"1", 1)
    return b"".join(lines)


@pytest.mark.logs("does not match its digest|its chunk list was wrong")
@pytest.mark.parametrize("wrong", ["all of it", "one digit"])
async def test_f4_a_list_that_was_wrong_once_is_not_believed_for_ever(tmp_path: Path, wrong: str) -> None:
    """The bytes are right and the list is not: the list is asked for again, by the read that its chunk fails."""
    honest = list_of(DATA)
    text = list_of(some_bytes(len(DATA), seed=9)) if wrong == "all of it" else other_digest(honest, 4)
    assert text != honest
    with FaultyRegistry() as registry:
        model = model_of(registry)
        blob = model.blobs["model.gguf"]
        registry.fault("replace-body", LIST, body=text)
        async with wired(tmp_path, model.name, blob, DATA) as world:
            with in_time():
                await world.read()
            await until(lambda: world.file.state == "sealed")
            assert Place(tmp_path, blob.digest).sealed.read_bytes() == DATA


@pytest.mark.logs("does not match its digest")
async def test_f4_a_second_wrong_list_costs_nothing_that_is_present(tmp_path: Path) -> None:
    """Only a list that agrees with the bytes that came takes the place of the pinned one."""
    with FaultyRegistry() as registry:
        model = model_of(registry)
        blob = model.blobs["model.gguf"]
        async with wired(tmp_path, model.name, blob, DATA) as world:
            await world.read(0, 3 * CHUNK)
            before = len(registry.asked(blob.digest))
            registry.fault("wrong-bytes", BYTES, times=None)
            registry.fault("replace-body", LIST, times=None, body=list_of(some_bytes(len(DATA), seed=9)))
            with in_time(), pytest.raises(DigestMismatch):
                await world.read(5 * CHUNK, 10)
            assert world.file.present == 3 * CHUNK
            registry.clear_faults()
            with in_time():
                await world.read()
            assert not [start for start, _ in registry.asked(blob.digest)[before:] if start < 3 * CHUNK]


@pytest.mark.logs("quarantine|list lied")
async def test_f4_list_and_bytes_of_other_content_end_in_quarantine(tmp_path: Path) -> None:
    lie = some_bytes(len(DATA), seed=9)
    with FaultyRegistry() as registry:
        model = model_of(registry)
        blob = model.blobs["model.gguf"]
        registry.set_chunksums(blob.digest, list_of(lie))
        for chunk in range(0, len(DATA), 2 * CHUNK):
            end = min(chunk + 2 * CHUNK, len(DATA)) - 1
            registry.fault("replace-body", f"{BYTES}.*bytes={chunk}-{end}$", times=None, body=lie[chunk : end + 1])
        async with wired(tmp_path, model.name, blob, DATA) as world:
            with contextlib.suppress(BlobQuarantined):  # the read that completes the blob may come before the verdict
                for off in range(0, len(DATA), 2 * CHUNK):
                    await world.file.read(off, 2 * CHUNK)
            await until(lambda: world.file.state == "quarantined")
            with in_time(), pytest.raises(BlobQuarantined):
                await world.file.read(0, 10)
        assert not Place(tmp_path, blob.digest).sealed.exists()


async def test_p2_a_tag_that_moves_between_two_requests_gives_one_version(tmp_path: Path) -> None:
    """A mount shows the manifest that it began with, whatever the tag says later."""
    newer = some_bytes(len(DATA), seed=8)
    with FaultyRegistry() as registry:
        model = model_of(registry)
        async with wired(tmp_path, model.name, model.blobs["model.gguf"], DATA) as world:
            await world.read(0, 10)
            registry.add_model("library/m:latest", {"model.gguf": newer}, chunk_size=CHUNK)
            await world.read()

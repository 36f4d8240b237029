"""Opening files of the scripted Hub as a source does, straight at the Xet store: bytes and their evidence."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from fusefs.artifacts.hubtree import HubFile, HubTree
from fusefs.sources.hub.casaccess import ask_access
from fusefs.sources.hub.hubclient import HubClient
from fusefs.sources.hub.xetfile import XetFile
from fusefs.sources.hub.xetfiles import XetFiles
from fusefs.values.chunks import Blob, Chunk
from fusefs.values.digest import GIT_SHA1, SHA256, Digest
from fusefs.values.hubname import HubName
from fusefs.values.settings import Settings
from fusefs.values.voucher import Proof, Voucher
from fusefs.xet.xethash import parse_hash
from tests.hub.contents import floats, noise, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.sources.base import Body
    from tests.hub.repository import Repository
    from tests.hub.scriptedhub import ScriptedHub

WORD = Voucher(Proof.REGISTRY, "hub")
SETTINGS = Settings(timeout=10, stall=5, single_chunk_limit=0, connections=4)

_REPEATED = noise(700_000, 7)
DATA = b"".join([noise(2_500_000), floats(300_000), _REPEATED, text(300_000), _REPEATED, noise(1_900_000, 2), b"end"])
"""Packed in every way, with chunks that come twice; seven chunks of ours."""


class Opened:
    """One file.

    Attributes:
        hub: who has it.
        files: what is asked.
        file: of which.
        data: its right bytes.
    """

    def __init__(self, hub: ScriptedHub, files: XetFiles, file: XetFile, data: bytes) -> None:
        self.hub = hub
        self.files = files
        self.file = file
        self.data = data

    def units(self, start: int, stop: int) -> list[Chunk]:
        """The chunks of ours in [start, stop), which begins with one."""
        unit = self.file.unit
        return [Chunk(off, min(off + unit, stop) - 1) for off in range(start, stop, unit)]

    def read(self, start: int, stop: int, *, piece: int = 1 << 20, skip: frozenset[int] = frozenset()) -> None:
        """Read a range as a worker does: each chunk is proved before it is compared; those in `skip` are not."""
        body = self.files.proved(self.file, Chunk(start, stop - 1), WORD)
        assert body is not None
        with closing(body):
            for number, chunk in enumerate(self.units(start, stop)):
                data = memoryview(fill(body, chunk.size, piece))
                if number not in skip:
                    evidence = body.evidence()
                    assert evidence.voucher == WORD
                    evidence.check(chunk, [data[off : off + 100_000] for off in range(0, len(data), 100_000)])
                assert data == self.data[chunk.start : chunk.stop]
            assert not body.readinto(memoryview(bytearray(1)))


def document_of(model: Repository) -> bytes:
    """What fusefs makes of the listing of a model."""
    files = [
        HubFile(file.path, Blob(Digest(*digest), len(file.data)), file.oid, file.packed.hash if file.packed else "")
        for file in model.commits[model.commit].files.values()
        for digest in [(GIT_SHA1, file.oid) if file.keeping == "regular" else (SHA256, file.sha256)]
    ]
    return HubTree.of(model.commit, files).document()


def fill(body: Body, size: int, piece: int = 1 << 20) -> bytearray:
    """Exactly `size` bytes of a body."""
    data = bytearray(size)
    off = 0
    while off < size:
        got = body.readinto(memoryview(data)[off : off + piece])
        assert got
        off += got
    return data


@contextmanager
def opened(hub: ScriptedHub, model: Repository, path: str = "w.safetensors", **changes: object) -> Iterator[Opened]:
    """A file of a model."""
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]  # a test names a setting wrongly: it says so
    name = HubName.read(f"hf+{hub.url}/{model.kind}/{model.id}")
    assert name is not None
    stored = model.commits[model.commit].files[path]
    assert stored.packed is not None
    client = HubClient(name.hub, settings)
    files = XetFiles(client.transport, partial(ask_access, client), settings, client.label)
    file = XetFile(parse_hash(stored.packed.hash), len(stored.data), name.at(model.commit))
    try:
        yield Opened(hub, files, file, stored.data)
    finally:
        files.close()
        client.close()

"""The server's side of a cell of the fault matrix: a registry with one model, and a fault that strikes and ends."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.reference import parse_model
from tests.faulty_registry import FaultyRegistry
from tests.wire_faults import KINDS
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import pytest

    from fusefs.values.names import Name
    from tests.certificate import Certificate
    from tests.faults.matrix import Cell

CHUNK = 4096
DATA = some_bytes(9 * CHUNK + 1234)
NEWER = some_bytes(len(DATA), seed=8)
CHUNKS = ChunkList.uniform(len(DATA), CHUNK)

MODEL = "library/m:latest"
FILE = "model.gguf"

OUTAGE = 0.1
"""Seconds for which a server refuses connections in the form `once`."""

PLACES = {"first": (0,), "last": (len(CHUNKS) - 1,), "third": tuple(range(0, len(CHUNKS), 3))}
PROXIED = "registry.invalid"
"""A host that only a proxy knows: a loopback address is never asked for from one."""

LISTED_WRONG = 4
"""The chunk whose digest has the flipped bit."""


def list_of(data: bytes) -> bytes:
    """The chunk list of `data`."""
    return "".join(f"{Digest.of(data[chunk.start : chunk.stop])} {chunk}\n" for chunk in CHUNKS).encode()


class Scene:
    """The servers of one cell; begins without the fault.

    Attributes:
        data: the file.
        newer: as it is when somebody has changed it.
        chunk: bytes of a chunk of it.
        chunks: its chunks.
        registry: that the model is asked of; a proxy where the row is about proxies.
        name: of the model.
        faulty: chunks that cannot be had when the outcome is an errno.
    """

    data = DATA
    newer = NEWER
    chunk = CHUNK
    chunks = CHUNKS

    def __init__(self, cell: Cell, certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
        self._cell = cell
        self._stack = ExitStack()
        self._certificate = certificate
        self._servers: list[FaultyRegistry] = []
        self._timers: list[threading.Timer] = []
        self._monkeypatch = monkeypatch
        does = cell.row.does
        self.proxied = "proxy" in does
        self._storage = self._start_storage()
        self.registry = self._start(self._server(token="secret" if does == "elsewhere" else None))
        self.blob = Blob(Digest.of(self.data), len(self.data))
        document = self._add(self.registry)
        self.name = self._named(PROXIED if self.proxied else self.registry.host)
        if self.proxied:
            for variable in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.delenv(variable, raising=False)
            monkeypatch.setenv("http_proxy", self.registry.url)
        # A name server that does not answer is asked for one second instead of ten.
        monkeypatch.setenv("RES_OPTIONS", "timeout:1 attempts:1")
        if does in ("wrong-bytes", "flipped-bit"):
            # Of a manifest only one with a digest in its name can be told to be wrong: a tag is what the registry says.
            self.name = self.name.pinned(Digest.of(document))
        self.faulty = frozenset(PLACES.get(cell.where, range(len(self.chunks))))
        if cell.where == "list" and does == "flipped-bit":
            self.faulty = frozenset({LISTED_WRONG})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for timer in self._timers:
            timer.cancel()
            timer.join()
        self._stack.__exit__(kind, exc, tb)

    def strike(self) -> None:
        """Begin the fault."""
        kind = self._cell.row.does
        special: Callable[[], None] | None = getattr(self, "_" + kind.replace("-", "_"), None)
        if special is not None:
            special()
        else:
            assert kind in KINDS, kind
            self._fault(kind, **self._cell.row.options)

    def end(self) -> None:
        """End the fault."""
        for server in self._servers:
            server.clear_faults()
            server.release()
            server.accept()

    def again(self) -> None:
        """Begin it again after its end."""
        for server in self._servers:
            server.released.clear()
        self.strike()

    @property
    def injected(self) -> int:
        """How often the fault happened, as the servers count."""
        return sum(server.injected for server in self._servers)

    @property
    def struck_everywhere(self) -> bool:
        """Whether it happened wherever it was to happen."""
        once_each = self._cell.row.form == "once" and self._cell.where in PLACES
        if self._cell.row.does == "whole-for-range":
            once_each = False  # the first such answer brings everything: nobody asks for the others
        return self.injected >= (len(self.faulty) if once_each else 1)

    @property
    def sent_again(self) -> int:
        """How many bytes of the blob went out, right or wrong, that had gone out before."""
        counts = [server.sent(self.blob.digest) for server in self._servers]
        return sum(max(0, sum(column) - 1) for column in zip(*counts, strict=True))

    def asked(self) -> Counter[tuple[int, int]]:
        """The ranges of the blob that were asked for."""
        return Counter(span for server in self._servers for span in server.asked(self.blob.digest))

    def _start(self, server: FaultyRegistry) -> FaultyRegistry:
        self._stack.enter_context(server)
        self._servers.append(server)
        return server

    # What there is: another kind of place has other answers to these (`tests.faults.matrix_places`)

    def _start_storage(self) -> FaultyRegistry | None:
        """A server of its own that has the bytes, if there is one."""
        return self._start(FaultyRegistry()) if self._cell.row.does == "expired" else None

    def _server(self, **options: Any) -> FaultyRegistry:
        """A server without a model."""
        location: Any = "signed" if self._storage else "absolute"
        return FaultyRegistry(storage=self._storage, content_location=location, **options)

    def _add(self, server: FaultyRegistry, data: bytes = DATA) -> bytes:
        """Have the model there.  Returns its manifest."""
        return server.add_model(MODEL, {FILE: data}, chunk_size=CHUNK, config=None).manifest

    def _named(self, host: str) -> Name:
        """The model, by the name of its host."""
        return parse_model(f"http://{host}/{MODEL}")

    @property
    def _struck(self) -> FaultyRegistry:
        """Which server the fault strikes."""
        return self.registry

    # How each fault is made

    @cached_property
    def _matches(self) -> list[str]:
        """Which requests it strikes: one regular expression for each place."""
        if self._cell.where == "list":
            return [f"/chunksums/{self.blob.digest}"]
        if self._cell.where == "manifest":
            return ["/manifests/"]
        return [rf"{self.blob.digest}\S* bytes=\d+-{CHUNKS[i].end}$" for i in PLACES[self._cell.where]]

    def _fault(self, kind: Any, *, server: FaultyRegistry | None = None, **options: Any) -> None:
        times = 1 if self._cell.row.form == "once" else None
        for match in self._matches:
            (server or self._struck).fault(kind, match, times=times, **options)

    def _path(self) -> str:
        what = f"blobs/{self.blob.digest}"
        if self._cell.where == "list":
            what = f"chunksums/{self.blob.digest}"
        elif self._cell.where == "manifest":
            what = "manifests/latest"
        return f"/v2/library/m/{what}"

    def _flipped_bit(self) -> None:
        at = None
        if self._cell.where == "list":  # a digit that becomes another one: the list looks as good as ever
            line = LISTED_WRONG * list_of(DATA).index(b"\n")
            text = list_of(DATA)
            at = next(i for i in range(text.index(b":", line + 8) + 1, len(text)) if text[i : i + 1].isdigit())
        self._fault("flipped-bit", at=at)

    def _dead_host(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self._fault("redirect", to=f"http://127.0.0.1:{port}{self._path()}")

    def _unknown_host(self) -> None:
        self._fault("redirect", to=f"http://storage.invalid{self._path()}")

    @cached_property
    def elsewhere(self) -> FaultyRegistry:
        """Another server that has the same model and asks for no credentials."""
        return self._another()

    def _another(self, **options: Any) -> FaultyRegistry:
        server = self._start(FaultyRegistry(**options))
        self._add(server)
        return server

    def _elsewhere(self) -> None:
        self._fault("redirect", to=self.elsewhere.url + self._path())

    @cached_property
    def _tls(self) -> FaultyRegistry:
        return self._another(certificate=self._certificate)

    def _untrusted(self) -> None:
        self._fault("redirect", to=self._tls.url + self._path())

    def _expired(self) -> None:
        assert self._storage is not None
        if self._cell.row.form == "once":
            self._fault("act", server=self._storage, act=self._storage.expire)
        else:
            self._fault("status", server=self._storage, status=403)

    def _cut_list(self) -> None:
        self._fault("cut-body", at=list_of(DATA).index(b"\n", 400) + 1)

    def _other_list(self) -> None:
        self._fault("replace-body", body=list_of(NEWER))

    def _moved_tag(self) -> None:
        """The tag moves as soon as the manifest has been asked for, and again and again."""

        def move() -> None:
            self._add(self.registry, NEWER)

        self.registry.fault("act", f"/(chunksums|blobs)/{self.blob.digest}", act=move)

    def _outage(self) -> None:
        def refuse() -> None:
            server = self._struck
            server.refuse()
            if self._cell.row.form == "once":
                timer = threading.Timer(OUTAGE, server.accept)
                self._timers.append(timer)
                timer.start()

        self._fault("act", act=refuse)

    _dead_proxy = _outage

    def _proxy_502(self) -> None:
        self._fault("html", status=502)

    def _proxy_407(self) -> None:
        self._fault("html", status=407)

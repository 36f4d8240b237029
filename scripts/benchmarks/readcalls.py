"""Counts the Python calls of one read: a real `FuseOperations.read` over the real HTTP client, no kernel in between.

A registry on loopback serves one blob of 16 chunks with its chunk list.  `sys.setprofile` sees every call of a function
in `fusefs/`, each step of a generator and each resumption of a coroutine included.  A *stay* is a run of calls within
one file: the fewer of them, the less a reader of the code goes to and fro.  Counts are exact on one version of Python;
3.12 and later inline comprehensions and count a few less.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

import trio
import trio.testing

import fusefs
from fusefs.cache.disk import DiskCache
from fusefs.fetch.blobfetch import BlobFetch
from fusefs.fetch.fetcher import Fetcher
from fusefs.fuse.operations import FuseOperations
from fusefs.sources.bound import BoundSource
from fusefs.sources.order import open_sources
from fusefs.system import cores
from fusefs.values.chunks import Blob
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.settings import Settings
from fusefs.values.snapshot import File, Slice
from fusefs.vfs.blobfile import BlobFile
from fusefs.vfs.filesystem import FileSystem
from fusefs.vfs.tree import Tree

CHUNK = 4096
CHUNKS = 16

PACKAGE = f"{Path(fusefs.__file__).parent}/"

PAGE = Path(fusefs.__file__).parent / "docs" / "architecture.md"

WORKER = "fetch/worker.py"
"""The file in which a fetching thread begins; other threads open the blob or ask for its chunk list."""

PLACES = ("event loop", "worker", "other threads")


@dataclass
class Read:
    """The calls of one read.

    Attributes:
        what: which read it was.
        calls: for each place, the file of every call, in order.
        way: the files from the handler down to the one that starts the worker.
    """

    what: str
    calls: dict[str, list[str]] = field(default_factory=lambda: {place: [] for place in PLACES})
    way: list[str] = field(default_factory=list)

    def count(self, place: str) -> tuple[int, int, int]:
        """Calls, files and stays there."""
        files = self.calls[place]
        stays = sum(before != after for before, after in zip(["", *files], files, strict=False))
        return len(files), len(set(files)), stays

    @property
    def total(self) -> int:
        """Calls in all places."""
        return sum(map(len, self.calls.values()))


class Profiler:
    """Sees the calls of all threads that begin after it was made; keeps those between `begin` and `end`."""

    def __init__(self) -> None:
        self._read: Read | None = None
        self._files: dict[CodeType, str] = {}
        self._here = threading.local()
        self._loop = threading.get_ident()
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)

    def begin(self, what: str) -> Read:
        """Keep calls from now on."""
        self._read = Read(what)
        return self._read

    @contextmanager
    def looking_away(self) -> Iterator[None]:
        """While this lasts, calls are not kept."""
        read, self._read = self._read, None
        try:
            yield
        finally:
            self._read = read

    def end(self) -> None:
        """Keep no more."""
        self._read = None

    def _on_event(self, frame: FrameType, event: str, _arg: object) -> None:
        if event not in ("call", "return"):
            return
        code = frame.f_code
        file = self._files.get(code)
        if file is None:
            name = code.co_filename
            file = self._files[code] = name.removeprefix(PACKAGE) if name.startswith(PACKAGE) else ""
        if not file:
            return
        here = self._here.__dict__
        depth = here.get("depth", 0)
        if event == "return":
            here["depth"] = max(0, depth - 1)
            return
        if not depth:
            here["place"] = self._place(file)
        here["depth"] = depth + 1
        if self._read is not None:
            self._read.calls[here["place"]].append(file)
            if threading.get_ident() == self._loop and not self._read.calls["worker"]:
                self._note_way(self._read, frame)

    def _place(self, file: str) -> str:
        if threading.get_ident() == self._loop:
            return "event loop"
        return "worker" if file == WORKER else "other threads"

    def _note_way(self, read: Read, frame: FrameType) -> None:
        """Keep the files on the stack, when it is that of who hands a chunk on: to the queue, or to a worker."""
        code = frame.f_code
        if code.co_qualname not in HAND_OVERS:
            return
        stack: list[str] = []
        above: FrameType | None = frame
        while above is not None:
            if file := self._files.get(above.f_code):
                stack.append(file)
            above = above.f_back
        read.way.extend(file for file in reversed(stack) if file not in read.way)


HAND_OVERS = ("Flights.want", "Dispatcher._spawn")
"""Where a chunk goes from the reader to the dispatcher's task, and from there to the worker's thread."""


class Registry:
    """A registry on loopback with one blob, its chunk list, and nothing else.  Answers in the order of requests."""

    def __init__(self, data: bytes) -> None:
        digest = Digest.of(data)
        lines = [
            f"sha256:{hashlib.sha256(data[off : off + CHUNK]).hexdigest()} {off}-{min(off + CHUNK, len(data)) - 1}\n"
            for off in range(0, len(data), CHUNK)
        ]
        chunksums = "".join(lines).encode()
        list_path, blob_path = (f"/v2/library/model/{kind}/{digest}" for kind in ("chunksums", "blobs"))

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16

            def do_GET(self) -> None:
                if self.path == list_path:
                    self._answer(200, chunksums)
                    return
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                assert self.path == blob_path, self.path
                assert asked, "a whole blob was asked for"
                first, last = int(asked[1]), int(asked[2])
                self._answer(206, data[first : last + 1], f"bytes {first}-{last}/{len(data)}")

            def _answer(self, status: int, body: bytes, part: str = "") -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if part:
                    self.send_header("Content-Range", part)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.name = Name.parse(f"http://127.0.0.1:{self._server.server_address[1]}/library/model:latest")
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@asynccontextmanager
async def mounted(root: Path, name: Name, blob: Blob) -> AsyncIterator[tuple[FuseOperations, int, BlobFetch, Fetcher]]:
    """The handlers of a mount of one blob, without a kernel."""
    settings = Settings(timeout=30, single_chunk_limit=0)
    counters = Counters()
    sources = open_sources(name, stores=(), settings=settings, counters=counters)
    fetcher = Fetcher(DiskCache.open(root), settings, counters)
    fetch = fetcher.track(blob)
    for source in sources:
        fetch.add_origin(BoundSource(source, name))
    tree = Tree([File("model.bin", Slice.whole(blob))])
    file_system = FileSystem(tree, lambda _: BlobFile(fetcher, fetch), counters)
    async with trio.open_nursery() as nursery:
        await nursery.start(fetcher.run)
        yield FuseOperations(file_system), file_system.tree.files[0].inode, fetch, fetcher
        for source in sources:
            source.close()
        nursery.cancel_scope.cancel()
    fetcher.close()


async def measure(profiler: Profiler) -> list[Read]:
    """Read a blob in order of the table: cold, cold again, warm, warm when it is sealed."""
    cores.LOADAVG = Path(os.devnull)  # the running hash follows as on an idle machine, whatever else runs on this one
    data = random.Random(1).randbytes(CHUNK * CHUNKS)
    reads: list[Read] = []
    with tempfile.TemporaryDirectory() as root, Registry(data) as registry, trio.fail_after(60):
        blob = Blob(Digest.of(data), len(data))
        async with mounted(Path(root) / "cache", registry.name, blob) as (operations, inode, fetch, fetcher):
            handle = (await operations.open(inode, 0, None)).fh  # type: ignore[arg-type]  # no context is looked at

            async def read(what: str, *indices: int) -> None:
                """Read some chunks in turn and keep the least: now and then the fetcher looks round meanwhile."""
                found = []
                for index in indices:
                    found.append(profiler.begin(what))
                    got = await operations.read(handle, index * CHUNK, CHUNK)
                    # What goes on behind the answer is its work, too: a worker's last steps, a look at a header.
                    await until(lambda: not (fetch.flights or fetch.use or fetcher.threads.busy))
                    profiler.end()
                    assert bytes(got) == data[index * CHUNK : (index + 1) * CHUNK]
                reads.append(min(found, key=lambda read: read.total))

            async def until(condition: Callable[[], bool]) -> None:
                still = 0
                while still < 3:
                    await trio.sleep(0.01)
                    with profiler.looking_away():
                        still = still + 1 if condition() else 0

            await read("first cold read of a blob", 0)
            await read("later cold read, one chunk", 9, 13, 4)
            await read("warm read, not sealed", 9, 9, 9)
            for index in range(CHUNKS):
                await operations.read(handle, index * CHUNK, CHUNK)
            await until(lambda: fetch.state == "sealed" and not (fetch.use or fetcher.threads.busy))
            await operations.read(handle, 9 * CHUNK, CHUNK)  # from the disk: it was written past the page cache
            await read("warm read, sealed", 9, 9, 9)
    return reads


def table(reads: list[Read]) -> str:
    """The counts in Markdown."""
    lines = [
        "| read | Python calls | " + " | ".join(f"{place}: calls | files | stays" for place in PLACES) + " |",
        "|---|" + "--:|" * (1 + 3 * len(PLACES)),
    ]
    for read in reads:
        counts = [" | ".join(map(str, read.count(place))) if read.calls[place] else "- | - | -" for place in PLACES]
        lines.append(f"| {read.what} | {read.total} | {' | '.join(counts)} |")
    cold = next(read for read in reads if read.what.startswith("later cold"))
    lines += [
        "",
        f"A stay is a run of calls within one file.  Calls of the later cold read by room: {rooms(cold)}.",
        "",
        f"Its way down to the worker, {len(cold.way)} files: {' → '.join(f'`{file}`' for file in cold.way)}.",
    ]
    return "\n".join(lines)


def rooms(read: Read) -> str:
    """How many calls each room has, most first."""
    counts = Counter(file.split("/")[0] for files in read.calls.values() for file in files)
    return ", ".join(f"{room} {count}" for room, count in counts.most_common())


def into_docs(text: str) -> None:
    """Put the counts into the page about the architecture, between its marks."""
    page = PAGE.read_text()
    begin = re.search(r"<!-- calls:[^>]* -->", page)
    assert begin, f"{PAGE} does not say where the table goes"
    before, behind = page[: begin.end()], page[page.index("<!-- /calls -->") :]
    PAGE.write_text(f"{before}\n\n{text}\n\n{behind}")


def main(arguments: list[str]) -> None:
    """Print the table, with `--docs` put it into its page, too; with `--json` print the numbers instead."""
    reads = trio.run(measure, Profiler())
    sys.setprofile(None)
    if "--json" in arguments:
        found = {
            read.what: {"total": read.total, "way": read.way, **{place: read.count(place) for place in PLACES}}
            for read in reads
        }
        print(json.dumps(found))
        return
    text = table(reads)
    print(text)
    if "--docs" in arguments:
        version = ".".join(map(str, sys.version_info[:2]))
        into_docs(f"`scripts/calls` counts the Python calls of one read (Python {version}):\n\n{text}")


if __name__ == "__main__":
    main(sys.argv[1:])

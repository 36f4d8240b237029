"""HeaderReader: has the header of a file fetched to its end, and finds out where its tensors are.

Only what is present is read, so every byte of it was proved; what it says is a hint all the same.  A file that is no
model, or whose header lies, has no hints.  The file is all of a blob, or one of an archive.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from fusefs.errors import ChunkGone, FusefsError, InvalidHeader
from fusefs.fetch.flight import Priority
from fusefs.formats.header import read_header
from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.flights import Flights
    from fusefs.fetch.foresight import Foresight
    from fusefs.fetch.tasks import Tasks
    from fusefs.formats.extents import Extents

log = logging.getLogger(__name__)

_CHEAP = 8 * MIB
"""A first chunk up to this size is fetched to learn where the tensors are; a larger one is awaited."""


class HeaderReader:
    """Belongs to one fetcher."""

    def __init__(self, flights: Flights, tasks: Tasks) -> None:
        self._flights = flights
        self._tasks = tasks
        # A header may take 100 ms of a core: of a thousand models that are opened at once, one at a time.
        self._turn = trio.Lock()

    def start(self, fetch: BlobFetch, chunker: Chunker, prefetch: Foresight, off: int) -> None:
        """Read the header and tell `prefetch`, now that somebody reads at `off`; or not yet, and ask again.

        What is on its way to a reader is waited for, and its first chunk fetched only where that costs little.
        """
        file = prefetch.policies.wants_header
        if file is None:
            return  # another thread has just seen to it
        index = chunker.chunks.covering(file.start, 1).start
        first = chunker.chunks[index]
        elsewhere = not first.start <= off < first.stop and index not in fetch.flights and first.size <= _CHEAP
        if elsewhere or chunker.present(index):
            prefetch.header_begun(file)
            fetch.use.hold()
            self._tasks.start_soon(self._read, fetch, chunker, prefetch, file)

    async def _read(self, fetch: BlobFetch, chunker: Chunker, prefetch: Foresight, file: range) -> None:
        try:
            extents = await self._extents(fetch, chunker, file)
        except InvalidHeader as exc:
            log.debug("%s: no tensors: %s", fetch.blob.digest.short, exc)
            prefetch.header_read(file, None)
        except FusefsError as exc:
            log.debug("%s: its header is not to be had: %s", fetch.blob.digest.short, exc)
            prefetch.header_failed(file)
        except Exception as exc:
            self._tasks.report(exc)
            prefetch.header_read(file, None)
        else:
            log.debug("%s: %d tensors", fetch.blob.digest.short, len(extents))
            prefetch.header_read(file, extents)
        finally:
            fetch.use.let_go()

    async def _extents(self, fetch: BlobFetch, chunker: Chunker, file: range) -> Extents:
        found = read_header(b"", len(file))
        if isinstance(found, int):
            first = chunker.chunks[chunker.chunks.covering(file.start, 1).start]
            found = min(found, first.stop - file.start)  # enough to see what it is
        while isinstance(found, int):
            missing = chunker.missing(file.start, found)
            for flight in [self._flights.want(fetch.flights, chunker, i, Priority.READ_AHEAD) for i in missing]:
                await flight.wait()
            async with self._turn:
                found = await self._tasks.threads.run(_look, chunker, file, found)
        return found


def _look(chunker: Chunker, file: range, size: int) -> Extents | int:
    """Read the first `size` bytes of a file, and see what they say.  Blocking.

    Raises:
        InvalidHeader: nothing that is known.
        CacheError: they are not here.
    """
    if chunker.missing(file.start, size):
        raise ChunkGone(f"{chunker.blob.digest.short}… left before its header was read")
    return read_header(memoryview(chunker.pread(file.start, size)), len(file))

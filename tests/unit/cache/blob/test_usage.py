"""Times of use go by the clock on the wall, since other processes read them; it may be set while blobs are read."""

from __future__ import annotations

import ast
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fusefs
from fusefs.cache.blob.usage import Usage, order
from fusefs.cache.disk import DiskCache
from fusefs.cache.space.eviction import scan
from fusefs.cache.space.quota import Limits
from tests.chunkers import blob_of, fill
from tests.fake_source import chunk_list
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusefs.cache.blob.chunker import Chunker

CHUNK = 4096
YEAR = 366 * 86400
BLOBS = [some_bytes(32 * CHUNK, seed=seed) for seed in range(3)]


@contextmanager
def opened(cache: DiskCache, data: bytes, clock: Callable[[], float] = time.time) -> Iterator[Chunker]:
    chunker = cache.chunker(blob_of(data), chunk_list(data, CHUNK))
    try:
        fill(chunker, data, *range(len(chunker.chunks)))
        chunker.usage = Usage(chunker.chunks, chunker.map, clock)
        yield chunker
    finally:
        chunker.close()


@pytest.mark.parametrize("jump", [-YEAR, YEAR])
def test_p8_what_is_read_after_the_clock_was_set_stays_and_what_was_read_before_goes(tmp_path: Path, jump: int) -> None:
    now = [time.time() - jump]  # in the end it is what `time.time` says
    cache = DiskCache.open(tmp_path, limits=Limits(size=64 * CHUNK, keep_free=0))
    with opened(cache, BLOBS[0], lambda: now[0]) as chunker:
        chunker.usage.read(0, 32 * CHUNK)
        now[0] += jump
        chunker.usage.read(8 * CHUNK, 24 * CHUNK)
        with cache.quota.room(36 * CHUNK):
            pass
        gone = set(range(32)) - {index for index in range(32) if chunker.present(index)}
        assert gone
        assert gone <= {*range(8), *range(24, 32)}


def test_p8_a_blob_that_was_used_in_the_future_is_the_first_to_go_and_not_the_last(tmp_path: Path) -> None:
    """Among those the order stays; a time that is ahead by minutes is none of them."""
    cache, now = DiskCache.open(tmp_path), int(time.time())
    with ExitStack() as stack:
        for data, used in zip(BLOBS, (now + 600, now + YEAR + 5, now + YEAR), strict=True):
            stack.enter_context(opened(cache, data)).map.note_use(used)
    assert [held.digest for held in scan(cache)] == [blob_of(data).digest for data in (BLOBS[2], BLOBS[1], BLOBS[0])]
    assert order(0, now) < order(now, now)


def test_p8_the_next_process_hears_of_reads_though_the_clock_was_set_back(tmp_path: Path) -> None:
    now = [time.time()]
    with opened(DiskCache.open(tmp_path), BLOBS[0], lambda: now[0]) as chunker:
        chunker.usage.read(0, 1)
        assert not chunker.map.last_use, "the event loop reads, too, and must not wait for the disk"
        chunker.usage.note()
        now[0] -= YEAR
        chunker.usage.read(0, 1)
        chunker.usage.note()
        assert chunker.map.last_use == int(now[0])


@pytest.mark.parametrize("seconds", [-86400.0, 2.0**40])
def test_p8_a_clock_before_1970_or_after_2106_does_not_fail_a_read(tmp_path: Path, seconds: float) -> None:
    with opened(DiskCache.open(tmp_path), BLOBS[0], lambda: seconds) as chunker:
        chunker.usage.read(0, CHUNK)
        chunker.usage.written(0)
        assert chunker.usage.seconds[0] in (0, (1 << 32) - 1)


WALL = {
    "cache/disk.py": {"hold"},  # times of use and of change, which other processes read
    "cache/blob/backing.py": {"_taken", "close"},
    "cache/space/eviction.py": {"scan"},
    "system/files.py": {"sweep"},
    "cache/space/inventory.py": {"left_behind"},
    "cache/documents/writer.py": {"add"},
    "cache/space/quota.py": {"_evict"},
    "cache/blob/usage.py": {"__init__"},
    "commands/gc.py": {"gc"},  # `--older-than`
    "commands/ls.py": {"ls"},  # `3 days ago`
    "upkeep/collection.py": {"run"},
    "sources/registry/auth.py": {"_signed"},  # a registry checks when a request was signed
    "sources/registry/responses.py": {"retry_after"},  # for a server that does not say what time it is
}
"""Who may ask what time of day it is."""


def test_p6_nothing_that_waits_or_ends_goes_by_the_time_of_day() -> None:
    """Timeouts, lives of tokens, rates of the log, circuits and the watchdog go by the monotonic clock."""
    root = Path(fusefs.__file__).parent
    found: dict[str, set[str]] = {}
    for path in root.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and any(map(_wall, ast.walk(function))):
                found.setdefault(str(path.relative_to(root)), set()).add(function.name)
    assert found == WALL


def _wall(node: ast.AST) -> bool:
    names = {"time": {"time", "time_ns", "localtime", "gmtime"}, "datetime": {"now", "utcnow", "today"}}
    if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return False
    return node.attr in names.get(node.value.id, ())

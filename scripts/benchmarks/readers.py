"""Readers: the programs that read files while the clock runs.  Each is a process that knows nothing of fusefs.

`readers OPERATION` takes its arguments as JSON on standard input and prints what it measured as JSON.  They read into
one buffer that is used again and again, and start quickly: nothing but the standard library is imported, and what an
operation needs beyond it.  Times are those of CLOCK_MONOTONIC, the same in all processes.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import re
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MIB = 1 << 20
PAGE = 4096
Span = tuple[int, int]


_cpu_before = 0.0
"""CPU seconds of this process when its one operation began to read."""


def _wait(at: float) -> float:
    """Start together with the other readers."""
    global _cpu_before
    time.sleep(max(0.0, at - time.monotonic()))
    _cpu_before = time.process_time()
    return time.monotonic()


def order(path: str, block: int = MIB, off: int = 0, size: int = -1, at: float = 0.0) -> dict[str, Any]:
    """Read in order; the trace has when each block was there."""
    buffer = bytearray(block)
    trace: list[tuple[float, int, int]] = []
    start = _wait(at)
    with open(path, "rb", buffering=0) as file:
        stop = off + size if size >= 0 else os.fstat(file.fileno()).st_size
        while off < stop and (count := os.preadv(file.fileno(), [memoryview(buffer)[: stop - off]], off)):
            trace.append((time.monotonic(), off, count))
            off += count
    return _done(start, trace)


def pieces(path: str, spans: Iterable[Span], at: float = 0.0) -> dict[str, Any]:
    """Read parts of a file, in the order in which they are named."""
    buffer = bytearray(MIB)
    trace: list[tuple[float, int, int]] = []
    start = _wait(at)
    with open(path, "rb", buffering=0) as file:
        for off, size in spans:
            count = os.preadv(file.fileno(), [memoryview(buffer)[:size]], off)
            trace.append((time.monotonic(), off, count))
    return _done(start, trace)


def mapped(path: str, spans: Iterable[Span] | None = None, at: float = 0.0) -> dict[str, Any]:
    """Copy parts of a mapping, all of it when none are named."""
    buffer = memoryview(bytearray(MIB))
    trace: list[tuple[float, int, int]] = []
    start = _wait(at)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as area, memoryview(area) as view:
        for first, size in spans or [(0, len(view))]:
            for off in range(first, first + size, MIB):
                count = min(MIB, first + size - off)
                buffer[:count] = view[off : off + count]
                trace.append((time.monotonic(), off, count))
    return _done(start, trace)


def _done(start: float, trace: list[tuple[float, int, int]]) -> dict[str, Any]:
    now = time.monotonic()
    cpu = time.process_time() - _cpu_before
    read = sum(count for _, _, count in trace)
    return {"start": start, "seconds": now - start, "cpu": cpu, "bytes": read, "trace": trace}


def single(path: str, offs: list[int], size: int = PAGE, pause: float = 0.0) -> dict[str, Any]:
    """Read `size` bytes at each offset; seconds of each, and the digest of all bytes together."""
    seconds, found, trace = [], hashlib.sha256(), []
    began = time.monotonic()
    with open(path, "rb", buffering=0) as file:
        for off in offs:
            start = time.perf_counter()
            data = os.pread(file.fileno(), size, off)
            seconds.append(time.perf_counter() - start)
            trace.append((time.monotonic(), off, size))
            found.update(data)
            time.sleep(pause)
    return {"start": began, "each": seconds, "sha256": found.hexdigest(), "trace": trace}


def fault(path: str, offs: list[int]) -> dict[str, Any]:
    """Touch one byte of a mapping at each offset; seconds of each, and the digest of their pages."""
    seconds, found = [], hashlib.sha256()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as area:
        for off in offs:
            start = time.perf_counter()
            area[off]
            seconds.append(time.perf_counter() - start)
        for off in offs:
            found.update(area[off : off + PAGE])
    return {"each": seconds, "sha256": found.hexdigest()}


def walked(folder: str, like: str = "") -> dict[str, Any]:
    """Read all files of a tree in the order of `os.walk`; the digest of their contents in the order of their names.

    Args:
        folder: the root.
        like: a regular expression for the beginnings of the names that are read; others are left out.
    """
    wanted, found = re.compile(like), {}
    start = time.monotonic()
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if wanted.match(relative := os.path.relpath(path, folder)):
                with open(path, "rb", buffering=0) as file:
                    found[relative] = file.read()
    seconds = time.monotonic() - start
    whole = hashlib.sha256(b"".join(found[name] for name in sorted(found)))
    return {"start": start, "seconds": seconds, "files": len(found), "sha256": whole.hexdigest()}


def sha256(path: str) -> dict[str, Any]:
    """The digest of a file."""
    with open(path, "rb", buffering=0) as file:
        return {"sha256": "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()}


def spans_sha256(path: str, spans: Iterable[Span]) -> dict[str, Any]:
    """The digest of parts of a file, one after another."""
    found = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        for off, size in spans:
            for at in range(off, off + size, MIB):
                found.update(os.pread(file.fileno(), min(MIB, off + size - at), at))
    return {"sha256": found.hexdigest()}


def gguf(path: str) -> dict[str, Any]:
    """What `gguf-dump` does first: all metadata, and where each tensor is."""
    from gguf import GGUFReader

    start = time.monotonic()
    reader = GGUFReader(path)
    seconds = time.monotonic() - start
    return {"start": start, "seconds": seconds, "found": len(reader.fields) + len(reader.tensors)}


def llama(path: str, *, mmap: bool = True) -> dict[str, Any]:
    """What llama.cpp does until it gives its first answer."""
    from scripts.benchmarks.llamamodel import load

    return load(path, mmap=mmap)


def safetensors(path: str, name: str) -> dict[str, Any]:
    """Load one tensor."""
    from safetensors import safe_open

    start = time.monotonic()
    with safe_open(path, framework="numpy") as file:
        tensor = file.get_tensor(name)
    seconds = time.monotonic() - start
    return {
        "start": start,
        "seconds": seconds,
        "found": tensor.nbytes,
        "sha256": hashlib.sha256(tensor.tobytes()).hexdigest(),
    }


def loaded(path: str, names: Iterable[str], part: int = 1) -> dict[str, Any]:
    """Load tensors in this order, or of each the first of so many parts, as one of so many processors does."""
    from safetensors import safe_open

    found = hashlib.sha256()
    with safe_open(path, framework="numpy") as file:
        for name in names:
            slices = file.get_slice(name)
            found.update(slices[: slices.get_shape()[0] // part].tobytes())
    return {"sha256": found.hexdigest()}


def probe(folder: str, path: str, warm: int, cold: list[int], pause: float, seconds: float) -> dict[str, Any]:
    """What a person does beside a download: list, read what is there, read what is not.  Seconds of each."""
    listing: list[float] = []
    local: list[float] = []
    demand: list[float] = []
    chance = random.Random(5)
    until = time.monotonic() + seconds
    with open(path, "rb", buffering=0) as file:
        for off in cold:
            listing.append(_timed(_walk, folder))
            at = chance.randrange(warm // PAGE) * PAGE
            os.posix_fadvise(file.fileno(), 0, warm, os.POSIX_FADV_DONTNEED)
            local.append(_timed(os.pread, file.fileno(), PAGE, at))
            demand.append(_timed(os.pread, file.fileno(), PAGE, off))
            time.sleep(pause)
            if time.monotonic() > until:
                break
    return {"listing": listing, "local": local, "demand": demand}


def _timed(action: Callable[..., object], *words: object) -> float:
    start = time.perf_counter()
    action(*words)
    return time.perf_counter() - start


def _walk(folder: str) -> None:
    """As `ls -lR` asks."""
    for parent, _, names in os.walk(folder):
        for name in names:
            os.lstat(os.path.join(parent, name))


def watch(folder: str, stop: str, seconds: float) -> dict[str, Any]:
    """When which part of the one sparse file in a cache came to be there: [seconds, offset, length] of each.

    Ends when there is a file `stop`, when nothing is left to come, or when the time is over.  A file system says
    where a file has data, and fusefs writes what is verified and nothing else.
    """
    until = time.monotonic() + seconds
    while not (path := _sparse(folder)):
        if time.monotonic() > until or os.path.exists(stop):
            return {"arrivals": []}
        time.sleep(0.002)
    arrivals: list[tuple[float, int, int]] = []
    with open(path, "rb", buffering=0) as file:
        holes = [(0, os.fstat(file.fileno()).st_size)]
        stopped = False
        while holes and time.monotonic() < until and not stopped:
            stopped = os.path.exists(stop)  # after which it looks once more
            now, left = time.monotonic(), []
            for hole in holes:
                left += _look(file.fileno(), hole, now, arrivals)
            holes = left
            time.sleep(0.002)
    return {"arrivals": arrivals}


def _sparse(folder: str) -> str:
    for parent, _, names in os.walk(folder):
        if "data" in names and os.path.getsize(path := os.path.join(parent, "data")):
            return path
    return ""


def _look(file: int, hole: Span, now: float, arrivals: list[tuple[float, int, int]]) -> list[Span]:
    """Note what came into a hole, by the MiB; returns what is left of it."""
    off, stop = hole
    left = []
    while off < stop:
        try:
            data = min(stop, os.lseek(file, off, os.SEEK_DATA))
        except OSError:
            data = stop
        if data > off:
            left.append((off, data))
        off = min(stop, os.lseek(file, data, os.SEEK_HOLE)) if data < stop else stop
        arrivals += [(now, at, min(MIB, off - at)) for at in range(data, off, MIB)]
    return left


OPERATIONS: dict[str, Callable[..., dict[str, Any]]] = {
    operation.__name__: operation
    for operation in (
        order,
        pieces,
        mapped,
        single,
        fault,
        walked,
        sha256,
        spans_sha256,
        gguf,
        llama,
        safetensors,
        loaded,
        probe,
        watch,
    )
}


def main() -> None:
    print(json.dumps(OPERATIONS[sys.argv[1]](**json.load(sys.stdin))))


if __name__ == "__main__":
    main()

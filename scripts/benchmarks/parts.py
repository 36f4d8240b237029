"""Parts of a cold read, each by itself: `parts OPERATION`, its arguments as JSON on standard input, as readers do.

Each is the least that Python and this kernel need for it: one buffer of a MiB, used again and again.  Seconds and CPU
seconds are those of the work alone, without the start of the process.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import resource
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
Took = dict[str, float]


def _timed(work: Callable[[], object]) -> Took:
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": seconds, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def receive(host: str, port: int, path: str, size: int, connections: int) -> Took:
    """Have a file sent in as many parts as there are connections, each into a buffer of its thread."""
    part = -(-size // connections)
    got: list[int] = []

    def one(off: int) -> None:
        stop = min(size, off + part)
        buffer = memoryview(bytearray(MIB))
        with socket.create_connection((host, port)) as sock:
            words = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nRange: bytes={off}-{stop - 1}\r\nConnection: close\r\n\r\n"
            sock.sendall(words.encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(4096)
            status, _, begun = head.partition(b"\r\n\r\n")
            if b" 206 " not in status.partition(b"\r\n")[0]:
                raise SystemExit(status.decode())
            count = len(begun)
            while count < stop - off and (more := sock.recv_into(buffer)):
                count += more
            got.append(count)

    def all_of_them() -> None:
        threads = [threading.Thread(target=one, args=(off,)) for off in range(0, size, part)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    took = _timed(all_of_them)
    if sum(got) != size:
        raise SystemExit(f"received {sum(got)} of {size} bytes")
    return took


def sha256(size: int) -> Took:
    """Hash a buffer that is in the processor's cache, as one is that was just received."""
    buffer, found = bytearray(os.urandom(MIB)), hashlib.sha256()

    def work() -> None:
        for _ in range(size // MIB):
            found.update(buffer)

    return _timed(work)


def write(path: str, size: int, *, direct: bool = False) -> Took:
    """Write a file, over what it has when it is there."""
    buffer = mmap.mmap(-1, MIB)  # begins at a page, as O_DIRECT demands
    buffer.write(os.urandom(MIB))
    file = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_DIRECT if direct else 0), 0o600)

    def work() -> None:
        for off in range(0, size // MIB * MIB, MIB):
            if os.pwrite(file, buffer, off) != MIB:
                raise SystemExit("a short write")

    try:
        return _timed(work)
    finally:
        os.close(file)


def copy(path: str, size: int) -> Took:
    """Read a file that is in the page cache: the copy that any reader makes."""
    buffer = bytearray(MIB)
    file = os.open(path, os.O_RDONLY)

    def work() -> None:
        for off in range(0, size, MIB):
            os.preadv(file, [buffer], off)

    try:
        return _timed(work)
    finally:
        os.close(file)


OPERATIONS: dict[str, Callable[..., Took]] = {
    operation.__name__: operation for operation in (receive, sha256, write, copy)
}


def main() -> None:
    print(json.dumps(OPERATIONS[sys.argv[1]](**json.load(sys.stdin))))


if __name__ == "__main__":
    main()

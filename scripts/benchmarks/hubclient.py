"""What `hf_xet` takes for a file, or for parts of it: its arguments are JSON on standard input, as of `readers`.

The clock runs from the first request on, so that neither Python's start nor that of the library counts.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from typing import TYPE_CHECKING, Any

import hf_xet

if TYPE_CHECKING:
    from collections.abc import Callable


def whole(token_url: str, hash: str, size: int, path: str) -> dict[str, Any]:  # noqa: A002 - as the library calls it
    """Download all of it into a file."""
    start = time.perf_counter()
    with hf_xet.XetSession().new_file_download_group(token_refresh_url=token_url) as group:
        group.start_download_file(hf_xet.XetFileInfo(hash, size), path)
    return {"seconds": time.perf_counter() - start}


def spans(token_url: str, hash: str, size: int, spans: list[list[int]]) -> dict[str, Any]:  # noqa: A002
    """Read parts of it one after the other, each as (offset, length)."""
    digest = hashlib.sha256()
    start = time.perf_counter()
    group = hf_xet.XetSession().new_download_stream_group(token_refresh_url=token_url)
    for off, length in spans:
        for piece in group.download_stream(hf_xet.XetFileInfo(hash, size), start=off, end=off + length):
            digest.update(piece)
    return {"seconds": time.perf_counter() - start, "sha256": digest.hexdigest()}


def main() -> None:
    words = json.loads(sys.stdin.read())
    operations: dict[str, Callable[..., dict[str, Any]]] = {"whole": whole, "spans": spans}
    found = operations[sys.argv[1]](**words)
    spent = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({**found, "cpu": spent.ru_utime + spent.ru_stime}))


if __name__ == "__main__":
    main()

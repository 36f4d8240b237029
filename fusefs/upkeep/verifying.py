"""Verifying a whole cache directory: what the command does around `fusefs.cache.blob.verification`."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import Manifest
from fusefs.artifacts.snapshots import snapshot_of
from fusefs.cache.blob.verification import total, verify
from fusefs.cache.disk import DiskCache
from fusefs.cache.documents.reader import mend
from fusefs.errors import CacheError, FusefsError
from fusefs.values.report import Item, VerifyReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from fusefs.cache.documents.reader import Finding
    from fusefs.values.digest import Digest

    Show = Callable[[Sequence[Item]], None]
    """Told the newest state of all items, a few times a second."""

FRAME = 0.25
"""Seconds between two looks at the progress."""


def verify_all(cache_dir: Path, show: Show) -> VerifyReport:
    """Hash all that is in `cache_dir`, and drop what does not match.  Blocking.

    Raises:
        CacheError: it is no cache, or it cannot be read or written.
    """
    if not cache_dir.is_dir():
        raise CacheError(f"cache directory {cache_dir} does not exist; name another with --cache-dir")
    cache = DiskCache.open(cache_dir)
    labels = _labels(cache)
    whole = Item(label="all blobs", size=total(cache), state="checking")
    items = (whole,)
    began = last = time.monotonic()
    show(items)

    def progress(count: int) -> None:
        nonlocal last
        whole.done += count
        now = time.monotonic()
        if now - last >= FRAME:
            last = now
            show(items)

    # The links first: one that is right can mend the blob of its manifest.
    found = list(_links(cache))
    for one in verify(cache, progress):
        label = labels.get(one.digest, one.digest.file_name)
        state = "dropped" if one.dropped or one.broken else "unproved" if one.state == "unproved" else "good"
        item = Item(label=label, digest=str(one.digest), size=one.present, done=one.present, state=state)
        if one.dropped:
            item.problem = f"{one.dropped} bytes did not match and were dropped; they are fetched again when needed"
        elif one.broken:
            item.problem = f"{one.broken} of its files were damaged, or no files of ours, and were removed"
        elif one.state == "unproved":
            item.problem = "not checked: nothing is known of its parts until all of it is there"
        elif one.busy:
            item.problem = f"{one.busy} chunks not checked: they are being fetched now"
        found.append(item)
    whole.size, whole.state = whole.done, "checked"
    show(items)
    return VerifyReport(str(cache_dir), tuple(found), whole.done, time.monotonic() - began)


_FINDINGS: dict[Finding, tuple[str, str]] = {
    "mended": ("dropped", "the manifest had changed on disk; it was mended from its copy in the cache"),
    "dropped": ("dropped", "the manifest had changed on disk and was dropped; it is fetched again when needed"),
    "unknown": ("unproved", "not checked: the cache has no digest for this manifest"),
}


def _links(cache: DiskCache) -> Iterator[Item]:
    """What there is to say of the manifests by name; those that are right are counted as blobs."""
    for name in cache.links:
        finding = mend(cache, name)
        if finding != "good":
            state, problem = _FINDINGS[finding]
            yield Item(label=f"{name.short} manifest", size=0, state=state, problem=problem)


def _labels(cache: DiskCache) -> dict[Digest, str]:
    """What a person calls each blob that a manifest names: its model and its file."""
    labels: dict[Digest, str] = {}
    for name in cache.links:
        with contextlib.suppress(FusefsError):
            manifest = Manifest.parse(cache.links.read(name))
            labels.setdefault(manifest.digest, f"{name.short} manifest")
            for file in snapshot_of(name, manifest).files:
                if not isinstance(file.content, bytes):
                    labels.setdefault(file.content.blob.digest, f"{name.short} {file.path}")
    return labels

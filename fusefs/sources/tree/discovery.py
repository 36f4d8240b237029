"""Discovery: the files of a folder that has no list of digests, as far as their server keeps digests itself.

A file whose server keeps none is named by its version (`fusefs.values.digest.VERSION`): nothing proves it, and it is
read by those alone who allow it (`--unproved allow`).
"""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from fusefs.artifacts.listedfile import ListedFile, checked_name
from fusefs.artifacts.manifest import MAX_LAYERS
from fusefs.errors import InvalidManifest, SourceError
from fusefs.sources.tree.treeserver import Found, Seen
from fusefs.values.digest import VERSION, Digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.sources.tree.treeserver import RemoteFiles

log = logging.getLogger(__name__)

_AT_ONCE = 8
"""Files whose size is asked for at once."""

_EMPTY = Digest.of(b"")

Discovered = tuple[ListedFile, str, Seen]
"""A file, its place, and what was seen of it."""


def discovered(files: RemoteFiles, folder: str, leave_out: Sequence[str]) -> list[Discovered]:
    """The files below a folder.

    Args:
        files: the server.
        folder: ends with a slash.
        leave_out: endings of what lies beside files and belongs to none.

    Raises:
        NotFound, InvalidInput, SourceError: they cannot be known.
    """
    named = []
    for one in files.found(folder, MAX_LAYERS):
        if one.path.endswith(("/", *leave_out)):
            continue
        try:
            named.append((checked_name(one.path), one))
        except InvalidManifest as exc:
            log.warning("%s: a file is left out: %s", files.label, exc)

    def look(pair: tuple[str, Found]) -> Discovered:
        path, one = pair
        place = files.at(folder, path)
        return _listed(files, path, place, one, one.seen or files.look(place))

    with ThreadPoolExecutor(_AT_ONCE, "sizes") as pool:
        return sorted(pool.map(look, named), key=lambda found: found[0].path)


def _listed(files: RemoteFiles, path: str, place: str, one: Found, seen: Seen) -> Discovered:
    if not seen.size:
        return ListedFile(path, _EMPTY, 0), place, seen
    if one.sums is not None:
        return ListedFile(path, one.sums.digest, seen.size, pieces=one.sums.pieces), place, seen
    if not (seen.etag or seen.modified):
        raise SourceError(f"{place}: neither an ETag nor a time tells its versions apart", source=files.label)
    # The label stands for the server: the same path elsewhere is another file.
    version = json.dumps([files.label, place, seen.size, seen.etag or seen.modified], ensure_ascii=False)
    return ListedFile(path, Digest(VERSION, Digest.of(version.encode()).hex), seen.size), place, seen

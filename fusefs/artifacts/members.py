"""Members: from the table of an archive to checked paths, with links as other names of the same bytes.

Only what leads to a file inside is shown: a link out of the archive, or to a folder, is left out (P10).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusefs.artifacts.paths import check_path
from fusefs.errors import InvalidManifest
from fusefs.values.snapshot import Slice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusefs.artifacts.contents import Opened
    from fusefs.values.tartable import Link

MAX_HOPS = 40
"""Links that are followed for one name, as Linux follows them."""


@dataclass(slots=True)
class Unfolded:
    """The files of one archive, or of several that lie over each other.

    Attributes:
        files: part of a blob and time in nanoseconds, by path.
        links: the targets of symbolic links, by path; unchecked text.
        skipped: links that lead to no file inside.
    """

    files: dict[str, tuple[Slice, int]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    skipped: int = 0


def path_in(text: str) -> str:
    """The path of a member: `./a//b/` is `a/b`; empty for the archive's own folder.

    Raises:
        InvalidManifest: absolute, with a `..`, or no path at all.
    """
    if text.startswith("/"):
        raise InvalidManifest(f"invalid path in a tar layer {text[:100]!a}: it is absolute")
    path = "/".join(part for part in text.split("/") if part not in ("", "."))
    if path:
        check_path(path)
    return path


def unfold(opened: Opened, into: Unfolded | None = None) -> Unfolded:
    """The files of one archive, in the order in which it has them; of two with one path the later one counts.

    Raises:
        InvalidManifest: a path that leads out.
    """
    found = into if into is not None else Unfolded()
    assert opened.table is not None
    links: dict[int, list[Link]] = {}
    for link in opened.table.links:
        links.setdefault(link.place, []).append(link)
    for place, member in enumerate(opened.table.members):
        _link(found, links.get(place, ()))
        path = path_in(member.path)
        found.links.pop(path, None)
        if path:
            found.files[path] = Slice(opened.blob, member.off, member.size), member.mtime * 10**9
    _link(found, links.get(len(opened.table.members), ()))
    return found


def _link(found: Unfolded, links: list[Link] | tuple[()]) -> None:
    for link in links:
        path = path_in(link.path)
        if not path:
            continue
        if not link.hard:
            found.files.pop(path, None)
            found.links[path] = link.target
            continue
        try:
            target = found.files.get(path_in(link.target))
        except InvalidManifest:
            target = None
        if target is None:
            found.skipped += 1
        else:
            found.links.pop(path, None)
            found.files[path] = target


def resolve_links(found: Unfolded) -> None:
    """Make each symbolic link that leads to a file inside another name of it; count the others."""
    named = {path: file for path in found.links if (file := _file_at(path, found.files, found.links)) is not None}
    found.skipped += len(found.links) - len(named)
    found.links.clear()
    found.files.update(named)


def _file_at(path: str, files: Mapping[str, tuple[Slice, int]], links: Mapping[str, str]) -> tuple[Slice, int] | None:
    for _ in range(MAX_HOPS):
        file = files.get(path)
        if file is not None:
            return file
        target = links.get(path)
        if target is None:
            return None
        above = [] if target.startswith("/") else path.split("/")[:-1]
        for part in target.split("/"):
            if part == "..":
                if not above:
                    return None
                above.pop()
            elif part not in ("", "."):
                above.append(part)
        path = "/".join(above)
    return None

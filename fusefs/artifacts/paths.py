"""Paths: hostile names to checked relative paths, with bounded memory whatever the names are (P10)."""

from __future__ import annotations

from fusefs.errors import InvalidManifest

MAX_COMPONENT = 255
"""Bytes of one component: NAME_MAX."""

MAX_PATH = 4096
"""Bytes of a whole path: PATH_MAX."""

MAX_DEPTH = 64
MAX_FOLDERS = 1 << 17
"""Twice the layers of the largest manifest.  A hostile 16 MiB manifest could otherwise ask for millions of folders."""

_Trie = dict[str, "_Trie | None"]
"""Component to folder, or to None for a file.  Not a set of prefixes: those would cost depth times length."""


def check_path(path: str) -> tuple[str, ...]:
    """The components of a layer's name.

    Raises:
        InvalidManifest: not a relative path that every Linux file system can hold.
    """
    shown = ascii(path[:100])
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        raise InvalidManifest(f"invalid layer name {shown}: it is not valid text") from None
    if length > MAX_PATH:
        raise InvalidManifest(f"invalid layer name {shown}: longer than {MAX_PATH} bytes")
    if path.startswith("/"):
        raise InvalidManifest(f"invalid layer name {shown}: it is absolute")
    if any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in path):
        raise InvalidManifest(f"invalid layer name {shown}: it has control characters")
    parts = tuple(path.split("/"))
    for part in parts:
        if part in ("", ".", ".."):
            raise InvalidManifest(f"invalid layer name {shown}: a component is {part!r}")
        if len(part.encode()) > MAX_COMPONENT:
            raise InvalidManifest(f"invalid layer name {shown}: a component is longer than {MAX_COMPONENT} bytes")
    if len(parts) > MAX_DEPTH:
        raise InvalidManifest(f"invalid layer name {shown}: deeper than {MAX_DEPTH} folders")
    return parts


class Paths:
    """The paths given away so far, with bounded memory whatever the names are."""

    def __init__(self) -> None:
        self._root: _Trie = {}
        self._folders = 0

    def add(self, path: str) -> None:
        """Take `path` as a file.

        Raises:
            InvalidManifest: not a path, taken, or in conflict with a folder or file that is.
        """
        *folders, name = check_path(path)
        here = self._root
        for folder in folders:
            if folder not in here:
                self._folders += 1
                if self._folders > MAX_FOLDERS:
                    raise InvalidManifest(f"invalid manifest: more than {MAX_FOLDERS} folders")
            below = here.setdefault(folder, {})
            if below is None:
                raise InvalidManifest(f"invalid layer name {path[:100]!a}: a file of that name is also a folder")
            here = below
        if name in here:
            reason = "two layers have it" if here[name] is None else "a folder has that name too"
            raise InvalidManifest(f"invalid layer name {path[:100]!a}: {reason}")
        here[name] = None

    def try_add(self, name: str) -> bool:
        """Take `name` in the root of the model; False when it is a file or a folder already."""
        if name in self._root:
            return False
        self._root[name] = None
        return True

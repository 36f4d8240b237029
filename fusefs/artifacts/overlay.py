"""Overlay: the files of a container image: layers over each other, whiteouts, and the folder of the model.

Sources: OCI image-spec 1.1 layer.md (whiteouts, opaque folders), KServe's modelcars, which read `/models` of the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from fusefs.artifacts.members import Unfolded, resolve_links, unfold
from fusefs.artifacts.paths import MAX_FOLDERS
from fusefs.errors import InvalidManifest
from fusefs.values.snapshot import Slice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fusefs.artifacts.contents import Opened

MODELS = "models/"
"""Where KServe's modelcars, olot's and RamaLama's images have the model."""

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"

_Leaf: TypeAlias = tuple[Slice, int] | str
"""A file, or where a symbolic link leads to."""

_Folder: TypeAlias = dict[str, "_Folder | _Leaf"]
"""Not paths and their prefixes: those would cost depth times length."""


def image_files(layers: Iterable[Opened]) -> Unfolded:
    """What a container of the image would see below `/models`, or everything where there is no such folder.

    Raises:
        InvalidManifest: a path that leads out.
    """
    found = Unfolded()
    root: _Folder = {}
    room = MAX_FOLDERS
    for layer in layers:
        above = unfold(layer)
        found.skipped += above.skipped
        leaves: dict[str, _Leaf] = {**above.files, **above.links}
        for path in leaves:
            _hide(root, path)  # what lies below; what this layer has itself comes after
        for path, leaf in leaves.items():
            if not path.rpartition("/")[2].startswith(_WHITEOUT):
                room -= _put(root, path, leaf)
                if room < 0:
                    raise InvalidManifest(f"invalid image: more than {MAX_FOLDERS} folders")
    for path, leaf in _leaves(root, ""):
        if isinstance(leaf, str):
            found.links[path] = leaf
        else:
            found.files[path] = leaf
    resolve_links(found)
    inside = {path.removeprefix(MODELS): file for path, file in found.files.items() if path.startswith(MODELS)}
    found.files = inside or found.files
    return found


def _hide(root: _Folder, path: str) -> None:
    """Take away what a whiteout at `path` hides."""
    *folders, name = path.split("/")
    if not name.startswith(_WHITEOUT):
        return
    here = root
    for folder in folders:
        below = here.get(folder)
        if not isinstance(below, dict):
            return
        here = below
    if name == _OPAQUE:
        here.clear()
    else:
        here.pop(name.removeprefix(_WHITEOUT), None)


def _put(root: _Folder, path: str, leaf: _Leaf) -> int:
    """Lay a file over what is there, a folder over a file; gives how many folders are new."""
    *folders, name = path.split("/")
    here, new = root, 0
    for folder in folders:
        below = here.get(folder)
        if not isinstance(below, dict):
            below = here[folder] = {}
            new += 1
        here = below
    here[name] = leaf
    return new


def _leaves(folder: _Folder, prefix: str) -> Iterator[tuple[str, _Leaf]]:
    for name, entry in folder.items():
        if isinstance(entry, dict):
            yield from _leaves(entry, f"{prefix}{name}/")
        else:
            yield prefix + name, entry

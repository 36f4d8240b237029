"""The cache of the Hugging Face Hub's library: which folder is a model, and where the files of it are.

    <cache>/models--<organization>--<name>/refs/main          the commit that the name means
    <cache>/models--<organization>--<name>/snapshots/<commit> the files, as links `../../blobs/<hash>`
    <cache>/models--<organization>--<name>/blobs              their bytes, and unfinished downloads

The folder of the cache holds files of the library as well (`version.txt`, `CACHEDIR.TAG`), and data sets and spaces.
Knows names and links, and opens nothing but a reference.  What it names is a claim: who reads it checks where it lies.
Source: huggingface_hub, "Understand caching".
"""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

from fusefs.errors import ServeError

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.offers.roots import Roots

_MODEL = re.compile(r"models--(.+)", re.DOTALL)
_OTHER = re.compile(r"(?:datasets|spaces)--.+", re.DOTALL)

OWN = frozenset({"version.txt", "CACHEDIR.TAG", ".locks"})
"""What the library itself has at the top of a cache."""

OWN_ABOVE = frozenset(
    {"hub", "xet", "assets", "datasets", "modules", "accelerate", "evaluate", "metrics", "token", "stored_tokens"}
)
"""What the library and its sisters have beside a cache (`$HF_HOME`)."""

_REFERENCE = 256
"""Bytes of a reference that are read at most; it holds the name of a commit."""


def model_of(folder_name: str) -> str | None:
    """`organization--name` of the folder of a model; None for any other folder."""
    match = _MODEL.fullmatch(folder_name)
    return match[1] if match else None


def is_other(folder_name: str) -> bool:
    """Whether this is the folder of a data set or a space."""
    return _OTHER.fullmatch(folder_name) is not None


def is_repository(folder: Path) -> bool:
    """Whether this is the folder of a model in a cache."""
    return model_of(folder.name) is not None and (folder / "snapshots").is_dir()


def repository_above(folder: Path) -> Path | None:
    """The folder of the model of which `folder`, without links, is a snapshot or a part of one."""
    for snapshots in folder.parents:
        if snapshots.name == "snapshots" and is_repository(snapshots.parent):
            return snapshots.parent
    return None


def meant_by(directory: Path) -> Path:
    """The folder to look at when a person names `directory`: the library has a folder above its cache, and one below.

    `~/.cache/huggingface` means `hub` in it, and `models--x/snapshots` or `models--x/blobs` means `models--x`.
    """
    if directory.name in ("snapshots", "blobs", "refs") and is_repository(directory.parent):
        return directory.parent
    hub = directory / "hub"
    if not hub.is_dir() or hub.is_symlink():
        return directory
    return hub if any(map(is_repository, hub.iterdir())) else directory


def snapshot_of(repository: Path, roots: Roots) -> Path:
    """The snapshot to which `refs/main` leads; without that reference, the only one there is.

    Args:
        repository: the folder of a model, without links.
        roots: from which it is read.

    Raises:
        ServeError: there is none, or several and no reference.
    """
    snapshots = repository / "snapshots"
    commit = _commit(repository / "refs" / "main", roots)
    try:
        found = [name for name, status in roots.statuses(snapshots) if stat.S_ISDIR(status.st_mode)]
    except OSError as exc:
        raise ServeError(f"cannot read {snapshots}: {exc.strerror}") from exc
    if commit in found:
        return snapshots / commit
    if len(found) == 1:
        return snapshots / found[0]
    if not found:
        raise ServeError("no snapshot of it is in the cache")
    raise ServeError(f"refs/main leads to none of its {len(found)} snapshots; serve one of them by its own folder")


def _commit(reference: Path, roots: Roots) -> str:
    try:
        fd, _ = roots.open(reference)
    except ServeError:
        return ""
    with open(fd, "rb") as file:
        return file.read(_REFERENCE).decode("ascii", "replace").strip()

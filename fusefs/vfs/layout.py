"""Layout: which paths a mount of several snapshots shows.  Pure: no I/O, no clock, no inode."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from fusefs.errors import InvalidManifest, InvalidName
from fusefs.values.hubname import HubName
from fusefs.values.snapshot import File, Slice
from fusefs.vfs.hublayout import hub_files_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fusefs.values.digest import Digest
    from fusefs.values.names import Name
    from fusefs.values.reference import Reference
    from fusefs.values.snapshot import Snapshot

LayoutName = Literal["files", "ollama", "hf"]


def check_names(names: Iterable[Reference], layout: LayoutName) -> None:
    """Return when a layout has place for models, as far as their names tell.

    Raises:
        InvalidName: it has none for one of them.
    """
    for name in names:
        if layout == "hf" and not isinstance(name, HubName):
            raise InvalidName(
                f"{name.short} is no model of the Hugging Face Hub (hf://…): --layout hf shows those alone"
            )


def layout_of(models: Sequence[Snapshot], layout: LayoutName = "files") -> list[File]:
    """Every file of a mount of `models`.

    Raises:
        InvalidManifest: two models give one blob two sizes.
        InvalidName: two models would lie in the same place.
    """
    _check_sizes(models)
    if layout == "ollama":
        return ollama_files_of(models)
    if layout == "hf":
        return hub_files_of(models)
    if len(models) == 1:
        return list(models[0].files)
    return [
        replace(file, path=f"{folder}/{file.path}")
        for folder, model in zip(_folders_of([model.reference for model in models]), models, strict=True)
        for file in model.files
    ]


def ollama_files_of(models: Sequence[Snapshot]) -> list[File]:
    """An OLLAMA_MODELS folder: `blobs/sha256-<hex>` and `manifests/<host>/<namespace>/<model>/<tag>`.

    Only blobs that a manifest names are there, each once; no folder is empty.

    Raises:
        InvalidName: two names that differ in case alone: Ollama takes them for one.
    """
    manifests: dict[tuple[str, str, str, str], File] = {}
    blobs: dict[Digest, File] = {}
    for model in models:
        if model.reference.key in manifests:
            raise InvalidName(f"{model.reference.short} is asked for twice: mount each at a mount point of its own")
        path = "/".join(("manifests", *model.reference.path))
        manifests[model.reference.key] = File(path, model.document, model.mtime_ns)
        for blob in model.blobs:
            blobs.setdefault(blob.digest, File(f"blobs/{blob.digest.file_name}", Slice.whole(blob), model.mtime_ns))
    return [*blobs.values(), *manifests.values()]


def _folders_of(names: Sequence[Name]) -> list[str]:
    """`<model>/<tag>` for each name, with host and namespace for those that would share it."""
    shared = Counter(name.folder for name in names)
    folders = ["/".join(name.path if shared[name.folder] > 1 else name.folder) for name in names]
    # A model called as another one's host would lie around it; full paths all have four parts and cannot.
    taken = set(folders)
    if any(str(above) in taken for folder in taken for above in PurePosixPath(folder).parents):
        folders = ["/".join(name.path) for name in names]
    for folder, count in Counter(folders).items():
        if count > 1:
            raise InvalidName(f"{folder} is asked for twice: mount each at a mount point of its own")
    return folders


def _check_sizes(models: Iterable[Snapshot]) -> None:
    """One blob has one size: a second registry must not change the size of a file that another one described."""
    sizes: dict[Digest, int] = {}
    for blob in (blob for model in models for blob in model.blobs):
        if sizes.setdefault(blob.digest, blob.size) != blob.size:
            raise InvalidManifest(f"invalid manifest: {blob.digest} is listed with two sizes")

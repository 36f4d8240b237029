"""HubLayout: models of the Hugging Face Hub as the cache that its library keeps, so that programs find them there.

    models--organization--name/refs/main             the commit that a revision means
    models--organization--name/snapshots/<commit>/…  the files
    models--organization--name/blobs/<etag>          links to them
    models--organization--name/trees/<commit>.json   what a commit is made of
    CACHEDIR.TAG                                     nothing here is worth a backup

The library has the content in `blobs` and links in `snapshots`.  Here it is the other way round: a program that follows
links to their end finds a file with its own name beside the others of its model, and one that follows none finds the
same.  Programs stumble over the library's way again and again (microsoft/onnxruntime#27353 and robertknight/rten#1334:
external data that is not beside the model; NVIDIA/TensorRT-Edge-LLM#184: parts that are not below its folder), and the
library itself moves files into `snapshots` where there are no links.  What a commit has twice, or has of another one,
is a link to the first, so that the kernel keeps its pages once.

Pure: no I/O, no clock, no inode.
"""

from __future__ import annotations

from posixpath import dirname, relpath
from typing import TYPE_CHECKING

from fusefs.artifacts.hublisting import hub_folder, listing_of
from fusefs.artifacts.hubtree import HubTree
from fusefs.artifacts.paths import Paths
from fusefs.errors import InvalidManifest, InvalidName
from fusefs.values.hubname import MAIN, HubName
from fusefs.values.snapshot import File

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.values.snapshot import Snapshot

CACHE_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This is a mount of fusefs in the form of a Hugging Face Hub cache.\n"
    "# For information about cache directory tags, see:\n"
    "#\thttps://bford.info/cachedir/\n"
)
"""Source: Cache Directory Tagging Specification; tools that copy know it by its first line."""


def hub_files_of(models: Sequence[Snapshot]) -> list[File]:
    """The files and links of such a cache.

    Raises:
        InvalidName: one revision is asked for twice and is two commits, or one lies in the place of another.
    """
    layout = _Layout()
    for model in models:
        layout.add(model)
    return layout.files()


class _Layout:
    """What is shown, by path; the first one to have a content has it for all."""

    def __init__(self) -> None:
        self._shown: dict[str, File] = {}
        self._homes: dict[str, str] = {}
        self._commits: dict[str, dict[str, str]] = {}
        self._mtime_ns = 0

    def add(self, model: Snapshot) -> None:
        """Add one revision of a repository.

        Raises:
            InvalidName: see `hub_files_of`.
        """
        name = model.reference
        assert isinstance(name, HubName), "see `fusefs.vfs.layout.check_names`"
        tree = HubTree.parse(model.document)
        folder = hub_folder(name.kind, name.repository)
        revisions = self._commits.setdefault(folder, {})
        if revisions.setdefault(name.tag, tree.commit) != tree.commit:
            raise InvalidName(f"{name.short} is asked for twice: mount each at a mount point of its own")
        self._mtime_ns = max(self._mtime_ns, model.mtime_ns)
        snapshot = f"{folder}/snapshots/{tree.commit}"
        etags = {file.path: file.blob.digest.hex for file in tree.files}
        for file in model.files:
            path, blob = f"{snapshot}/{file.path}", f"{folder}/blobs/{etags[file.path]}"
            home = self._homes.setdefault(blob, path)
            shown = File(path, file.content, file.mtime_ns) if home == path else _link(path, home, file.mtime_ns)
            self._shown.setdefault(path, shown)
            self._shown.setdefault(blob, _link(blob, home, file.mtime_ns))
        self._show(f"{folder}/trees/{tree.commit}.json", listing_of(tree.files), model.mtime_ns)

    def files(self) -> list[File]:
        """All of it.

        Raises:
            InvalidName: see `hub_files_of`.
        """
        for folder, revisions in self._commits.items():
            # Who mounts a tag or a commit means it for programs that name no revision, too.
            named = any(revision.partition("/")[0] == MAIN for revision in revisions)
            paths = Paths()
            for revision, commit in (
                revisions if named else {MAIN: next(iter(revisions.values())), **revisions}
            ).items():
                if revision != commit:
                    _take(paths, revision)
                    self._show(f"{folder}/refs/{revision}", commit.encode(), self._mtime_ns)
        self._show("CACHEDIR.TAG", CACHE_TAG.encode(), self._mtime_ns)
        return list(self._shown.values())

    def _show(self, path: str, data: bytes, mtime_ns: int) -> None:
        self._shown.setdefault(path, File(path, data, mtime_ns))


def _take(paths: Paths, revision: str) -> None:
    try:
        paths.add(revision)
    except InvalidManifest as exc:
        raise InvalidName(f"the revision {revision} has no place beside the others: {exc}") from None


def _link(path: str, home: str, mtime_ns: int) -> File:
    return File(path, b"", mtime_ns, relpath(home, dirname(path)))

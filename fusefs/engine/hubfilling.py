"""Filling the cache of the Hugging Face Hub's library with models that are whole in ours (`pull --into-hf-cache`)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.artifacts.hublisting import hub_folder
from fusefs.artifacts.hubtree import HubTree
from fusefs.cache.place import Place
from fusefs.errors import ServeError
from fusefs.offers.hubwriter import HubWriter
from fusefs.offers.treefiles import Placed
from fusefs.values.hubname import HubName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fusefs.artifacts.hubtree import HubFile
    from fusefs.offers.inplace import InPlace
    from fusefs.values.digest import Digest
    from fusefs.values.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class HubFilled:
    """What came of one model.

    Attributes:
        snapshot: the folder of its files.
        files: how many it has.
        new: those whose content was not there.
    """

    snapshot: Path
    files: int
    new: int


class HubFiller:
    """Fills one cache.  Blocking."""

    def __init__(
        self,
        hub_cache: Path,
        cache: Path,
        local: Mapping[Digest, InPlace],
        *,
        told: Callable[[str], None],
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Prepare it.

        Args:
            hub_cache: of the library; made when it is not there.
            cache: ours, which has all that `local` does not have.
            local: what the library's has already, and right.
            told: told in one line of other programs that are waited for.
            progress: told of each file: its path, bytes behind us, and bytes in all.
        """
        self._hub_cache = hub_cache
        self._cache = cache
        self._local = local
        self._told = told
        self._progress = progress

    def fill(self, model: Snapshot) -> HubFilled:
        """Have a model of the Hub there.

        Raises:
            ServeError: the disk does not take it, or a blob has gone from our cache meanwhile.
        """
        name = model.reference
        assert isinstance(name, HubName), "the command sees to it"
        tree = HubTree.parse(model.document)
        shown = {file.path for file in model.files}
        files = [file for file in tree.files if file.path in shown]
        writer = HubWriter(self._hub_cache, hub_folder(name.kind, name.repository), self._told)
        size, done, new = sum(file.blob.size for file in files), 0, 0
        for file in files:
            new += self._put(writer, file)
            done += file.blob.size
            self._progress(file.path, done, size)
        snapshot = writer.finish(tree.commit, "" if name.commit else name.tag, tree.files, files)
        return HubFilled(snapshot, len(files), new)

    def _put(self, writer: HubWriter, file: HubFile) -> bool:
        """Have the content of one file there; whether it was not."""
        here = self._local.get(file.blob.digest)
        if here is not None:
            if writer.leads_to(file, here.path):
                return False
            with here.opened() as source:
                return writer.add_blob(file, source) is not Placed.KEPT
        source = self._open(file)
        try:
            return writer.add_blob(file, source) is not Placed.KEPT
        finally:
            os.close(source)

    def _open(self, file: HubFile) -> int:
        # An empty blob is no file of the cache.  Of one that is open nothing is evicted.
        path = str(Place(self._cache, file.blob.digest).sealed) if file.blob.size else os.devnull
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as exc:
            raise ServeError(f"cannot read {file.path} in the cache: {exc.strerror}; run the command again") from exc

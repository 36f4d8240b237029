"""Options: what a person asked of a mount or of a pull."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusefs.engine.demands import NO_DEMANDS
from fusefs.engine.local import LocalModels
from fusefs.values.selection import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from pathlib import Path

    from fusefs.engine.demands import Demands
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name
    from fusefs.values.reference import Reference
    from fusefs.values.selection import Selection
    from fusefs.values.settings import Settings
    from fusefs.vfs.layout import LayoutName


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What a person asked for.

    Attributes:
        names: the models, and the folders of this machine; one or more.
        mountpoint: an empty folder.
        cache_dir: the backing cache.
        stores: local stores that are asked before the network.
        settings: see `Settings`.
        layout: names for the files, an OLLAMA_MODELS directory, or a cache of the Hub's library.
        symlinks: show blobs that are sealed and proved already as symbolic links into the cache.
        allow_other: other users may read.
        log_file: where to log; None for the default of a daemon, and for stderr in the foreground.
        verbose: log every step.
        local: the models of the folders, and what the Hub's library has.
        hub_cache: the cache of the Hub's library; None where it is not looked into.
        background: nothing holds the mount but who can see it; in the foreground whoever started it does.
        passthrough: let the kernel read by itself what is proved, where it can.
        replace: take the place of a mount of ours that is there.
        demands: what the models must be made of.
        selection: which of their files are shown.
        holder: a pidfd of the process that the mount ends with; -1 where it ends with none.
        temporary: name of a mount point that is made for this mount and removed with it; empty for `mountpoint`.
        warn: told at once why it takes long before the mount is ready.
    """

    names: tuple[Reference, ...]
    mountpoint: Path
    cache_dir: Path
    stores: tuple[Path, ...]
    settings: Settings
    layout: LayoutName = "files"
    symlinks: bool = False
    allow_other: bool = False
    log_file: Path | None = None
    verbose: bool = False
    local: LocalModels = field(default_factory=LocalModels)
    background: bool = False
    passthrough: bool = True
    replace: bool = False
    demands: Demands = NO_DEMANDS
    selection: Selection = EVERYTHING
    holder: int = -1
    temporary: str = ""
    hub_cache: Path | None = None
    warn: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class PullOptions:
    """What a person asked for.

    Attributes:
        names: the models; one or more.
        cache_dir: where they are kept.
        stores: local stores that are asked before the network.
        settings: see `Settings`.
        warn: told what a person should know although it works.
        larger_than: blobs of at most so many bytes are left out.
        demands: as in `MountOptions`.
        selection: which of their files are fetched.
        local: what the Hub's library has.
        leave: blobs that stay where they are.
    """

    names: tuple[Name, ...]
    cache_dir: Path
    stores: tuple[Path, ...]
    settings: Settings
    warn: Callable[[str], None] = lambda _: None
    larger_than: int = -1
    demands: Demands = NO_DEMANDS
    selection: Selection = EVERYTHING
    local: LocalModels = field(default_factory=LocalModels)
    leave: Container[Digest] = ()

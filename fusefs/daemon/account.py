"""Account: what can be said of a running mount, for `status`."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec
import trio

from fusefs import __version__
from fusefs.daemon import hardening, logs
from fusefs.values import metrics
from fusefs.values.digest import Digest
from fusefs.values.report import CELLS, FileReport, MountReport, encode
from fusefs.values.wirereport import WireReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fusefs.daemon.watchdog import Watchdog
    from fusefs.engine.engine import Engine
    from fusefs.engine.options import MountOptions
    from fusefs.fuse import kernel
    from fusefs.fuse.natives import Natives
    from fusefs.fuse.session import Wiring
    from fusefs.values.chunks import Blob
    from fusefs.vfs.filesystem import FileSystem
    from fusefs.vfs.tree import FileNode


class Account:
    """What can be said of a running mount.

    Attributes:
        tuning: what became of the kernel's limits; None when they were not tried.
        foretold: gives what will be read whole, a line a model.
        wiring: how requests of the kernel are answered; None before there is a mount.
    """

    def __init__(
        self,
        options: MountOptions,
        file_system: FileSystem,
        engine: Engine,
        named: dict[Blob, str],
        watchdog: Watchdog,
        natives: Natives,
        notes: Sequence[str] = (),
    ) -> None:
        self._options = options
        self._file_system = file_system
        self._engine = engine
        self._named = named
        self._watchdog = watchdog
        self._natives = natives
        fetcher, counters = engine.fetcher, engine.counters
        since = time.monotonic()
        counters.watch(metrics.OPENS_NATIVE, lambda: natives.opens)
        counters.watch(metrics.RATE, lambda: fetcher.rate)
        counters.watch(metrics.IN_FLIGHT, lambda: fetcher.in_flight)
        counters.watch(metrics.QUEUED, lambda: fetcher.queued)
        counters.watch(metrics.OVERDUE, lambda: watchdog.overdue)
        counters.watch(metrics.UPTIME, lambda: time.monotonic() - since)
        self._notes = tuple(notes)
        self.tuning: kernel.Tuning | None = None
        self.wiring: Wiring | None = None
        self.foretold: Callable[[], list[str]] = list

    async def document(self) -> bytes:
        """The report as JSON; lets readers in every few files, of which there may be 65,536."""
        files: list[FileReport] = []
        shown = [node for node in self._file_system.tree.files if not node.shown_elsewhere]
        for some in _batches(shown):
            await self._file_system.metadata.look_at(some)
            for few in _batches(some, _AT_A_TIME):
                files += map(self._file, few)
                await trio.lowlevel.checkpoint()
        options = self._options
        signed = options.demands.signed
        capabilities, may_gain = hardening.rights()
        report = MountReport(
            mountpoint=str(options.mountpoint),
            pid=os.getpid(),
            sources=tuple(map(str, options.names)),
            cache_dir=str(options.cache_dir),
            layout=options.layout,
            log_file=str(options.log_file or ""),
            version=__version__,
            kernel=dict(self.tuning.as_dict()) if self.tuning else {},
            wire=self._wire(),
            files=tuple(files),
            counters=self._engine.counters.snapshot(),
            last_error=self._watchdog.complaint
            or logs.trouble()
            or self._file_system.last_error
            or self._engine.fetcher.last_error
            or None,
            notes=(*self._notes, *self.foretold()),
            signed=signed.voucher.who if signed is not None else "",
            sources_state=self._engine.pool.states(),
            capabilities=capabilities,
            no_new_privileges=not may_gain,
        )
        return encode(msgspec.structs.replace(report, **self._engine.counters.gauges()))

    def _wire(self) -> WireReport:
        wiring, natives = self.wiring, self._natives
        if wiring is None:
            return WireReport()
        return WireReport(
            threads=wiring.threads,
            interrupts=wiring.interrupts,
            why_not=wiring.why_not,
            passthrough=not natives.why_not,
            native=natives.native,
            no_passthrough=natives.why_not,
        )

    def _file(self, node: FileNode) -> FileReport:
        present, state = self._file_system.metadata.presence(node)
        content = node.content
        name = self._named.get(content.blob, "") if not isinstance(content, bytes) else ""
        if present >= node.size:
            presence = _ALL
        elif present == 0 or isinstance(content, bytes):
            presence = _NONE
        else:
            presence = tuple(map(_percent, self._file_system.metadata.presence_by_part(node, CELLS)))
        return FileReport(
            path=node.path,
            name=name,
            digest=str(Digest.of(content) if isinstance(content, bytes) else content.blob.digest),
            size=node.size,
            present=present,
            state=state,
            proof=self._file_system.metadata.proof(node),
            presence=presence,
        )


_LOOKED_AT = 64
"""Files that are looked at in one go: what was seen of the first must not be old when it is the turn of the last."""

_AT_A_TIME = 16
"""Files that readers wait for: some tenths of a millisecond."""


def _batches(nodes: Sequence[FileNode], size: int = _LOOKED_AT) -> Iterator[Sequence[FileNode]]:
    for i in range(0, len(nodes), size):
        yield nodes[i : i + size]


_ALL, _NONE = (100,) * CELLS, (0,) * CELLS


def _percent(fraction: float) -> int:
    """0 and 100 only when it is exactly that."""
    if fraction <= 0:
        return 0
    return 100 if fraction >= 1 else min(99, max(1, round(100 * fraction)))

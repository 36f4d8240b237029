"""Kernel: the limits of one FUSE connection that only /sys can change, and what could not be changed.

`minor` is that of the mount's st_dev.  The defaults are measured: at 20 ms a request, 128 KiB of read-ahead and 12
requests in flight give 12 MiB/s.  A larger window gives more, but a random touch of a mapped page pulls all of it, and
over a chunk border a second chunk; reading far ahead is the fetcher's business.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

SYS = Path("/sys")

READ_AHEAD_KB = 256
"""For a file of which parts may be absent."""

LARGE_READ_AHEAD_KB = 1024
"""Where a large window is free: requests of 1 MiB, the largest that the kernel sends.  A cold read in order takes about
a fifth less time with them."""


MAX_BACKGROUND = 4096
"""Every read through the page cache is one of these requests, of whatever file: with 64, as many readers who wait for a
dead registry stop those of all other files.  How far the kernel reads ahead is the threshold's business.  Without
CAP_SYS_ADMIN a kernel allows one for each 3 MiB of the machine's memory at most."""


@dataclass(frozen=True, slots=True)
class Knob:
    """One limit.

    Attributes:
        name: as the kernel calls it.
        wanted: the value asked for.
        actual: the value it has; None when it cannot be read.
        why_not: why it is not `wanted`; empty when it is.
    """

    name: str
    wanted: int
    actual: int | None
    why_not: str


@dataclass(frozen=True, slots=True)
class Tuning:
    """What became of all of them.

    Attributes:
        knobs: in the order they were set.
    """

    knobs: tuple[Knob, ...]

    def as_dict(self) -> dict[str, dict[str, int | str | None]]:
        """For `status`: by name, `wanted`, `actual` and `why_not`."""
        return {
            knob.name: {"wanted": knob.wanted, "actual": knob.actual, "why_not": knob.why_not} for knob in self.knobs
        }

    @property
    def complaint(self) -> str:
        """One line about what could not be set; empty when everything was."""
        return "; ".join(f"{knob.name} is {knob.actual}: {knob.why_not}" for knob in self.knobs if knob.why_not)


def tune(
    minor: int,
    *,
    read_ahead_kb: int = READ_AHEAD_KB,
    max_background: int = MAX_BACKGROUND,
    congestion_threshold: int = 48,
    sys: Path = SYS,
) -> Tuning:
    """Set the limits of a connection.  Never raises, never waits for the mount; needs INIT to be answered.

    Args:
        minor: of the mount's st_dev.
        read_ahead_kb: KiB the kernel reads ahead of a sequential reader.
        max_background: requests of the page cache in flight at most.
        congestion_threshold: requests in flight from which the kernel reads less ahead.
        sys: where sysfs is mounted.
    """
    connections = _connections(minor, sys)
    return Tuning(
        (
            _set(sys / "class/bdi" / f"0:{minor}" / "read_ahead_kb", read_ahead_kb),
            # The threshold must not exceed the maximum of the moment, so the maximum comes first.
            _set(connections / str(minor) / "max_background", max_background),
            _set(connections / str(minor) / "congestion_threshold", congestion_threshold),
        )
    )


class Window:
    """The kernel's read-ahead for a file, given when it is opened: a file keeps the window it was opened with.

    A sealed file gets a larger one: what a random touch pulls too much of it costs memory bandwidth, not the link.  So
    does a file whose last recorded load read long pieces: there is next to nothing to pull too much.
    """

    def __init__(self, minor: int, *, sys: Path = SYS) -> None:
        """Make one for the connection `minor`; a limit that may not be set is left alone."""
        self._path = sys / "class/bdi" / f"0:{minor}" / "read_ahead_kb"
        self._now = 0

    def choose(self, *, sealed: bool, in_order: bool) -> None:
        """Set the window of the file that is being opened; the kernel takes it over after our answer."""
        wanted = LARGE_READ_AHEAD_KB if sealed or in_order else READ_AHEAD_KB
        why = "sealed" if sealed else "read in order before" if in_order else "parts may be absent"
        log.debug("A file is opened with %d KiB of read-ahead: %s", wanted, why)
        if wanted != self._now:
            self._now = wanted
            with contextlib.suppress(OSError):  # `tune` has said why
                self._path.write_text(f"{wanted}\n")


def abort(minor: int, *, sys: Path = SYS) -> bool:
    """End a connection by force: every caller gets an errno at once, even where the daemon does not answer.

    Returns:
        Whether the kernel took it; only root may.
    """
    try:
        (_connections(minor, sys) / str(minor) / "abort").write_text("1\n")
    except OSError:
        return False
    return True


def _connections(minor: int, sys: Path) -> Path:
    """Where fusectl is mounted; mounts it there when it is not and we may."""
    connections = sys / "fs/fuse/connections"
    if not (connections / str(minor)).exists() and connections.is_dir() and os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        # That it fails (a container) shows when the limit is set.
        libc.mount(b"fusectl", os.fsencode(connections), b"fusectl", 0, None)
    return connections


def _set(path: Path, wanted: int) -> Knob:
    why_not = ""
    try:
        path.write_text(f"{wanted}\n")
    except OSError as exc:
        why_not = f"{exc.strerror}" + ("" if os.geteuid() == 0 else "; only root may set it")
    try:
        actual = int(path.read_text())
    except (OSError, ValueError):
        actual = None
    if not why_not and actual != wanted:
        why_not = "the kernel has another limit"
    return Knob(path.name, wanted, actual, "" if actual == wanted else why_not)

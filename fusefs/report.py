"""What is said about mounts and about long work: over the control socket, out of `--json`, and to `fusefs.view`.

Pure values.  Fields that a daemon of another version does not send have defaults, and fields that this version does
not know are ignored, so that `status` works while an old daemon still runs.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

CELLS = 64
"""Into how many equal parts of a file its presence is divided."""

MountState = Literal["up", "dead", "silent", "denied"]
"""It answers; its daemon is gone; its daemon does not answer; it belongs to another user."""


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a mount.

    Attributes:
        path: below the mount point.
        name: the source that it belongs to.
        digest: of the blob.
        size: bytes.
        present: bytes that are in the cache.
        state: absent, partial, unproved, sealed or quarantined.
        presence: percent present (0 to 100) of each of `CELLS` equal parts.
    """

    path: str
    name: str = ""
    digest: str = ""
    size: int = 0
    present: int = 0
    state: str = "absent"
    presence: tuple[int, ...] = ()


class MountReport(msgspec.Struct, frozen=True, kw_only=True):
    """One mount.

    Attributes:
        mountpoint: absolute path.
        state: see `MountState`; when it is not `up`, only `mountpoint`, `sources`, `pid` and `problem` are known.
        problem: what is wrong and what to do about it, when it is not `up`.
        pid: of the daemon; 0 when unknown.
        sources: the names that are mounted.
        cache_dir: the backing cache.
        layout: `files` or `ollama`.
        log_file: where the daemon logs; empty when nowhere.
        version: of the daemon.
        uptime: seconds.
        rate: bytes per second that arrive now.
        in_flight: requests to sources that are running now.
        kernel: the knobs: name to the value that was set, or a text that says why it could not be.
        files: every file with content of its own.
        counters: see `fusefs.stats.Counters`.
        last_error: the last failed read or fetch; None when there was none.
    """

    mountpoint: str
    state: MountState = "up"
    problem: str = ""
    pid: int = 0
    sources: tuple[str, ...] = ()
    cache_dir: str = ""
    layout: str = "files"
    log_file: str = ""
    version: str = ""
    uptime: float = 0.0
    rate: float = 0.0
    in_flight: int = 0
    kernel: dict[str, Any] = {}  # msgspec copies a mutable default
    files: tuple[FileReport, ...] = ()
    counters: dict[str, int] = {}  # msgspec copies a mutable default
    last_error: str | None = None


class StatusReport(msgspec.Struct, frozen=True):
    """All mounts: the document of `fusefs status --json`."""

    mounts: tuple[MountReport, ...] = ()


class Item(msgspec.Struct, kw_only=True):
    """One blob that is worked on, now or in the end.

    Attributes:
        label: what a person calls it.
        digest: its name.
        size: bytes.
        done: bytes that are behind us.
        state: `waiting`, `fetching`, `proving`, `checking`, `checked`; what it comes to is `sealed`, `failed`, `good`,
            `dropped` or `unproved`.
        problem: why it failed or was dropped; empty when it was not.
    """

    label: str
    size: int
    digest: str = ""
    done: int = 0
    state: str = "waiting"
    problem: str = ""


class PullReport(msgspec.Struct, frozen=True):
    """What became of a pull: the document of `fusefs pull --json`.

    Attributes:
        sources: the names that were asked for.
        blobs: each distinct blob.
        counters: see `fusefs.stats.Counters`.
        seconds: how long it took.
    """

    sources: tuple[str, ...]
    blobs: tuple[Item, ...]
    counters: dict[str, int]
    seconds: float


class VerifyReport(msgspec.Struct, frozen=True):
    """What became of a verification: the document of `fusefs verify --json`.

    Attributes:
        cache_dir: what was verified.
        blobs: each blob of which something is there.
        checked: bytes that were hashed.
        seconds: how long it took.
    """

    cache_dir: str
    blobs: tuple[Item, ...]
    checked: int
    seconds: float


def encode(report: MountReport | StatusReport | PullReport | VerifyReport) -> bytes:
    """The report as JSON."""
    return msgspec.json.encode(report)


def decode(raw: bytes) -> MountReport:
    """Read what a daemon sent.

    Raises:
        msgspec.MsgspecError: it is not a report.
    """
    return msgspec.json.decode(raw, type=MountReport)

"""What is said about mounts and about long work: over the control socket, out of `--json`, and to `fusefs.view`.

Fields that an older daemon does not send have defaults, and unknown ones are ignored: `status` works with its mounts.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from fusefs.errors import InvalidInput
from fusefs.values.signedreport import SignedReport
from fusefs.values.wirereport import Count, WireReport

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
        proof: who stands behind its chunk list: `bound`, `signed WHO`, `store DIR`, `registry HOST`, or `none`.
        presence: percent present (0 to 100) of each of `CELLS` equal parts.
    """

    path: str
    name: str = ""
    digest: str = ""
    size: Count = 0
    present: Count = 0
    state: str = "absent"
    proof: str = ""
    presence: tuple[Count, ...] = ()


class SourceState(msgspec.Struct, frozen=True, kw_only=True):
    """How one registry or mirror does.

    Attributes:
        label: its host.
        state: `ok`, `resting` (it failed, or asked for time) or `blocked` (for some blobs it gave wrong content).
        reason: why, when it is not `ok`.
        blobs_blocked: for how many blobs it is not asked any more.
        ignores_range: it gives all of a file to who asks for a part, so that each file is read in one stream.
        mirror: it gives bytes alone, so that with `ignores_range` it is asked for whole files and for no part.
    """

    label: str
    state: str = "ok"
    reason: str = ""
    blobs_blocked: Count = 0
    ignores_range: bool = False
    mirror: bool = False


class MountReport(msgspec.Struct, frozen=True, kw_only=True):
    """One mount.

    Attributes:
        mountpoint: absolute path.
        state: see `MountState`; when it is not `up`, only `mountpoint`, `sources`, `pid` and `problem` are known.
        problem: what is wrong and what to do about it, when it is not `up`.
        pid: of the daemon; 0 when unknown.
        sources: the names that are mounted.
        cache_dir: the backing cache.
        layout: `files`, `ollama` or `hf`.
        log_file: where the daemon logs; empty when nowhere.
        version: of the daemon.
        uptime: seconds.
        rate: bytes per second that arrive now.
        in_flight: requests to sources that are running now.
        queued: chunks that are wanted and wait for their request.
        kernel: the knobs: name to the value that was set, or a text that says why it could not be.
        wire: how its requests are answered.
        files: every file with content of its own.
        counters: see `fusefs.values.metrics`.
        overdue: reads that should have been answered long ago (see `fusefs.daemon.watchdog`).
        last_error: what reads wait for that are overdue, else the last failed read or fetch; None when there was none.
        notes: what a person should know of how it was set up: whose manifest is the cache's, and why; what is
            compressed.
        signed: who has signed the model, where the mount was told to look (`--signature`).
        sources_state: every registry and mirror that was asked, in the order in which they are.
        capabilities: what the daemon has kept of root's power, by the names of capabilities(7); an ordinary user's has
            none.
        no_new_privileges: no program that it starts has more rights than it.
    """

    mountpoint: str
    state: MountState = "up"
    problem: str = ""
    pid: Count = 0
    sources: tuple[str, ...] = ()
    cache_dir: str = ""
    layout: str = "files"
    log_file: str = ""
    version: str = ""
    uptime: float = 0.0
    rate: float = 0.0
    in_flight: Count = 0
    queued: Count = 0
    kernel: dict[str, Any] = {}  # msgspec copies a mutable default
    wire: WireReport = WireReport()
    files: tuple[FileReport, ...] = ()
    counters: dict[str, Count] = {}  # msgspec copies a mutable default
    overdue: Count = 0
    last_error: str | None = None
    notes: tuple[str, ...] = ()
    signed: str = ""
    sources_state: tuple[SourceState, ...] = ()
    capabilities: tuple[str, ...] = ()
    no_new_privileges: bool = False


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


PULLED = ("sealed", "unproved")
"""States of a blob of which all is here; the second is of one of which no digest is known (`--unproved allow`)."""


class SourceProblem(msgspec.Struct, frozen=True):
    """A name of which nothing could be fetched, and why."""

    name: str
    problem: str


class PullReport(msgspec.Struct, frozen=True):
    """What became of a pull: the document of `fusefs pull --json`.

    Attributes:
        sources: the names that were asked for.
        blobs: each distinct blob.
        counters: see `fusefs.values.metrics`.
        seconds: how long it took.
        problems: those of the names of which nobody knows what they mean.
        notes: what a person should know although it worked.
    """

    sources: tuple[str, ...]
    blobs: tuple[Item, ...]
    counters: dict[str, int]
    seconds: float
    problems: tuple[SourceProblem, ...] = ()
    notes: tuple[str, ...] = ()


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


class ModelReport(msgspec.Struct, frozen=True, kw_only=True):
    """One model of a cache directory.

    Attributes:
        name: in full.
        short: as a person would write it.
        digest: of its manifest; empty when that cannot be read.
        size: bytes of all its blobs.
        present: bytes of them that are here.
        last_use: when it was read or written last, in seconds since 1970.
        pinned: nothing of it is evicted.
        problem: what is wrong with it; empty when nothing is.
    """

    name: str
    short: str
    digest: str
    size: int
    present: int
    last_use: float
    pinned: bool = False
    problem: str = ""


class BlobReport(msgspec.Struct, frozen=True):
    """One blob of a cache directory: its digest, bytes of the whole, here, and on disk, and when it was used last."""

    digest: str
    size: int
    present: int
    allocated: int
    sealed: bool
    last_use: float


class QuarantineReport(msgspec.Struct, frozen=True):
    """A blob in quarantine, because its list lied: its name, bytes on disk, and since when (seconds since 1970)."""

    name: str
    allocated: int
    since: float


class HoldingsReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a cache directory holds: the document of `fusefs ls --json`.

    Attributes:
        cache_dir: where.
        models: those whose manifest is there.
        unnamed: blobs that none of them names.
        quarantine: what turned out to be a lie.
        blobs: how many there are.
        used: bytes that they take on disk, each counted once.
        shared: bytes of those that several models name.
        disk: bytes of the whole disk.
        free: bytes of it that are free.
        keep_free: bytes that stay free where no other floor is asked for.
    """

    cache_dir: str
    models: tuple[ModelReport, ...]
    unnamed: tuple[BlobReport, ...]
    quarantine: tuple[QuarantineReport, ...]
    blobs: int
    used: int
    shared: int
    disk: int
    free: int
    keep_free: int


class Freed(msgspec.Struct, frozen=True):
    """What was freed of one model, of what several share, or of what none names.

    Attributes:
        models: whose it was; none for blobs that no model names.
        bytes: on disk.
        last_use: in seconds since 1970.
        forgotten: the model is gone altogether, its name too.
    """

    models: tuple[str, ...]
    bytes: int
    last_use: float
    forgotten: bool = False


class GcReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a clean-up: the document of `fusefs gc --json`.

    Attributes:
        cache_dir: where.
        dry_run: nothing was done; the rest says what would have been.
        freed: of models and blobs.
        freed_quarantine: bytes of what was in quarantine.
        freed_leftovers: bytes of temporary files whose process died.
        freed_total: bytes of all three.
        pinned: models that would have gone, but are pinned.
        in_use: models that would have gone, but are in use.
        unnamed_in_use: blobs that no model names, likewise.
        used: bytes that all blobs take on disk afterwards.
        free: bytes of the disk that are free afterwards.
        limit: bytes that the blobs may take; None for no limit.
        keep_free: bytes that have to stay free.
        excess: bytes by which a limit is still exceeded; 0 when they hold.
        small: bytes of manifests, configurations and the like, which no limit evicts.
    """

    cache_dir: str
    dry_run: bool
    freed: tuple[Freed, ...]
    freed_quarantine: int
    freed_leftovers: int
    freed_total: int
    pinned: tuple[str, ...]
    in_use: tuple[str, ...]
    unnamed_in_use: int
    used: int
    free: int
    limit: int | None
    keep_free: int
    excess: int
    small: int = 0


class Removed(msgspec.Struct, frozen=True):
    """A model that was removed from a cache.

    Attributes:
        name: in full.
        short: as a person would write it.
        bytes: on disk that were freed.
        blobs: how many went.
        shared: how many stay, because another model needs them.
    """

    name: str
    short: str
    bytes: int
    blobs: int
    shared: int


class Kept(msgspec.Struct, frozen=True):
    """A model that was not removed: its name in full and in short, and why."""

    name: str
    short: str
    why: str


class RemoveReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a removal: the document of `fusefs rm --json`.

    Attributes:
        cache_dir: where.
        removed: models that are gone.
        kept: models that are not.
        freed_total: bytes.
        free: bytes of the disk that are free afterwards.
    """

    cache_dir: str
    removed: tuple[Removed, ...]
    kept: tuple[Kept, ...]
    freed_total: int
    free: int


Report = (
    MountReport | StatusReport | PullReport | VerifyReport | SignedReport | HoldingsReport | GcReport | RemoveReport
)


def encode(report: Report) -> bytes:
    """The report as JSON."""
    try:
        return msgspec.json.encode(report)
    except UnicodeEncodeError:  # a path that is not UTF-8: each odd byte is half a surrogate, as everywhere in Python
        return json.dumps(msgspec.to_builtins(report), separators=(",", ":")).encode()


def decode(raw: bytes) -> MountReport:
    """Read what a daemon sent.

    Raises:
        InvalidInput: it is not a report.
    """
    try:
        if b"\\ud" in raw.lower():
            return _decode_odd(raw)
        return msgspec.json.decode(raw, type=MountReport)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise InvalidInput(f"no report: {str(exc)[:200]}") from exc


def _decode_odd(raw: bytes) -> MountReport:
    """What `encode` makes of paths that are not UTF-8, and nothing that a stricter reader would refuse besides."""
    document = json.loads(raw)
    json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogateescape")
    return msgspec.convert(document, MountReport)

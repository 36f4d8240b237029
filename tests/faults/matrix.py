"""The fault matrix as one table: what a server does wrong, where, how somebody reads, and what must come of it.

A cell is a row (a fault in one form) x where it strikes x how the reader reads x what kind of place the model lies at.
What every cell must hold besides its own outcome is in `tests.faults.matrix_cell`: it ends in time, the fault did
happen, no wrong byte reaches the reader or is marked in the cache, and once the fault is gone the same mount (or the
next pull) gives the right bytes without fetching again what was right.

Cells that make no sense have no outcome (`NONE`), for one of these reasons and no other:
    only a Range can be answered with 200, another range, or bytes behind a signed URL; lists and manifests have none
    only a chunk list can be cut short or list other content; only a manifest belongs to a tag that moves

Why some outcomes are what they are:
    a registry without chunk lists says 400, 403, 404 or 410 to their URL: the blob is fetched whole and proved whole
    a byte a second is waited for until `--timeout` is over, also once: nothing says that another request is faster
    bytes that arrived before the connection was reset count: a reset after the body harms nobody, however often
    a chunk list that turns out to be wrong takes with it what it proved, so that this is fetched again; and as the
    kernel has those pages already, the blob is whole only when somebody reads it all anew (`Row.relists`)
    bytes of the Hub that do not fit its proofs, of which none has fitted yet, are proved whole: proofs may be wrong
    a list that ends in a newline means the same without it: a Content-Length that is one too small harms no list
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Where = Literal["first", "last", "third", "list", "manifest"]
"""The first chunk, the last one, every third from the first on, the chunk list, the manifest."""

How = Literal["read", "mmap", "pull"]
"""read(2) and a mapped file on a kernel mount; `fusefs pull`."""

Form = Literal["once", "always"]
"""To the first request for each place that it strikes, or to every one until the fault is gone."""

WHERES: tuple[Where, ...] = get_args(Where)
HOWS: tuple[How, ...] = get_args(How)

Kind = Literal["ollama", "oci", "bucket", "hub"]
"""Where the model lies: a registry with Ollama's `chunksums`; a registry whose list somebody has published, with blobs
behind a redirect; a bucket of S3 with `SHA256SUMS` (the manifest) and a list beside the file; the Hugging Face Hub with
its Xet store, where a window proof is what a list is elsewhere."""

KINDS: tuple[Kind, ...] = get_args(Kind)


class Outcome(Enum):
    """What must come of it: the right bytes in the end, or an errno.

    To a mapped file an errno is SIGBUS; of a manifest or a pull it is that of the error with which the command ends.
    """

    RIGHT = "right"
    EIO = "EIO"
    EACCES = "EACCES"
    NONE = "–"  # noqa: RUF001  # as it is printed


RIGHT, EIO, EACCES, NONE = Outcome


@dataclass(frozen=True)
class Row:
    """One fault in one form.

    Attributes:
        name: for a person.
        form: see `Form`.
        does: a kind of `tests.wire_faults`, or a scene of `tests.faults.matrix_server`.
        chunk: what must come of it at a chunk.
        chunk_list: the same at the chunk list.
        manifest: the same at the manifest.
        options: of the fault.
        tried: it is trouble that is waited out until `--timeout`, which is short for this row.
    """

    name: str
    form: Form
    does: str
    chunk: Outcome
    chunk_list: Outcome
    manifest: Outcome
    options: Mapping[str, Any] = field(default_factory=dict)
    tried: bool = False

    @property
    def title(self) -> str:
        """Fault and form."""
        return f"{self.name}, {self.form}"

    def relists(self, where: Where) -> bool:
        """Whether a pinned list by which chunks were proved is replaced by another one at the fault's end."""
        return where == "list" and self.does == "flipped-bit" and self.form == "always"

    def outcome(self, where: Where) -> Outcome:
        """What must come of it at `where`."""
        return {"list": self.chunk_list, "manifest": self.manifest}.get(where, self.chunk)


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix."""

    row: Row
    where: Where
    how: How
    kind: Kind = "ollama"

    @property
    def outcome(self) -> Outcome:
        """What must come of it."""
        return self.row.outcome(self.where)

    @property
    def fast(self) -> bool:
        """Whether it stands for its row in the default run."""
        chosen = self.row.title in (DEFAULT_RUN if self.kind == "ollama" else DEFAULT_ELSEWHERE)
        return chosen and self.spare

    @property
    def spare(self) -> bool:
        """Whether it stands for its row where few cells are played: a read at the first place that can be struck."""
        return self.how == "read" and self.where == _first_place(self.row)

    def __str__(self) -> str:
        words = "".join(char if char.isalnum() else " " for char in self.row.title).split()
        return f"{'' if self.kind == 'ollama' else f'{self.kind}-'}{'-'.join(words)}-{self.where}-{self.how}"


def cells() -> Iterator[Cell]:
    """Every cell that makes sense, row by row."""
    for kind in KINDS:
        for row in rows(kind):
            for where in WHERES:
                if row.outcome(where) is not NONE:
                    for how in HOWS:
                        yield Cell(row, where, how, kind)


def rows(kind: Kind) -> tuple[Row, ...]:
    """The rows of one kind of place: those of `ROWS`, as far as they make sense there, and its own."""
    if kind == "ollama":
        return ROWS
    others = OTHERS[kind]
    found = (replace(row, **others.get(row.title, {})) for row in (*ROWS, *OWN_ROWS[kind]))
    return tuple(row for row in found if any(row.outcome(where) is not NONE for where in WHERES))


def _first_place(row: Row) -> Where:
    return next(where for where in WHERES if row.outcome(where) is not NONE)


def _once(name: str, does: str, chunk: Outcome, chunk_list: Outcome, manifest: Outcome, **options: Any) -> Row:
    return Row(name, "once", does, chunk, chunk_list, manifest, options)


def _always(name: str, does: str, chunk: Outcome, chunk_list: Outcome, manifest: Outcome, **options: Any) -> Row:
    return Row(name, "always", does, chunk, chunk_list, manifest, options)


def _tried(name: str, does: str, chunk: Outcome, chunk_list: Outcome, manifest: Outcome, **options: Any) -> Row:
    return Row(name, "always", does, chunk, chunk_list, manifest, options, tried=True)


ROWS: tuple[Row, ...] = (
    #                                                             chunk   list    manifest
    _once("wrong bytes", "wrong-bytes",                           RIGHT,  RIGHT,  RIGHT),
    _always("wrong bytes", "wrong-bytes",                         EIO,    EIO,    EIO),
    _once("one flipped bit", "flipped-bit",                       RIGHT,  RIGHT,  RIGHT),
    _always("one flipped bit", "flipped-bit",                     EIO,    EIO,    EIO),
    _once("short body", "short-body",                             RIGHT,  RIGHT,  RIGHT),
    _tried("short body", "short-body",                            EIO,    EIO,    EIO),
    _once("short body that ends well", "short-clean",             RIGHT,  RIGHT,  RIGHT),
    _once("long body", "long-body",                               RIGHT,  RIGHT,  RIGHT),
    _tried("long body", "long-body",                              EIO,    EIO,    EIO),
    _once("long body, no length", "long-chunked",                 RIGHT,  RIGHT,  RIGHT),
    _once("200 for a Range", "whole-for-range",                   RIGHT,  NONE,   NONE),
    _always("200 for a Range", "whole-for-range",                 RIGHT,  NONE,   NONE),
    _once("wrong Content-Range", "wrong-content-range",           RIGHT,  NONE,   NONE),
    _tried("wrong Content-Range", "wrong-content-range",          EIO,    NONE,   NONE),
    _once("wrong Content-Length", "wrong-length",                 RIGHT,  RIGHT,  RIGHT),
    _tried("wrong Content-Length", "wrong-length",                EIO,    RIGHT,  EIO),
    _once("gzip surprise", "gzip",                                RIGHT,  RIGHT,  RIGHT),
    _tried("gzip surprise", "gzip",                               EIO,    EIO,    EIO),
    _once("reset before the head", "reset-before",                RIGHT,  RIGHT,  RIGHT),
    _tried("reset before the head", "reset-before",               EIO,    EIO,    EIO),
    _once("reset amid the body", "reset-amid",                    RIGHT,  RIGHT,  RIGHT),
    _tried("reset amid the body", "reset-amid",                   EIO,    EIO,    EIO, at=0),
    _always("reset after the body", "reset-after",                RIGHT,  RIGHT,  RIGHT),
    _once("silence before the head", "silence-before",            RIGHT,  RIGHT,  RIGHT),
    _tried("silence before the head", "silence-before",           EIO,    EIO,    EIO),
    _once("silence amid the body", "silence-amid",                RIGHT,  RIGHT,  RIGHT),
    _tried("silence amid the body", "silence-amid",               EIO,    EIO,    EIO, at=0),
    _tried("1 byte a second", "trickle",                          EIO,    EIO,    EIO, interval=0.02),
    _always("400", "status",                                      EIO,    RIGHT,  EIO, status=400),
    _always("401", "status",                                      EACCES, EACCES, EACCES, status=401),
    _always("403", "status",                                      EACCES, RIGHT,  EACCES, status=403),
    _always("404", "status",                                      EIO,    RIGHT,  EIO, status=404),
    _once("408", "status",                                        RIGHT,  RIGHT,  RIGHT, status=408),
    _always("410", "status",                                      EIO,    RIGHT,  EIO, status=410),
    _always("416", "status",                                      EIO,    EIO,    EIO, status=416),
    _once("429, Retry-After: 1", "status",     RIGHT, RIGHT, RIGHT, status=429, retry_after="1"),
    _always("429, Retry-After: 3600", "status", EIO, EIO, EIO, status=429, retry_after="3600"),
    _once("500", "status",                                        RIGHT,  RIGHT,  RIGHT, status=500),
    _once("502", "html",                                          RIGHT,  RIGHT,  RIGHT, status=502),
    _once("503", "status",                                        RIGHT,  RIGHT,  RIGHT, status=503),
    _tried("503", "status",                                       EIO,    EIO,    EIO, status=503),
    _once("504", "html",                                          RIGHT,  RIGHT,  RIGHT, status=504),
    _once("redirect loop", "redirect-loop",                       RIGHT,  RIGHT,  RIGHT),
    _tried("redirect loop", "redirect-loop",                      EIO,    EIO,    EIO),
    _once("redirect to a dead host", "dead-host",                 RIGHT,  RIGHT,  RIGHT),
    _tried("redirect to a dead host", "dead-host",                EIO,    EIO,    EIO),
    _always("redirect that must lose the credentials", "elsewhere", RIGHT, RIGHT, RIGHT),
    _once("expired signed URL", "expired",                        RIGHT,  NONE,   NONE),
    _always("expired signed URL", "expired",                      EACCES, NONE,   NONE),
    _once("list cut short", "cut-list",                           NONE,   RIGHT,  NONE),
    _tried("list cut short", "cut-list",                          NONE,   EIO,    NONE),
    _once("list of other content", "other-list",                  NONE,   RIGHT,  NONE),
    _always("list of other content", "other-list",                NONE,   EIO,    NONE),
    _once("manifest changed between two requests", "moved-tag",   NONE,   NONE,   RIGHT),
    _once("DNS failure", "unknown-host",                          RIGHT,  RIGHT,  RIGHT),
    _tried("DNS failure", "unknown-host",                         EIO,    EIO,    EIO),
    _once("connection refused", "outage",                         RIGHT,  RIGHT,  RIGHT),
    _tried("connection refused", "outage",                        EIO,    EIO,    EIO),
    _always("TLS failure", "untrusted",                           EIO,    EIO,    EIO),
    _once("dead proxy", "dead-proxy",                             RIGHT,  RIGHT,  RIGHT),
    _tried("dead proxy", "dead-proxy",                            EIO,    EIO,    EIO),
    _once("proxy says 502", "proxy-502",                          RIGHT,  RIGHT,  RIGHT),
    _always("proxy says 407", "proxy-407",                        EACCES, EACCES, EACCES),
)  # fmt: skip

DEFAULT_RUN = frozenset(
    {
        "wrong bytes, once",
        "wrong bytes, always",
        "short body, once",
        "long body, once",
        "200 for a Range, once",
        "wrong Content-Range, once",
        "gzip surprise, once",
        "reset amid the body, once",
        "401, always",
        "404, always",
        "503, once",
        "redirect that must lose the credentials, always",
        "expired signed URL, once",
        "list cut short, once",
        "manifest changed between two requests, once",
        "TLS failure, always",
        "proxy says 502, once",
    }
)
"""Rows of which one cell, a read at the first place where the fault can strike, is played in the default run."""

DEFAULT_ELSEWHERE = frozenset({"wrong bytes, once", "object replaced, always"})
"""The same of the other kinds of place."""

OWN_ROWS: dict[Kind, tuple[Row, ...]] = {
    "oci": (),
    "bucket": (_always("object replaced", "replaced", EIO, NONE, NONE),),
    "hub": (
        #                                                           chunk   proof   tree
        _once("reconstruction cut short", "cut-recipe",             RIGHT,  NONE,   NONE),
        _tried("reconstruction cut short", "cut-recipe",            EIO,    NONE,   NONE),
        _once("reconstruction in another order", "reordered-recipe", NONE,  RIGHT,  NONE),
        _always("reconstruction in another order", "reordered-recipe", NONE, RIGHT, NONE),
        _once("reconstruction with an overlap", "overlapping-recipe", NONE, RIGHT,  NONE),
        _always("reconstruction with an overlap", "overlapping-recipe", NONE, RIGHT, NONE),
        _always("reconstruction of a wrong length", "longer-recipe", RIGHT, NONE,   NONE),
        _once("chunk whose header lies", "lying-header",            RIGHT,  NONE,   NONE),
        _tried("chunk whose header lies", "lying-header",           EIO,    NONE,   NONE),
        _once("chunk that unpacks to 64 MiB", "bomb",               RIGHT,  NONE,   NONE),
        _tried("chunk that unpacks to 64 MiB", "bomb",              EIO,    NONE,   NONE),
        _once("token of the store that ends", "ended-token",        NONE,   RIGHT,  NONE),
        _always("proof of the whole file alone", "no-proof-but-of-all", NONE, RIGHT, NONE),
        _always("masked digests", "masked",                         NONE,   NONE,   EACCES),
        _always("listing that lies about sizes", "larger-files",    NONE,   NONE,   EIO),
        _always("listing without an end", "endless-listing",        NONE,   NONE,   EIO),
    ),
}  # fmt: skip
"""Faults that no other kind of place has."""

_WHOLE = {"chunk_list": RIGHT}
_NOWHERE = {"chunk": NONE, "chunk_list": NONE, "manifest": NONE}

OTHERS: dict[Kind, dict[str, dict[str, Any]]] = {
    # A published list that cannot be had for good, or is none, is told in one line, and the blob is proved whole.
    "oci": dict.fromkeys(
        (
            *(f"{what}, always" for what in ("wrong bytes", "one flipped bit", "long body", "gzip surprise")),
            *(f"{what}, always" for what in ("401", "416", "proxy says 407", "TLS failure")),
            *(f"{what}, always" for what in ("list cut short", "list of other content")),
        ),
        _WHOLE,
    ),
    "bucket": {
        # What is beside a file and may not be read is as good as not there.
        **dict.fromkeys(("401, always", "416, always", "proxy says 407, always", "TLS failure, always"), _WHOLE),
        # It has no other answer to a Range than its part, and the library takes none.
        "200 for a Range, always": {"chunk": EIO, "tried": True},
        # Sums that make another document are another model, at once; without their last newline they are the same.
        "one flipped bit, once": {"manifest": NONE},
        "wrong Content-Length, always": {"manifest": RIGHT},
        # It has neither signed URLs, nor what a tag meant before.
        **dict.fromkeys(("expired signed URL, once", "expired signed URL, always"), _NOWHERE),
        "manifest changed between two requests, once": _NOWHERE,
    },
    "hub": {
        # Without a proof that can be had for good, and fits, a file is proved whole.
        **dict.fromkeys(
            (
                *(f"{what}, always" for what in ("wrong bytes", "one flipped bit", "long body")),
                *(f"{what}, always" for what in ("list cut short", "list of other content")),
            ),
            _WHOLE,
        ),
        # The commit may be another one by it, and of that the Hub knows nothing.
        "one flipped bit, once": {"manifest": NONE},
    },
}
"""What differs from `ROWS`, by title."""

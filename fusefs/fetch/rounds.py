"""Rounds: one question to several sources in turn, and when all are in trouble to all of them again.  Blocking.

Who fails is passed over for the next at once.  What counts is the last word of a round: that the last source has no
such thing, or that its content is wrong, is final, for the others were asked before.  Otherwise trouble that may pass
at any of them is a reason to wait and to ask all of them again, until `--timeout` is over: a mirror that restarts is
found again although the registry behind it cannot be reached at all.

A source that gave wrong content for a blob, proved by another's that was right, is set aside for that blob.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from fusefs.errors import Cancelled, FusefsError, IntegrityError, InvalidInput, NotFound
from fusefs.values.voucher import Proof, Voucher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fusefs.sources.backoff import Patience
    from fusefs.sources.base import Remote, Source
    from fusefs.sources.distrust import Standing
    from fusefs.values.digest import Digest

T = TypeVar("T")
S = TypeVar("S")


@runtime_checkable
class OneOfSeveral(Protocol):
    """A Source that leaves waiting to whoever asks the others, too (`fusefs.sources.retry`)."""

    standing: Standing | None
    voucher: Voucher
    remote: Remote | None

    def patience(self, longest: float = ..., share: float = ...) -> Patience | None:
        """How long to go on over all of them."""


def standing_of(source: Source) -> Standing | None:
    """What the source has been caught at; None when it is never set aside."""
    return source.standing if isinstance(source, OneOfSeveral) else None


def ignores_range(source: Source) -> bool:
    """Whether the source gives all of a blob where a part was asked for."""
    return isinstance(source, OneOfSeveral) and source.remote is not None and source.remote.ignores_range


def voucher_of(source: Source) -> Voucher:
    """What the word of a source on chunk lists and tags is worth; one that is asked alone is the registry."""
    return source.voucher if isinstance(source, OneOfSeveral) else Voucher(Proof.REGISTRY, source.label)


def patience_of(sources: Iterable[Source], longest: float = float("inf"), share: float = 1.0) -> Patience | None:
    """How long to go on asking these: seconds, and a part of `--timeout`, at most.

    None when each has had its patience by itself.
    """
    for source in sources:
        if isinstance(source, OneOfSeveral) and (patience := source.patience(longest, share)) is not None:
            return patience
    return None


def usable(sources: Sequence[S], digest: Digest, source_of: Callable[[S], Source]) -> list[S]:
    """Those that are not set aside for a blob; all of them when that would leave none."""
    left = [one for one in sources if not ((s := standing_of(source_of(one))) is not None and s.aside(digest))]
    return left or list(sources)


def decisive(errors: Sequence[FusefsError]) -> FusefsError:
    """Why a round came to nothing; `errors` in the order of the sources, at least one."""
    last = errors[-1]
    temporary = [error for error in reversed(errors) if error.temporary]
    if isinstance(last, NotFound | IntegrityError) or not temporary:
        return last
    return min(temporary, key=lambda error: getattr(error, "retry_after", None) or 0.0)


def asked_twice(ask: Callable[[], T]) -> T:
    """The value of `ask`, called once more when the content was wrong: as with a chunk, once is an accident.

    Raises:
        FusefsError: the second failure, or one that has nothing to do with content.
    """
    try:
        return ask()
    except (IntegrityError, InvalidInput):
        return ask()


def in_rounds(ask_all: Callable[[], T], patience: Patience | None) -> T:
    """The value of `ask_all`, which asks every source once; called again as long as that may help.

    Raises:
        FusefsError: the last failure.
        Cancelled: while it waited.
    """
    while True:
        try:
            return ask_all()
        except Cancelled:
            raise
        except FusefsError as exc:
            if patience is None:
                raise
            patience.pause(exc)

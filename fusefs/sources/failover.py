"""Failover: several sources of the same things as one.  The one place that knows order, patience and blame.  Blocking.

Order: as a person gave them; one that was caught with wrong content of a blob is blocked for that blob, unless none
would be left.  Which of them say what is right, and not only what it consists of, is `that_decide`'s to tell.

Patience: if a source fails, the next one is asked at once.  Content that is wrong is asked for once more before that,
because once is an accident.  The last source decides: if it answers "not found" or sends wrong content, that is final,
because all others have been asked.  Otherwise trouble that may pass at any of them is a reason to wait and to ask all
of them again, until `--timeout` is over: a mirror that restarts is found again although the registry behind it cannot
be reached.

Streams: a mirror that gives all of a blob where a part is asked for, as a cache does that has to fetch the blob first,
is asked for a part after all others: it helps who wants all of the blob, and whoever can have it nowhere else.

Blame: a source that had a chunk wrong twice is blocked for the blob as soon as another source has that chunk right.
Not before: when all of them fail the same digest, it is the chunk list that is wrong.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fusefs.errors import DigestMismatch, FusefsError, IntegrityError, InvalidInput, NotFound, RangeIgnored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fusefs.sources.backoff import Patience
    from fusefs.sources.bound import BoundSource
    from fusefs.values.digest import Digest

    Told = Callable[[BoundSource, FusefsError, bool], None]
    """Told of a source that could not help, why not, and whether it was the last one."""

_TRIES = 2
"""For content that is wrong: once is an accident, twice is the source."""

_WRONG = (DigestMismatch, InvalidInput, RangeIgnored)


class Failover:
    """Sources, best first.  Never changed; any thread may ask."""

    def __init__(self, sources: Sequence[BoundSource] = ()) -> None:
        self._sources = tuple(sources)

    def __iter__(self) -> Iterator[BoundSource]:
        """Best first."""
        return iter(self._sources)

    def __len__(self) -> int:
        """How many."""
        return len(self._sources)

    def plus(self, source: BoundSource) -> Failover:
        """With one more, to be asked last."""
        return self if source in self._sources else Failover((*self._sources, source))

    def without(self, source: BoundSource) -> Failover:
        """The same but for one that is not asked any more."""
        return Failover([one for one in self._sources if one != source])

    def rotated(self) -> Failover:
        """The same, the first one being asked last."""
        return Failover((*self._sources[1:], *self._sources[:1]))

    def that_decide(self, *, bound_only: bool = False) -> Failover:
        """Those whose word on lists and tags counts; on lists also where a registry's does not (`bound_only`)."""
        return Failover(
            [one for one in self._sources if one.decides and (not bound_only or one.voucher.decides(bound_only=True))]
        )

    @property
    def label(self) -> str:
        """What to call all of them."""
        return " ".join(source.label for source in self._sources)

    @property
    def mirrored(self) -> bool:
        """Whether some give bytes alone."""
        return not all(source.decides for source in self._sources)

    def ignores_range(self, *, entire: bool) -> bool:
        """Whether a part of a blob would come with all of it; with `entire` all of it is wanted."""
        return any(source.ignores_range for source in self._sources if entire or source.decides)

    def patience(self, longest: float = float("inf"), share: float = 1.0) -> Patience | None:
        """How long to go on asking these: seconds, and a part of `--timeout`, at most.

        None when each has had its patience by itself.
        """
        for source in self._sources:
            patience = None if source.several is None else source.several.patience(longest, share)
            if patience is not None:
                return patience
        return None

    def turns(
        self, digest: Digest | None = None, told: Told = lambda *_: None, entire: Callable[[], bool] = lambda: True
    ) -> Turns:
        """Begin to ask them something, of the blob `digest` if it is of one; `entire` when all of that is wanted."""
        return Turns(self._sources, digest, told, entire)

    def lied(self, liar: BoundSource | None, digest: Digest) -> None:
        """The list of `liar` was wrong: it is blocked, and those that failed it were right."""
        for source in self._sources:
            if source.standing is not None:
                source.standing.forgive(digest)
        if liar is not None:
            block(liar, digest, "a wrong chunk list")


class Turns:
    """Whose turn it is, for one question.  Used by one thread.

    Whoever asks goes through `rounds`: it asks each source that it is given, says `failed` if that was in vain, and
    leaves when it has what it wants.

    Attributes:
        errors: why the round that was the last failed, one for each source that could not help.
    """

    def __init__(
        self, sources: Sequence[BoundSource], digest: Digest | None, told: Told, entire: Callable[[], bool]
    ) -> None:
        self.errors: list[FusefsError] = []
        self._sources = sources
        self._digest = digest
        self._told = told
        self._entire = entire
        self._put_off: list[BoundSource] = []
        self._asked: BoundSource | None = None
        self._error: FusefsError | None = None
        self._gained = False
        self._misses: dict[int, Counter[BoundSource]] = {}

    def rounds(self, patience: Patience | None, *, once: bool = False) -> Iterator[BoundSource]:
        """Each source that may be asked, or asked again at once because its content was wrong; round after round.

        It ends by itself only when nobody failed, or after one round where that was asked for.

        Raises:
            FusefsError: why it was in vain.
            Cancelled: while it waited.
        """
        while True:
            failed: dict[BoundSource, FusefsError] = {}
            self._gained = False
            for source in self._each() if len(self._sources) > 1 else self._sources:
                self._asked = source
                for _ in range(_TRIES):
                    self._error = None
                    yield source
                    if not isinstance(self._error, _WRONG):
                        break
                if self._error is not None:
                    failed[source] = self._error
                    self._told(source, self._error, source is self._sources[-1])
            self.errors = [failed[source] for source in self._sources if source in failed]
            if once or not self.errors:
                return
            if self._gained and patience is not None:
                patience.renew()
            self.pause(patience)

    def round(self) -> Iterator[BoundSource]:
        """One round, for whoever decides after it how to go on."""
        return self.rounds(None, once=True)

    def failed(self, error: FusefsError) -> None:
        """The source whose turn it is could not help."""
        self._error = error

    def put_off(self) -> bool:
        """The source whose turn it is gives all of the blob for a part of it.

        Returns:
            Whether others come first, so that it shall be left; in this round it is asked again after them.
        """
        source, digest = self._asked, self._digest
        if source is None or source.decides or digest is None or source.standing is None:
            return False
        source.standing.set_whole(digest)
        if source in self._put_off or self._entire():
            return False
        self._put_off.append(source)
        return True

    def wrong(self, chunk: int) -> None:
        """The source whose turn it is has a chunk wrong."""
        assert self._asked is not None
        self._misses.setdefault(chunk, Counter())[self._asked] += 1

    def right(self, chunk: int) -> None:
        """The source whose turn it is has a chunk right: who had it wrong twice is not asked for the blob any more."""
        self._gained = True
        for source, times in self._misses.pop(chunk, Counter()).items():
            if source != self._asked and times >= _TRIES and self._digest is not None:
                block(source, self._digest, "wrong bytes twice")

    def pause(self, patience: Patience | None) -> None:
        """Wait before the next round.

        Raises:
            FusefsError: why the last one failed; there is no next one.
            Cancelled: while it waited.
        """
        failure = _decisive(self.errors)
        if patience is None:
            raise failure
        patience.pause(failure)

    def _each(self) -> Iterator[BoundSource]:
        """In the order of this round; those that are put off, before it or while it lasts, come last."""
        self._put_off = []
        for source in self._order():
            if self._gives_whole(source) and not self._entire():
                self._put_off.append(source)
            else:
                yield source
        yield from self._put_off

    def _gives_whole(self, source: BoundSource) -> bool:
        return self._digest is not None and source.standing is not None and source.standing.whole(self._digest)

    def _order(self) -> Sequence[BoundSource]:
        usable = [source for source in self._sources if not self._is_blocked(source)] or self._sources
        return [source for source in usable if not self._caught(source)] or usable

    def _is_blocked(self, source: BoundSource) -> bool:
        return self._digest is not None and source.standing is not None and source.standing.aside(self._digest)

    def _caught(self, source: BoundSource) -> bool:
        """Whether a source has had a chunk wrong twice that nobody has had right yet."""
        return any(misses[source] >= _TRIES for misses in self._misses.values())


def block(source: BoundSource, digest: Digest, reason: str) -> None:
    """The source gave wrong content for a blob; one that costs nothing to ask, or is the only one, stays."""
    if source.standing is not None:
        source.standing.set_aside(digest, reason)


def _decisive(errors: Sequence[FusefsError]) -> FusefsError:
    """Why a round came to nothing; `errors` in the order of the sources, at least one."""
    last = errors[-1]
    temporary = [error for error in reversed(errors) if error.temporary]
    if isinstance(last, NotFound | IntegrityError) or not temporary:
        return last
    return min(temporary, key=lambda error: getattr(error, "retry_after", None) or 0.0)

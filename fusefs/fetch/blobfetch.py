"""BlobFetch: what the fetcher knows of one blob.

Holds the chunker once it is open, the flights, and where the blob can be had.  Decides which chunk list to use; knows
nothing of scheduling.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from fusefs.cache.blob.sealing import put_liar_aside, quarantine
from fusefs.errors import BlobQuarantined, BlobUnproved, CacheError, FusefsError, NotCached
from fusefs.fetch.flight import BlobFlights
from fusefs.fetch.foreseen import Foreseen
from fusefs.fetch.left import Left
from fusefs.fetch.listchoice import ListChoice, never_proved
from fusefs.fetch.load import prefetch_of
from fusefs.fetch.sight import Sight
from fusefs.prefetch.pieces import reads_long_pieces
from fusefs.sources.failover import Failover
from fusefs.values.chunks import ChunkList
from fusefs.values.voucher import BOUND, NOBODY, UNKNOWN, Proof

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import trio

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.disk import DiskCache
    from fusefs.errors import NoEvidence
    from fusefs.fetch.foresight import Foresight
    from fusefs.fetch.listchoice import Listed
    from fusefs.prefetch.siblings import Siblings
    from fusefs.sources.bound import BoundSource
    from fusefs.values.chunks import Blob
    from fusefs.values.settings import Settings
    from fusefs.values.trace import Trace
    from fusefs.values.voucher import Voucher

log = logging.getLogger(__name__)


class BlobFetch:
    """One blob of a mount or a pull; all who show or want the blob share it.

    Attributes:
        blob: digest and size.
        chunker: None until the first read needed it.
        flights: chunks that are queued or being fetched.
        prefetch: what to have next; None until the chunker is open.
        early: reads, offset and size, that came before that.
        keeping: the record of this load is being written.
        readers: byte ranges [start, stop) that somebody waits for.
        retired: chunkers whose list lied; threads may still use them.
        use: who has something to do with the chunker.
        left: what is remembered of the chunker that was closed last; None when nothing need be.
        sight: what can be said of it without opening it.
        quarantined: why no byte of it is served, or not any more.
        lies: how many lists by which it was served have turned out to be wrong.
        choice: by which chunk list it is served.
        whole_first: no byte of it is served before the whole is proved; None as long as that is not known.
        siblings: of each model in which it is a small file, the small files; none where nothing is fetched ahead.
        files: where in it the files of an archive lie; none where it is one file.
    """

    def __init__(self, blob: Blob, cache: DiskCache, settings: Settings, caught_lying: Callable[[Blob], None]) -> None:
        self.blob = blob
        self.flights = BlobFlights(blob.digest)
        self.use = self.flights.use
        self.chunker: Chunker | None = None
        self.prefetch: Foresight | None = None
        self.early: list[tuple[int, int]] = []
        self.keeping = False
        self.readers: list[tuple[int, int]] = []
        self.retired = self.flights.retired
        self.left: Left | None = None
        self.quarantined: FusefsError | None = never_proved(blob, settings)
        self.lies = 0
        self.siblings: tuple[Siblings, ...] = ()
        self.files: tuple[range, ...] = ()
        self._was_open = False
        self._opened_in: Left | None = None
        self._caught_lying = caught_lying
        self._cache = cache
        self._settings = settings
        # Parts have a list that proves itself, and of a version nothing is proved when it is whole.
        by_itself = blob.digest.proves and not blob.digest.has_parts
        self._small = blob.size <= settings.single_chunk_limit and by_itself
        single = self._small and blob.digest.is_sha256
        self.sight = Sight(blob, cache, lambda: self.chunker, self._unlisted, single=single)
        self._list: Listed | None = None
        self.choice = ListChoice(blob, settings)
        self.whole_first: bool | None = None
        self._foreseen = Foreseen()

    def add_origin(self, origin: BoundSource) -> None:
        """The blob can be had there, too."""
        self.flights.ask(self.origins.plus(origin))
        self.choice.add_origin(origin)

    def sign(self, signer: Voucher, shards: ChunkList | None) -> None:
        """See `ListChoice.sign`."""
        self.choice.sign(signer, shards)
        if shards is not None:
            self.sight.several_chunks()

    @property
    def origins(self) -> Failover:
        """Where it can be had; those whose list lied come out."""
        return self.flights.origins

    def tell_files(self, files: tuple[range, ...]) -> None:
        """It is an archive of these files, whose table may have been read from it just now."""
        self.files = files
        if self.prefetch is not None:
            self.prefetch.files_known(files)

    def ask_next_first(self) -> None:
        """Who was asked first is asked last from now on."""
        self.flights.ask(self.origins.rotated())

    @contextlib.contextmanager
    def reading(self, start: int, stop: int, scope: trio.CancelScope | None = None) -> Iterator[None]:
        """While this lasts, nothing of [start, stop) is evicted; a stream that passes moves the deadline of `scope`."""
        self.readers.append((start, stop))
        if scope is not None:
            self.use.waiting.add(scope)
        try:
            yield
        finally:
            self.readers.remove((start, stop))
            if scope is not None:
                self.use.waiting.discard(scope)

    @contextlib.contextmanager
    def wanted_whole(self) -> Iterator[None]:
        """While this lasts, nothing of the blob is evicted: who fetches all of it must not make room for the rest."""
        wanted = self._cache.quota.wanted
        wanted.add(self.blob.digest)
        try:
            yield
        finally:
            wanted.discard(self.blob.digest)

    def detach(self) -> Chunker | None:
        """Take the chunker of an idle blob away, for the caller to close; whoever comes next opens another.

        Returns:
            None when a thread has just begun to read: those say so in `readers`, and then look for the chunker.
        """
        chunker, self.chunker = self.chunker, None
        assert chunker is not None
        if self.readers:
            self.chunker = chunker
            return None
        self.sight.closed(chunker)
        self._list = None  # or a list that another process finds lying from now on would be used again
        self.left = self._opened_in if chunker.voucher.proof != Proof.BOUND else None
        return chunker

    def convict(self) -> None:
        """Another process has found its list lying since it was closed: what was served may have been wrong."""
        self.left = None
        self.lies += 1
        self._caught_lying(self.blob)

    def local_list(self) -> Listed | None:
        """The chunk list as far as it can be known without the network.  Blocking, but short; raises CacheError."""
        blob = self.blob
        for chunker in list(self.retired):
            if chunker.quarantined:  # its list lies here still, while whoever judged it is about to put it aside
                put_liar_aside(chunker)
        self._list = None  # what `ls` has seen may be in quarantine by now
        if self.choice.signed is not None:  # also where the manifest's digest was proved already
            return self.choice.signed
        if self._small and blob.digest.is_sha256:
            return ChunkList.single(blob), BOUND
        pinned = self.choice.of_cache(self._pinned())
        # Another digest proves a small blob as well, as a whole: nobody is asked for its parts.
        # A sealed blob is proved on its first use, by its list or as a whole, with no help from the network.
        if self._small or self._has_sealed():
            return pinned or (self._unlisted(), NOBODY)
        # An older cache did not keep whose list it is: perhaps a mirror's, so the registry is asked once more.
        # Another registry's word is as little, so long as its own can be asked.
        asked_again = pinned is not None and (pinned[1] == UNKNOWN or self.choice.is_anothers(pinned[1]))
        return None if pinned is None or (asked_again and not self.choice.bound_only) else pinned

    def foresee(self) -> None:
        """Find out whether there is a list that counts; it is kept for who opens the blob.  Blocking.

        Raises:
            FusefsError: it cannot be known now.
        """
        listed = self.local_list()
        if listed is None:
            listed = self._remote_list()
            self._foreseen.keep(listed)
        self._learned(listed, sealed=self._has_sealed())

    def remote_list(self) -> Listed:
        """The chunk list that counts, or none with nobody's word.  Blocking on the network, unless it was foreseen.

        Raises:
            SourceError, InvalidInput, BlobUnproved: see `_remote_list`.
        """
        listed = self._foreseen.take() or self._remote_list()
        self._learned(listed)
        return listed

    def _learned(self, listed: Listed, *, sealed: bool = False) -> None:
        self.whole_first = self._settings.unproved == "wait" and not sealed and not self.choice.counts(listed)

    def _remote_list(self) -> Listed:
        """The chunk list from the first source whose word counts and that has one.  Blocking on the network.

        Raises:
            SourceError, InvalidInput: no list, and not for lack of one: to take the blob unproved instead would let a
                fault, or whoever causes it, choose the weaker check.
            BlobUnproved: there is no list, and `--unproved=refuse`.
        """
        pinned = self.choice.of_cache(self._pinned())
        listed = self.choice.ask(self.origins, in_vain=pinned is not None)
        if listed is not None:
            return listed
        if pinned is not None:
            log.info("%s: no source confirms the chunk list in the cache (%s)", self.blob.digest, pinned[1])
            return pinned
        lacking = self.choice.lacking
        if self._settings.unproved == "refuse":
            raise BlobUnproved(f"{self.blob.digest}: {lacking}; see --unproved")
        log.info("%s: %s", self.blob.digest, lacking)
        return self._unlisted(), NOBODY

    def open_chunker(self, listed: Listed) -> Chunker:
        """Open the blob in the cache.  Blocking, but short.

        Raises:
            CacheFull: there is no room, and without a chunk list memory will not do.
            CacheError: the cache's files cannot be used.
        """
        # Once a mount: what was hashed since is not hashed again because the blob was closed meanwhile.
        doubt = self._settings.verify == "always" and not self._was_open
        self._list = None  # the chunker has it from here on; and what turns out to be a lie now is not used again
        chunker = self._cache.chunker(self.blob, *listed, doubt=doubt, readers=self.readers)
        self._opened_in = Left.by(chunker)
        self._serve(chunker)
        if chunker.full is not None and not chunker.sealed and chunker.by_whole:
            # It can only be proved as a whole, and for that it must lie somewhere; the next read looks for room again.
            chunker.close()
            raise chunker.full
        if self.prefetch is None or not self._was_open:
            self.prefetch = prefetch_of(chunker, self._cache, self._settings, self.files)
        self._was_open = True
        return chunker

    def give_up_evidence(self, chunker: Chunker, exc: NoEvidence) -> bool:
        """No source proves a chunk that is lacking by itself: from now on the whole decides what is served.

        Returns:
            False when that is no way, as with `--unproved=refuse`; else look again.
        """
        if chunker is not self.chunker or not chunker.listed:
            return True  # somebody else has been told of it, too
        if chunker.chunks.complete or self._settings.unproved == "refuse":
            return False
        self.choice.give_up_evidence(str(exc))
        if self.choice.counts((chunker.chunks, chunker.voucher)):
            return False
        self._serve(chunker)
        self.whole_first = chunker.by_whole
        log.warning("%s: it is fetched whole; %s", self.blob.digest, exc)
        return True

    def _serve(self, chunker: Chunker) -> None:
        chunker.serve_by(bound_only=self.choice.bound_only_of(chunker.voucher), unproved=self._serves_unproved)

    def keep(self, trace: Trace) -> None:
        """Keep the record of a load for the next one, as far as the disk takes it.  Blocking, but short."""
        self._cache.put_trace(self.blob, trace)
        self.sight.in_order = reads_long_pieces(trace)

    def keep_last(self) -> None:
        """The mount ends: keep what was not kept yet.  Blocking, but short."""
        trace = None if self.prefetch is None else self.prefetch.unsaved_record()
        if trace is not None:
            self.keep(trace)

    def _pinned(self) -> Listed | None:
        """The pinned list, read once: `ls` asks for it, too, and a list may have 40 MB."""
        if self._list is None:
            self._list = self._cache.pinned(self.blob)
        return self._list

    def _unlisted(self) -> ChunkList:
        return ChunkList.uniform(self.blob.size, self._settings.unlisted_chunk_size)

    @property
    def _serves_unproved(self) -> bool:
        """Whether bytes that nothing proves yet are served; never those of a small blob, which is soon whole."""
        return self._settings.unproved == "allow" and not self._small

    def _has_sealed(self) -> bool:
        try:
            return self._cache.get(self.blob.digest).size == self.blob.size
        except NotCached:
            return False

    def other_list(self, chunker: Chunker, seen: str) -> Listed | None:
        """The list that the sources have by now, if it is another one than that of `chunker`, and in the right.

        Blocking on the network.

        Args:
            chunker: whose list rejects a chunk.
            seen: the digest of the rejected bytes.
        """
        if self._small:
            return None  # its own digest is its list
        found = self.choice.ask_for_other(self.origins, chunker.chunks, chunker.voucher, seen)
        if found is None and not chunker.present_bytes and self.choice.from_place(chunker.voucher):
            # Not one chunk of all that came is of this list: it is another blob's.  To prove the whole instead is safe.
            with contextlib.suppress(CacheError):
                quarantine(chunker)
                self.choice.distrust()
                return self._unlisted(), NOBODY
        return found

    def distrust(self, chunker: Chunker) -> None:
        """The list of `chunker` lied.  With another source left, start again from there; else nothing is served.

        Called by whoever notices first, so that no read comes between the verdict and its consequence.
        """
        if self.chunker is not chunker:
            return
        liar = self.choice.by
        if liar is not None and liar in self.origins:
            self.origins.lied(liar, self.blob.digest)
            self.flights.ask(self.origins.without(liar))
        self.choice.distrust()
        if not chunker.by_whole:
            self.lies += 1
            self._caught_lying(self.blob)
        self.retire(chunker)
        if self.choice.signed is not None:
            self.quarantined = BlobQuarantined(f"{self.blob.digest}: what was signed is not what the manifest says")
        elif not self.origins:
            self.quarantined = BlobQuarantined(f"{self.blob.digest}: its chunk list does not belong to it")

    def supersede(self, chunker: Chunker) -> None:
        """Another process has put something in the place of what `chunker` has open, which is used from now on."""
        if self.chunker is chunker:
            self.retire(chunker)

    def retire(self, chunker: Chunker) -> None:
        """Whoever comes next opens the blob anew; threads may still use `chunker`, so it is closed at the end."""
        self._list = None
        self.chunker = None
        self.sight.forget()
        self._was_open = False  # another list has other chunks
        self.retired.append(chunker)

    # What can be said of it without touching a file: see `Sight`

    @property
    def state(self) -> str:
        """`absent`, `partial`, `sealed`, `quarantined`, or `unproved` (served before it is proved)."""
        if not self.blob.digest.proves:
            return "unproved" if self.sight.present and self.quarantined is None else "absent"
        if self.quarantined is not None:
            return "quarantined"
        if self.blob.size == 0:
            return "sealed" if self.blob.digest.matches(b"") else "quarantined"
        if self.sight.sealed:
            return "sealed"
        if not self.sight.present:
            return "absent"
        chunker = self.chunker
        return "unproved" if chunker is not None and chunker.serve_unproved and not chunker.listed else "partial"

    @property
    def proof(self) -> str:
        """Who stands behind the chunk list: see `fusefs.values.voucher`."""
        return str(self.sight.voucher) if self.blob.digest.proves else "unproved"

    @property
    def present(self) -> int:
        """Bytes on disk; of more than `presence.EXACT` unequal chunks about so many."""
        return self.sight.present

    def presence(self, cells: int, off: int, size: int) -> list[float]:
        """For each of `cells` equal parts of the bytes [off, off+size), about what fraction of it is on disk."""
        return self.sight.presence(cells, off, size)

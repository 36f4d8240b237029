"""Provability: of which files the content server proves no parts, and whether it has ever proved any.

The endpoint for proofs was made for another purpose (`fusefs.xet.windowproof`) and may change, or may not be given to
who only reads.  So "no" is an answer: such a file is fetched whole and proved by its sha256.  As long as no proof has
come out right, one that does not fit its bytes twice says as much of the proofs as of the bytes.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING

from fusefs.errors import NoEvidence
from fusefs.xet.xethash import hash_text

if TYPE_CHECKING:
    from fusefs.sources.hub.xetfile import XetFile

log = logging.getLogger(__name__)

_TRIES = 2
_MOST = 4096
"""Files that are remembered."""


class Provability:
    """Of one Hub; for any thread."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._without: dict[bytes, str] = {}
        self._misses: Counter[bytes] = Counter()
        self._any = False
        self._lock = threading.Lock()

    def check(self, file: XetFile) -> None:
        """Return when parts of a file may be proved.

        Raises:
            NoEvidence: they cannot.
        """
        reason = self._without.get(file.hash)
        if reason is not None:
            raise NoEvidence(reason, source=self._label)

    def impossible(self, file: XetFile, error: NoEvidence) -> None:
        """They cannot."""
        if file.hash not in self._without:
            log.info("%s; %s", error, hash_text(file.hash))
        with self._lock:
            if len(self._without) >= _MOST:
                self._without.clear()
            self._without[file.hash] = str(error).removeprefix(f"{self._label}: ")

    def proved(self, file: XetFile) -> None:
        """A window of it was."""
        self._any = True
        self._misses.pop(file.hash, None)

    def failed(self, file: XetFile) -> None:
        """A window did not come out right.

        Raises:
            NoEvidence: so often, and no other ever did.
        """
        with self._lock:
            self._misses[file.hash] += 1
            hopeless = not self._any and self._misses[file.hash] >= _TRIES
        if hopeless:
            error = NoEvidence("its proofs do not fit its bytes", source=self._label)
            self.impossible(file, error)
            raise error

    def refresh(self) -> None:
        """What could not be done may be possible by now."""
        with self._lock:
            self._without.clear()
            self._misses.clear()

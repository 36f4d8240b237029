"""AskedTime: how long a bucket's server asks to be left alone, which obstore does not hand on.

What has been refused is asked for once more by our own client, with the same signature, for the head of the answer;
at most once a minute, because who is asked for less must not be asked twice as often.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from fusefs.errors import ResponseError, SourceError
from fusefs.net.transport import Transport
from fusefs.net.url import Url
from fusefs.sources.registry.responses import check_status

if TYPE_CHECKING:
    from fusefs.values.settings import Settings

_REST = 60.0
"""Seconds for which an answer counts."""


class AskedTime:
    """Of one bucket.  Blocking; thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        self._closed = False
        self._until = 0.0
        self._told: ResponseError | None = None

    def ask(self, url: str, span: str) -> ResponseError | None:
        """What the server says to the same request; None where it names no time.

        Args:
            url: signed.
            span: the header Range; empty for none.
        """
        with self._lock:
            if time.monotonic() >= self._until:
                self._told = self._asked(url, span)
                self._until = time.monotonic() + _REST
            return self._told

    def forget(self) -> None:
        """Ask again."""
        self._until = 0.0

    def close(self) -> None:
        """End what is in flight.  Idempotent; from any thread."""
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    def _asked(self, text: str, span: str) -> ResponseError | None:
        try:
            url = Url.parse(text)
            if self._transport is None:
                self._transport = Transport(self._settings, named=url.origin.host)
            if self._closed:
                return None
            response = self._transport.get(url, {"Range": span} if span else {})
            try:
                check_status(response, wanted=(200, 206), who="bucket")
            finally:
                response.close()
        except ResponseError as exc:
            return exc if exc.retry_after else None
        except SourceError:
            pass
        return None

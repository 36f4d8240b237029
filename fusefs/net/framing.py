"""Framing: http.client's response, with everything in it bounded that is not the body.

http.client bounds a line, and the lines of one head.  It does not bound the interim answers before a head, the bytes
of a head in all, the lines behind a chunked body, or what stands beside the sizes of its chunks; each of these can go
on until a deadline, and costs a core meanwhile.  A server that needs more than is allowed here has nothing to say.
"""

from __future__ import annotations

import http.client
import re
from typing import TYPE_CHECKING, Any

from fusefs.errors import WrongResponse

if TYPE_CHECKING:
    import socket
    from io import BufferedIOBase

INTERIM = 10
"""Answers of status 1xx before the one that counts."""

LINES = 100
"""Lines of one head, or of a trailer, with the empty one at its end: http.client's own limit."""

HEAD = 1 << 16
"""Bytes of a head, with the interim answers before it, or of a trailer."""

CHUNK_LINE = 4096
"""Bytes of a line with the size of a chunk, as Go allows."""

EXCESS = 16 << 10
"""Bytes beside the chunks, beyond what each honestly needs.  Source: Go's net/http/internal/chunked.go."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r?\n", re.DOTALL)
_ENDS = (b"\r\n", b"\n", b"")


class _Lines:
    """Lines of one head or trailer, bounded together; all else goes through to the socket's file."""

    def __init__(self, file: BufferedIOBase, what: str, *, bytes_left: int = HEAD) -> None:
        self.file = file
        self._what = what
        self._bytes_left = bytes_left
        self._lines_left = LINES

    def readline(self, limit: int = -1) -> bytes:
        """The next line.

        Raises:
            WrongResponse: it is one too many, or too long.
        """
        most = self._bytes_left + 1
        line = self.file.readline(most if limit < 0 else min(limit, most))
        self._bytes_left -= len(line)
        if self._bytes_left < 0:
            raise WrongResponse(f"{self._what} is longer than {HEAD} bytes")
        self._lines_left -= 1
        if self._lines_left < 0:
            raise WrongResponse(f"{self._what} has more than {LINES} lines")
        return line

    def begin(self) -> None:
        """Another head; the bytes count on."""
        self._lines_left = LINES + 1  # the status line

    def flush(self) -> None:
        """As the file."""
        self.file.flush()

    def close(self) -> None:
        """As the file."""
        self.file.close()


class FramedResponse(http.client.HTTPResponse):
    """A response whose frame is bounded.

    Three methods of http.client are replaced that its documentation does not name; they are the same from Python 3.11
    on, and a test of each limit fails when one of them is not called any more.
    """

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._excess = 0
        # From here on, because a CONNECT to a proxy reads its head without `begin`.
        self.fp: Any = _Lines(self.fp, "its head")

    def begin(self) -> None:
        """Read the head.

        Raises:
            WrongResponse: it goes on and on.
        """
        super().begin()
        if isinstance(self.fp, _Lines):
            self.fp = self.fp.file

    def _read_status(self) -> tuple[str, int, str]:
        """The status line of the answer that counts; those before it are skipped.  Source: RFC 9110 §15.2."""
        for _ in range(INTERIM + 1):
            if isinstance(self.fp, _Lines):
                self.fp.begin()
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the stubs
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                return version, status, reason
            while self.fp.readline() not in _ENDS:
                pass
        raise WrongResponse(f"more than {INTERIM} interim answers, and none that counts")

    def _read_next_chunk_size(self) -> int:
        line = self.fp.readline(CHUNK_LINE + 1)
        match = _SIZE.fullmatch(line)
        if match is None:
            if len(line) > CHUNK_LINE:
                raise WrongResponse(f"the size of a chunk has a line of more than {CHUNK_LINE} bytes")
            if not line.endswith(b"\n"):
                raise http.client.IncompleteRead(b"")  # the connection ended
            raise WrongResponse("what should be the size of a chunk is none")
        size = int(match[1], 16)
        # Small chunks are allowed their frame; what is far more than that is no way to send a body.
        self._excess = max(0, self._excess + len(line) + 2 - 16 - 2 * size)
        if self._excess > EXCESS:
            raise WrongResponse("there is more beside the chunks of its body than in them")
        return size

    def _read_and_discard_trailer(self) -> None:
        lines = _Lines(self.fp, "what follows its body")
        while lines.readline() not in _ENDS:
            pass

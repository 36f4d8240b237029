"""Framing: http.client's response, with everything in it bounded that is not the body.

http.client bounds a line, and the lines of one head.  It does not bound the interim answers before a head, the bytes
of a head in all, the lines behind a chunked body, or what stands beside the sizes of its chunks; each of these can go
on until a deadline, and costs a core meanwhile.  A server that needs more than is allowed here has nothing to say.
"""

from __future__ import annotations

import http.client
import re
from io import BytesIO
from typing import TYPE_CHECKING, Any

from fusefs.errors import WrongResponse

if TYPE_CHECKING:
    from io import BufferedIOBase

INTERIM = 10
"""Answers of status 1xx before the one that counts."""

LINES = 100
"""Lines of one head, or of a trailer, with the empty one at its end: http.client's own limit."""

HEAD = 1 << 16
"""Bytes of a trailer, or of a head with the interim answers before it; not counted are status lines, of which
http.client allows each as much."""

CHUNK_LINE = 4096
"""Bytes of a line with the size of a chunk, as Go allows."""

EXCESS = 16 << 10
"""Bytes beside the chunks, beyond what each honestly needs.  Source: Go's net/http/internal/chunked.go."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r?\n", re.DOTALL)
_ENDS = (b"\r\n", b"\n", b"")


class FramedResponse(http.client.HTTPResponse):
    """A response whose frame is bounded.

    Three methods of http.client are replaced that its documentation does not name; they are the same from Python 3.11
    on, and a test of each limit fails when one of them is not called any more.
    """

    fp: Any
    _excess = 0

    def begin(self) -> None:
        """Read the head.

        Raises:
            WrongResponse: it goes on and on.
        """
        file = self.fp
        try:
            super().begin()
        finally:
            if self.fp is not None:  # else http.client has closed it for a line that is none
                self.fp = file  # of a head that is refused, too: whoever closes the response closes the socket's file

    def _read_status(self) -> tuple[str, int, str]:
        """The status line of the answer that counts; those before it are skipped.  Source: RFC 9110 §15.2.

        Its headers are read here, too, and `fp` has them from then on: a CONNECT to a proxy goes without `begin`.
        """
        bytes_left = HEAD
        for _ in range(INTERIM + 1):
            try:
                version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the stubs
            except http.client.LineTooLong as exc:
                raise WrongResponse(f"its head is longer than {HEAD} bytes") from exc
            headers = _lines(self.fp, "its head", bytes_left)
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                self.fp = BytesIO(headers)
                return version, status, reason
            bytes_left -= len(headers)
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
        _lines(self.fp, "what follows its body")


def _lines(file: BufferedIOBase, what: str, most: int = HEAD) -> bytes:
    """The lines of a head or trailer up to the empty one, or to the end; at most `most` bytes.

    Raises:
        WrongResponse: they are too many, or too long.
    """
    found = b""
    for _ in range(LINES):
        line = file.readline(most - len(found) + 1)
        found += line
        if len(found) > most:
            raise WrongResponse(f"{what} is longer than {HEAD} bytes")
        if line in _ENDS:
            return found
    raise WrongResponse(f"{what} has more than {LINES} lines")

"""BucketBody: the pieces of an answer come while the last one is used, and no more of them than are wanted."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import Cancelled, TransportError, WrongResponse
from fusefs.sources.tree.bucketbody import BucketBody
from fusefs.sources.tree.looped import Looped
from fusefs.values.chunks import Chunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from typing import Any

    from fusefs.sources.tree.looped import Call

PIECE = 100
HANGS = 20.0


class Files:
    """Calls of a real loop; `asked` counts the pieces that the stream was asked for."""

    label = "s3://bucket"

    def __init__(self) -> None:
        self.asked = 0
        self.second = threading.Event()
        self.loop = Looped(self.label, HANGS)

    def begin(self, work: Coroutine[Any, Any, Any], place: str) -> Call:
        """See `Calls`."""
        return self.loop.begin(work, place)

    def result(self, call: Call, place: str) -> Any:  # as `Calls` has it
        """See `Calls`."""
        return self.loop.result(call)

    async def pieces(self, *sizes: int) -> AsyncIterator[bytes]:
        """An answer of so many bytes in each piece."""
        for number, size in enumerate(sizes):
            self.asked += 1
            if number == 1:
                self.second.set()
            yield size * bytes([number])


@pytest.fixture
def files() -> Iterator[Files]:
    made = Files()
    with closing(made.loop):
        yield made


def _body(files: Files, size: int, *pieces: int) -> BucketBody:
    return BucketBody(files, "model.gguf", Chunk(0, size - 1), files.pieces(*pieces))


def _read(body: BucketBody, size: int) -> bytes:
    data, got = bytearray(size), 0
    while got < size and (more := body.readinto(memoryview(data)[got:])):
        got += more
    return bytes(data[:got])


def test_the_next_piece_comes_while_the_last_one_is_used(files: Files) -> None:
    body = _body(files, 2 * PIECE, PIECE, PIECE)
    assert _read(body, PIECE) == PIECE * b"\0"
    assert files.second.wait(HANGS), "nobody has asked for the second one"
    assert _read(body, PIECE) == PIECE * b"\1"
    assert _read(body, 1) == b""


def test_behind_the_end_of_the_range_nothing_is_asked_for(files: Files) -> None:
    body = _body(files, 2 * PIECE, PIECE, PIECE, PIECE)
    assert len(_read(body, 2 * PIECE)) == 2 * PIECE
    assert files.asked == 2
    assert files.loop.lines() == []
    body.close()


def test_p2_an_answer_that_ends_early_or_goes_on_is_an_error(files: Files) -> None:
    with pytest.raises(TransportError, match="50 bytes too early"):
        _read(_body(files, PIECE + 50, PIECE), PIECE + 50)
    with pytest.raises(WrongResponse, match="goes on behind the end"):
        _read(_body(files, PIECE - 1, PIECE), PIECE)


def test_p11_a_body_that_was_closed_gives_no_more(files: Files) -> None:
    body = _body(files, 3 * PIECE, PIECE, PIECE, PIECE)
    _read(body, PIECE)
    body.close()
    body.close()
    with pytest.raises(Cancelled):
        _read(body, PIECE)

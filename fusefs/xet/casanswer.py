"""Reading a JSON answer of a content server (CAS) of Xet, of bounded size, into msgspec's structures."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from fusefs.errors import InvalidXet
from fusefs.values.chunklimits import MAX_BLOB_SIZE

T = TypeVar("T")

Offset = Annotated[int, msgspec.Meta(ge=0, le=MAX_BLOB_SIZE)]
"""Of a byte of a file or of a xorb."""

Size = Annotated[int, msgspec.Meta(ge=1, le=MAX_BLOB_SIZE)]
"""Bytes of something that is not empty."""


def read_answer(raw: bytes, decoder: msgspec.json.Decoder[T], *, most: int, objects: int) -> T:
    """Read an answer of at most `most` bytes and `objects` JSON objects; an object takes ten times its text.

    Raises:
        InvalidXet: it is larger, or no such answer.
    """
    if len(raw) > most:
        raise InvalidXet(f"an answer of {len(raw)} bytes, at most {most} are accepted")
    if raw.count(b"{") > objects:
        raise InvalidXet(f"an answer with more than {objects} objects")
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidXet(f"an invalid answer: {str(exc)[:200]}") from exc

"""SignedReport: what `fusefs verify` says of a model that is what its publisher signed."""

from __future__ import annotations

import msgspec


class SignedReport(msgspec.Struct, frozen=True):
    """A model that is what somebody has signed: the document of `fusefs verify SOURCE --signature … --json`.

    Attributes:
        source: the model.
        signed: who has signed it.
        files: how many it has.
        size: bytes of all of them.
    """

    source: str
    signed: str
    files: int
    size: int

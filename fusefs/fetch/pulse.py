"""Pulse: how often bytes have come to one worker; who has none for a while is silent (`fusefs.fetch.shares`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Pulse:
    """Counted by the worker's thread, looked at by the event loop.

    Attributes:
        beats: how many times bytes came.
    """

    beats: int = 0

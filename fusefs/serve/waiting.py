"""Waiting for a file to be hashed without a thread: what a client asks for may take minutes to be known."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

import trio

from fusefs.offers.indexer import NotYet

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds until the client is told to ask again: less than the 30 s after which fusefs and others give up a connection
that says nothing."""


async def when_known(
    work: Callable[..., T],
    *args: object,
    limiter: trio.CapacityLimiter | None = None,
) -> T:
    """Call `work` in a thread of `limiter`, again whenever what it lacked may be there.

    Raises:
        NotYet: it took longer than `PATIENCE`; with how far the hashing is.
    """
    deadline = trio.current_time() + PATIENCE
    while True:
        try:
            return await trio.to_thread.run_sync(work, *args, limiter=limiter)
        except NotYet as exc:
            if trio.current_time() >= deadline:
                raise
            with trio.move_on_at(deadline):
                await _wait(exc)


async def _wait(missing: NotYet) -> None:
    token, done = trio.lowlevel.current_trio_token(), trio.Event()

    def tell() -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(done.set)

    if not missing.watch(tell):
        return
    try:
        await done.wait()
    finally:
        missing.unwatch(tell)

"""Signals: what each means to a running mount.

SIGTERM and SIGINT end it.  SIGHUP opens the log file anew (logrotate) and reads credentials again.  SIGUSR1 writes to
the log what is going on.
"""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from fusefs.daemon import background, logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

log = logging.getLogger(__name__)

WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


@dataclass
class Handlers:
    """What signals call, as far as the mount is set up by now.

    Attributes:
        refresh: read credentials again; blocking.
        dump: what is going on, as text; on the event loop.
    """

    refresh: Callable[[], None] | None = None
    dump: Callable[[], str] | None = None


async def obey(signals: AsyncIterator[int], nursery: trio.Nursery, handlers: Handlers) -> None:
    """Do what signals ask, until one ends the mount by cancelling `nursery`."""
    # Who started us in the foreground of a terminal and closes that wants us to end, not to read our settings again.
    on_terminal = os.isatty(0)
    async for number in signals:
        match number:
            case signal.SIGUSR1:
                _dump(handlers)
            case signal.SIGHUP if not on_terminal or os.isatty(0):
                nursery.start_soon(_reload, handlers)
            case _:
                log.info("Ending because of %s.", signal.Signals(number).name)
                background.notify("STOPPING=1")
                nursery.cancel_scope.cancel()
                return


async def _reload(handlers: Handlers) -> None:
    try:
        # Abandoned when the mount ends: what is reloaded then is of no use to anybody.
        await trio.to_thread.run_sync(logs.reopen, abandon_on_cancel=True)
        if handlers.refresh is not None:
            await trio.to_thread.run_sync(handlers.refresh, abandon_on_cancel=True)
    except Exception:
        log.exception("Not all could be reloaded after SIGHUP.")
    else:
        log.info("Reloaded because of SIGHUP: the log file was opened anew, credentials are read again.")


def _dump(handlers: Handlers) -> None:
    if handlers.dump is None:
        log.info("SIGUSR1: the mount is still being set up.")
        return
    try:
        log.info("SIGUSR1: state of this mount:", extra={"details": handlers.dump().splitlines()})
    except Exception:
        log.exception("The state of this mount could not be written.")

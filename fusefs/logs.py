"""Where log records go, and in which form."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import sys
from pathlib import Path

from fusefs.control import mount_id, own_runtime_dir
from fusefs.errors import FusefsError, MountError

FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"

LIMIT = 4 << 20
"""Bytes of a daemon's log before it starts anew; one older file is kept."""

LIBRARIES = ("urllib3", "hypercorn", "asyncio")
"""Their warnings tell of single connections, which we retry and count ourselves."""


def default_log(mountpoint: Path) -> Path | None:
    """The log of a daemon for which no `--log-file` was given; None when there is no place for one.

    `$XDG_STATE_HOME/fusefs/<mount id>.log`, else beside the control socket (a user without a home).
    """
    import platformdirs

    name = f"{mount_id(mountpoint)}.log"
    with contextlib.suppress(OSError):
        directory = platformdirs.user_state_path("fusefs", appauthor=False)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return check_log(directory / name)
    with contextlib.suppress(OSError, FusefsError):
        return check_log(own_runtime_dir() / name)
    return None


def check_log(path: Path) -> Path:
    """The absolute path of a file that can be appended to.

    Raises:
        OSError: it cannot.
    """
    with path.open("ab"):
        return path.absolute()


def chosen_log(path: Path) -> Path:
    """The absolute path of the log that a person asked for.

    Raises:
        MountError: it cannot be written.
    """
    try:
        return check_log(path)
    except OSError as exc:
        raise MountError(f"log file {path} cannot be written ({exc.strerror}); choose another --log-file") from exc


def to_file(path: Path | None, *, verbose: bool) -> None:
    """Log to `path`, or nowhere."""
    handler = (
        logging.handlers.RotatingFileHandler(path, maxBytes=LIMIT, backupCount=1, encoding="utf-8", errors="replace")
        if path
        else logging.NullHandler()
    )
    _use(handler, logging.DEBUG if verbose else logging.INFO)


def to_stderr(*, verbose: bool, quiet: bool = False) -> None:
    """Log to stderr; with `quiet` nothing at all unless `verbose`: the command's one line says what went wrong."""
    if quiet and not verbose:
        _use(logging.NullHandler(), logging.WARNING)
    else:
        _use(logging.StreamHandler(sys.stderr), logging.DEBUG if verbose else logging.INFO)


def _use(handler: logging.Handler, level: int) -> None:
    handler.setFormatter(logging.Formatter(FORM))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(logging.ERROR if level > logging.DEBUG else logging.INFO)

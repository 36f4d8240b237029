"""Where log records go, in which form, and how often the same: a log that runs for a year must stay worth reading."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from fusefs.daemon.control import mount_id, own_runtime_dir
from fusefs.errors import FusefsError, MountError
from fusefs.system.ownfile import make_folder, open_to_append
from fusefs.system.places import state_home
from fusefs.values.printable import contained, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"

LIMIT = 4 << 20
"""Bytes of a daemon's log before it starts anew; one older file is kept."""

BURST = 50
"""Lines of one kind (one statement of ours) that are logged at once; then one in `EVERY` seconds, with a count."""

EVERY = 60.0

MOST_WARNINGS = 20
"""How many warnings of a set-up are told to whoever waits for it; the log has all."""

LIBRARIES = ("urllib3", "asyncio")
"""Their warnings tell of single connections, which we retry and count ourselves."""


def default_log(mountpoint: Path) -> Path | None:
    """The log of a daemon for which no `--log-file` was given; None when there is no place for one.

    `$XDG_STATE_HOME/fusefs/<mount id>.log`, else beside the control socket (a user without a home).
    """
    name = f"{mount_id(mountpoint)}.log"
    if (directory := state_home()) is not None:
        with contextlib.suppress(OSError):
            make_folder(directory)
            return check_log(directory / name)
    with contextlib.suppress(OSError, FusefsError):
        return check_log(own_runtime_dir() / name)
    return None


def check_log(path: Path) -> Path:
    """The absolute path of a file that can be appended to.

    Raises:
        OSError: it cannot.
    """
    os.close(open_to_append(path))
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


def to_file(path: Path | None, *, verbose: bool, stderr: bool = False) -> None:
    """Log to `path`, or nowhere.  With `stderr` descriptor 2 follows: what the interpreter says as it dies, too."""
    handler = LogFile(path, stderr=stderr) if path else logging.NullHandler()
    _use(handler, logging.DEBUG if verbose else logging.INFO)


def reopen() -> None:
    """Open the log file anew: it was renamed or removed (logrotate).  Blocking, but short.

    Raises:
        OSError: it cannot be opened; the old one stays in use.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogFile):
            handler.reopen()


def trouble() -> str:
    """Why records are being lost, for `status`; empty while none is."""
    handlers = logging.getLogger().handlers
    return next((found.trouble for found in handlers if isinstance(found, LogFile) and found.trouble), "")


def descriptor() -> int:
    """Where the log goes, for what can write to a file descriptor alone."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogFile) and handler.stream is not None:
            return handler.stream.fileno()
    return 2


class LogFile(logging.handlers.RotatingFileHandler):
    """The log of a daemon: starts anew when it is too long, and when it is told to.

    Args:
        path: absolute; made readable by nobody else.
        stderr: let descriptor 2 follow the file.

    Attributes:
        trouble: why records are being lost; empty while none is.
    """

    def __init__(self, path: Path, *, stderr: bool = False) -> None:
        self._stderr = stderr
        self._lost = 0
        self._torn = False
        self.trouble = ""
        super().__init__(path, maxBytes=LIMIT, backupCount=1, encoding="utf-8", errors="replace")

    def _open(self) -> TextIO:  # type: ignore[override] # a wrapper that is narrower in the library's stubs
        stream = open(open_to_append(Path(self.baseFilename)), "a", encoding="utf-8", errors="replace")  # noqa: SIM115 # kept
        if self._stderr:
            os.dup2(stream.fileno(), 2)
        return stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it as lost: a full disk must not end the mount, nor fill descriptor 2 with stacks.

        Past the stream's buffer, which would keep what did not fit and fail again with it for ever.
        """
        try:
            if self.shouldRollover(record):
                self.doRollover()
            note = f"[{self._lost} lines before this one were lost: {self.trouble}]\n" if self._lost else ""
            assert self.stream is not None  # shouldRollover opens it anew where a rollover failed
            self._write(self.stream.fileno(), f"{note}{self.format(record)}\n".encode(errors="replace"))
        except OSError as exc:
            self._lost += 1
            self.trouble = f"log file {self.baseFilename} cannot be written: {exc.strerror}"
        except Exception:
            self.handleError(record)
        else:
            self._lost, self.trouble = 0, ""

    def _write(self, fd: int, data: bytes) -> None:
        if self._torn:  # the piece that fitted of a record before
            data = b"\n" + data
        while data:
            written = os.write(fd, data)
            data = data[written:]
            self._torn = bool(data)

    def reopen(self) -> None:
        """Write to what has the file's name now, made if need be.

        Raises:
            OSError: it cannot be opened; the old one stays in use.
        """
        self.acquire()
        try:
            fresh, old = self._open(), self.stream
            self.stream = fresh  # type: ignore[assignment] # as above
            if old is not None:
                old.close()
        finally:
            self.release()


class Warnings(logging.Handler):
    """Keeps the first warnings of a time, for whoever waits for its end and does not see the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        text = record.getMessage()
        if len(self._kept) < MOST_WARNINGS and text not in self._kept:
            self._kept.append(text)

    def take(self) -> list[str]:
        """What was kept; nothing is from here on."""
        logging.getLogger().removeHandler(self)
        return self._kept


@contextlib.contextmanager
def warnings() -> Iterator[Warnings]:
    """Keep what is logged as a warning until it is taken."""
    handler = Warnings()
    logging.getLogger().addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)


class Sparing(logging.Filter):
    """Lets the first `BURST` lines of one kind pass, then one in `EVERY` seconds, which says how many were left out.

    A kind is a statement in our code, of which there are few: what must be told of each of many blobs is told, and
    a server that fails for a week does not push all else out of the log.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, int], tuple[float, float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        kind, now = (record.pathname, record.lineno), time.monotonic()
        left, since, silent = self._kinds.get(kind, (float(BURST), now, 0))
        left = min(BURST, left + (now - since) / EVERY)
        if left < 1:
            self._kinds[kind] = left, now, silent + 1
            return False
        self._kinds[kind] = left - 1, now, 0
        if silent:
            record.msg = f"{record.msg} [{silent} more like this were not logged]"
        return True


def to_stderr(*, verbose: bool, quiet: bool = False) -> None:
    """Log to stderr; with `quiet` nothing at all unless `verbose`: the command's one line says what went wrong."""
    if quiet and not verbose:
        _use(logging.NullHandler(), logging.WARNING)
    else:
        _use(logging.StreamHandler(sys.stderr), logging.DEBUG if verbose else logging.INFO)


class _Lines(logging.Formatter):
    """One line a record: what it says may come from anywhere, and must not forge another.  A traceback is ours."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 # the library's name
        """The line."""
        record.message = printable(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line, and what goes with it: the lines that `details` hands over, or a traceback."""
        details: Sequence[str] = getattr(record, "details", ())
        return contained("\n".join([super().format(record), *(f"  {printable(line)}" for line in details)]))


def formatter() -> logging.Formatter:
    """How every record of ours is written."""
    return _Lines(FORM)


def _use(handler: logging.Handler, level: int) -> None:
    handler.setFormatter(formatter())
    if level > logging.DEBUG:
        handler.addFilter(Sparing())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(logging.ERROR if level > logging.DEBUG else logging.INFO)

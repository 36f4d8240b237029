"""Program: another program that runs in our place: it has the terminal, the streams and our signals; its end is ours.

It stays in our process group, as it must in a pipeline: the terminal belongs to the group, and whoever of it reads.
What is typed (Ctrl-C, Ctrl-Z) the kernel sends to every process of the group, so it is not passed on a second time;
what another process sends to us alone is.  When the program has stopped, so do we: then the shell, which knows of us
alone, has the terminal again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

FORWARDED = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGTSTP,
        signal.SIGCONT,
    }
)

_STOPS = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""By which a terminal stops a program; a SIGSTOP is somebody's who wants that one process alone to stand still."""

_HELD = FORWARDED | {signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU}

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""A program expects their default."""

NOT_FOUND, NOT_STARTED = 127, 126
"""What a shell exits with for a program that is not there, and for one that cannot be run."""


@contextlib.contextmanager
def held_signals() -> Iterator[set[int]]:
    """Let no signal end us meanwhile: `Program.wait` passes them on.  What came after that is dropped.

    Yields:
        The signals that were held back before, which is how a program expects it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield {int(number) for number in before}
    finally:
        while signal.sigtimedwait(_HELD, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Program:
    """A program that runs; made and waited for within one block of `held_signals`, with no other thread about.

    Args:
        words: its name and its arguments.
        env: its environment.
        mask: as `held_signals` gave it.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, words: Sequence[str], env: Mapping[str, str], mask: set[int]) -> None:
        self._terminal = _terminal()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, the kernel would not tell how it ended
        # Descriptors that a shell gave us (`<(...)`) are for it as well; ours are closed by exec.
        self._pid = os.posix_spawnp(words[0], [*words], env, setsigmask=mask, setsigdef=_IGNORED_BY_PYTHON)

    def wait(self) -> int:
        """Wait until it ends; its exit code, or 128 + n where the signal n ended it, as in a shell."""
        while True:
            info = signal.sigwaitinfo(_HELD)
            if info.si_signo == signal.SIGCHLD:
                code = self._look()
                if code is not None:
                    return code
            elif info.si_signo in FORWARDED and not (info.si_code > 0 and self._in_our_group()):
                self._send(info.si_signo)

    def _look(self) -> int | None:
        """Whether it has ended, and how; stops us where a terminal has stopped it."""
        while info := os.waitid(os.P_PID, self._pid, os.WEXITED | os.WSTOPPED | os.WNOHANG):
            if info.si_code == os.CLD_EXITED:
                return info.si_status
            if info.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
                self._restore_terminal()
                return 128 + info.si_status
            if info.si_status in _STOPS:
                os.kill(os.getpid(), signal.SIGSTOP)  # until the shell continues us, and we by SIGCONT the program
        return None

    def _in_our_group(self) -> bool:
        with contextlib.suppress(ProcessLookupError):
            return os.getpgid(self._pid) == os.getpgrp()
        return True

    def _send(self, number: int) -> None:
        # Not reaped yet, so that nobody else has its pid.
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it runs with other rights (sudo)
            os.kill(self._pid, number)

    def _restore_terminal(self) -> None:
        """A program that was killed could not leave the terminal as it was, and the shell sees only that we ended."""
        if self._terminal is None:
            return
        with contextlib.suppress(OSError, termios.error):
            if os.tcgetpgrp(0) == os.getpgrp():  # in the background it is somebody else's now
                termios.tcsetattr(0, termios.TCSADRAIN, self._terminal)


def _terminal() -> list[Any] | None:
    with contextlib.suppress(OSError, termios.error):
        return termios.tcgetattr(0)
    return None

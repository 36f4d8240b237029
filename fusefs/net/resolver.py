"""Resolver: names to addresses, by threads that nobody waits for longer than he wants to.

`getaddrinfo` has no timeout and cannot be ended: behind a name server that does not answer, it takes what
resolv.conf(5) allows, often half a minute.  So it runs in daemon threads, whose end neither a reader, nor an unmount,
nor the interpreter waits for; who waits for an answer waits for an event, which the end of his flight sets, too.

A name that hangs must not hold up the others.  All who ask for one name wait for one call; another one is begun beside
it only when it has probably lost its datagrams.  Names that servers chose (a redirect's, a realm's) have a part of the
threads, and those that one registry led to a part of that, or it would need no more than a few dozen names to stop
everybody else.  Beyond that a name waits until a thread is free, with its own patience.  Answers are not kept: whoever
asks next asks anew.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, TypeAlias

from fusefs.errors import StallTimeout
from fusefs.net.addresses import literal

if TYPE_CHECKING:
    from fusefs.net.exchange import Exchange

Address: TypeAlias = tuple[int, int, int, tuple[Any, ...]]
"""Family, kind, protocol and socket address, as `socket` wants them."""

THREADS = 32
"""In all.  One stands still in the C library and costs its stack of some ten KiB."""

CHOSEN_THREADS = 24
"""For names that servers chose."""

PER_REGISTRY = 8
"""For those of them that one registry led to."""

PER_NAME = 3
"""For one name."""

_LOST = 5.0
"""Seconds after which a question counts as lost; what the C library waits before it repeats one."""


class _Wait:
    """What a flight depends on while its name is looked up: an event that `shut` sets, as a `Guard` ends a socket.

    Attributes:
        over: there is an answer, or nobody waits for one any more.
        answer: addresses, or why there are none.
    """

    def __init__(self) -> None:
        self.over = threading.Event()
        self.answer: list[Address] | OSError | None = None

    def hold(self) -> None:
        """Nothing is held."""

    def drop(self) -> None:
        """Nothing was."""

    def shut(self) -> None:
        """Wait no longer."""
        self.over.set()


class _Question:
    """One name whose addresses somebody wants to know, or did, while a thread still asks.

    Attributes:
        host: the name.
        chosen_by: the registry that led to it; empty where a person named it.
        waits: of all who want to know.
        calls: threads that ask.
        asked: monotonic time at which the last of them began.
        queued: no thread was free.
    """

    def __init__(self, host: str, chosen_by: str) -> None:
        self.host = host
        self.chosen_by = chosen_by
        self.waits: set[_Wait] = set()
        self.calls = 0
        self.asked = 0.0
        self.queued = False


class Resolver:
    """Looks names up for all threads of a process."""

    def __init__(self) -> None:
        self._questions: dict[tuple[str, str], _Question] = {}
        self._queue: deque[_Question] = deque()
        self._threads = 0
        self._chosen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def addresses(
        self, host: str, port: int, *, timeout: float | None, flight: Exchange | None = None
    ) -> list[Address]:
        """Where to connect to for `host`, in the order in which to try; an address is its own answer.

        Args:
            host: a name or an address, IPv6 without brackets.
            port: goes into each address.
            timeout: seconds; None for as long as the flight has.
            flight: whose end ends the wait.

        Raises:
            OSError: the name has no address, or none that is known now.
            StallTimeout: no answer in time.
            Cancelled: the flight was ended.
        """
        if literal(host) is not None:
            return _at(_ask(host, socket.AI_NUMERICHOST), port)
        wait = _Wait()
        if flight is not None:
            flight.watch(wait)
            left = max(0.0, flight.deadline - time.monotonic())
            timeout = left if timeout is None else min(left, timeout)
        question = self._join(host, flight.chosen_by if flight is not None else "", wait)
        try:
            # Cut, because a wait that is too long for the C library is an error of its own.
            wait.over.wait(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        finally:
            self._leave(question, wait)
        answer = wait.answer
        if answer is None:
            if flight is not None and flight.ended is not None:
                raise flight.error(host)
            raise StallTimeout(f"its name was not resolved within {timeout or 0:.3g} s", source=host)
        if isinstance(answer, OSError):
            raise type(answer)(*answer.args)  # everybody his own: a traceback grows with each raise
        return _at(answer, port)

    def _join(self, host: str, chosen_by: str, wait: _Wait) -> _Question:
        with self._lock:
            question = self._questions.setdefault((host, chosen_by), _Question(host, chosen_by))
            question.waits.add(wait)
            lost = question.calls < PER_NAME and time.monotonic() - question.asked >= _LOST
            if not question.queued and (not question.calls or lost):
                if self._room(question):
                    self._begin(question)
                else:
                    question.queued = True
                    self._queue.append(question)
            return question

    def _leave(self, question: _Question, wait: _Wait) -> None:
        with self._lock:
            question.waits.discard(wait)
            if question.queued and not question.waits:
                question.queued = False
                self._queue.remove(question)
            self._forget(question)

    def _forget(self, question: _Question) -> None:
        """Unless somebody waits, or a thread still asks: it counts, so that a name never has more than its part."""
        if not question.waits and not question.calls:
            self._questions.pop((question.host, question.chosen_by), None)

    def _room(self, question: _Question) -> bool:
        if question.chosen_by and self._chosen.total() >= CHOSEN_THREADS:
            return False
        return self._threads < THREADS and self._chosen[question.chosen_by] < PER_REGISTRY

    def _begin(self, question: _Question) -> None:
        """Ask in a new thread.  Under the lock."""
        thread = threading.Thread(target=self._run, args=(question,), name="fusefs-resolver", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no room for a thread
            if not question.calls:
                self._answer(question, OSError(errno.EAGAIN, "no thread can be started to resolve its name"))
            return
        self._count(question, 1)
        question.asked = time.monotonic()

    def _run(self, question: _Question) -> None:
        answer: list[Address] | OSError
        try:
            answer = _ask(question.host)
        except OSError as exc:
            answer = exc
        except Exception as exc:  # what no name can be, as the encoder of names says it
            answer = OSError(errno.EINVAL, str(exc))
        with self._lock:
            self._count(question, -1)
            self._answer(question, answer)
            self._next()

    def _count(self, question: _Question, change: int) -> None:
        question.calls += change
        self._threads += change
        if question.chosen_by:
            self._chosen[question.chosen_by] += change
            if not self._chosen[question.chosen_by]:
                del self._chosen[question.chosen_by]

    def _answer(self, question: _Question, answer: list[Address] | OSError) -> None:
        """Tell all who wait."""
        for wait in question.waits:
            wait.answer = answer
            wait.over.set()
        question.waits.clear()
        self._forget(question)

    def _next(self) -> None:
        """Ask for what waits for a thread, oldest first."""
        for question in list(self._queue):
            if self._room(question):
                self._queue.remove(question)
                question.queued = False
                self._begin(question)


def _ask(host: str, flags: int = 0) -> list[Address]:
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=flags)
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]


def _at(found: list[Address], port: int) -> list[Address]:
    return [(family, kind, protocol, (address[0], port, *address[2:])) for family, kind, protocol, address in found]


RESOLVER = Resolver()
"""Of this process: a bound on threads is one for all transports."""

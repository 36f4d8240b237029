"""Names that are not resolved: nobody waits longer than he wants to, and nobody waits for another one's name."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.errors import Cancelled, StallTimeout, TransportError
from fusefs.net.exchange import Exchange
from fusefs.net.resolver import CHOSEN_THREADS, PER_NAME, PER_REGISTRY, THREADS, Resolver
from fusefs.net.transport import Transport
from fusefs.values.settings import Settings
from tests.faulty_registry import FaultyRegistry
from tests.reading import InThread

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENT = 10.0
SETTINGS = Settings(timeout=60, stall=60)
REAL = socket.getaddrinfo


class Names:
    """Instead of the C library: names in `.hangs` hang until `release`, `.missing` do not exist, others are here."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released = threading.Event()
        self._changed = threading.Condition()

    def getaddrinfo(self, host: str, port: int, **options: Any) -> Any:
        with self._changed:
            self.asked.append(host)
            self._changed.notify_all()
        if host.endswith(".hangs"):
            self.released.wait(60)
        if host.endswith((".missing", ".hangs")):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return REAL("127.0.0.1", port, **options)

    def wait_asked(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= count, PATIENT), self.asked


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names()
    monkeypatch.setattr("fusefs.net.resolver.socket.getaddrinfo", made.getaddrinfo)
    # Threads that hang must not be left to the next test.
    monkeypatch.setattr("fusefs.net.connection.RESOLVER", Resolver())
    yield made
    made.released.set()


def test_p6_a_name_that_hangs_ends_at_the_timeout(names: Names) -> None:
    with closing(Transport(Settings(timeout=0.3, stall=10))) as transport, pytest.raises(StallTimeout):
        transport.get("http://registry.hangs/", {})


def test_p6_a_name_that_hangs_is_waited_for_no_longer_than_a_connection(names: Names) -> None:
    with (
        closing(Transport(Settings(timeout=60, stall=0.2))) as transport,
        pytest.raises(StallTimeout, match=r"registry\.hangs: its name was not resolved within 0\.2 s"),
    ):
        transport.get("http://registry.hangs/", {})


def test_p11_closing_ends_a_wait_for_a_name(names: Names) -> None:
    transport = Transport(SETTINGS)
    call = InThread(lambda: transport.get("http://registry.hangs/", {}))
    names.wait_asked(1)
    transport.close()
    with pytest.raises(Cancelled):
        call.result(PATIENT)


def test_p6_another_host_is_resolved_while_fifty_requests_hang(names: Names) -> None:
    """Half of them for one name, half of them for one each: a hostile registry leads to as many as it likes."""
    with FaultyRegistry() as registry, ExitStack() as stack:
        port = registry.host.partition(":")[2]
        hostile = stack.enter_context(closing(Transport(SETTINGS, named="hostile.example")))
        hosts = [f"h{i // 2 if i % 2 else 0}.hangs" for i in range(50)]
        hosts += [f"more{i}.hangs" for i in range(20)]
        calls = [InThread(lambda host=host: hostile.get(f"http://{host}/", {})) for host in hosts]  # type: ignore[misc]
        try:
            names.wait_asked(PER_REGISTRY)
            other = stack.enter_context(closing(Transport(SETTINGS, named="healthy.example")))
            for host in ("healthy.example", "storage-of-healthy.example"):
                InThread(lambda host=host: other.get(f"http://{host}:{port}/x", {}).discard()).result(PATIENT)  # type: ignore[misc]
            assert len(names.asked) == PER_REGISTRY + 2
            assert names.asked.count("h0.hangs") == 1
        finally:
            hostile.close()
            for call in calls:
                with pytest.raises(Cancelled):
                    call.result(PATIENT)


def test_p6_many_hostile_registries_leave_threads_for_names_that_persons_gave(names: Names) -> None:
    resolver = Resolver()
    calls, flights = [], []
    for i in range(2 * CHOSEN_THREADS):
        flight = Exchange(time.monotonic() + 60, 60)
        flight.chosen_by = f"hostile{i % 9}.example"
        flights.append(flight)
        calls.append(
            InThread(lambda i=i, f=flight: resolver.addresses(f"h{i}.hangs", 1, timeout=None, flight=f))  # type: ignore[misc]
        )
    names.wait_asked(CHOSEN_THREADS)
    assert resolver.addresses("healthy.example", 1, timeout=PATIENT)
    assert len(names.asked) == CHOSEN_THREADS + 1
    for flight in flights:
        flight.abort()
    for call in calls:
        with pytest.raises(Cancelled):
            call.result(PATIENT)
    assert not resolver._queue


def test_p6_what_found_no_thread_is_asked_when_one_is_free(names: Names) -> None:
    resolver = Resolver()
    flights = [Exchange(time.monotonic() + 60, 60) for _ in range(THREADS)]

    def ask(host: str, flight: Exchange | None = None) -> object:
        return resolver.addresses(host, 1, timeout=None, flight=flight)

    calls = [InThread(lambda i=i, f=f: ask(f"h{i}.hangs", f)) for i, f in enumerate(flights)]  # type: ignore[misc]
    names.wait_asked(THREADS)
    with pytest.raises(StallTimeout):
        resolver.addresses("late.example", 1, timeout=0.05)
    assert "late.example" not in names.asked
    late = InThread(lambda: ask("late.example"))
    names.released.set()
    assert late.result(PATIENT)
    for call in calls:
        with pytest.raises(socket.gaierror):
            call.result(PATIENT)
    assert not resolver._questions
    assert not resolver._queue


def test_a_name_is_asked_once_for_all_and_anew_for_the_next(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver()
    calls = [InThread(lambda: resolver.addresses("one.hangs", 80, timeout=60)) for _ in range(9)]
    names.wait_asked(1)
    with pytest.raises(StallTimeout):
        resolver.addresses("one.hangs", 80, timeout=0.01)
    monkeypatch.setattr("fusefs.net.resolver._LOST", 0.0)
    for _ in range(9):
        with pytest.raises(StallTimeout):
            resolver.addresses("one.hangs", 80, timeout=0.01)
    names.wait_asked(PER_NAME)
    assert len(names.asked) == PER_NAME, "what is lost is asked again, but never more than that"
    names.released.set()
    for call in calls:
        with pytest.raises(socket.gaierror):
            call.result(PATIENT)
    found = resolver.addresses("one.example", 80, timeout=60)
    assert {address[3] for address in found} == {("127.0.0.1", 80)}
    resolver.addresses("one.example", 80, timeout=60)
    assert names.asked[-2:] == ["one.example"] * 2


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%lo"])
def test_an_address_needs_no_thread(host: str, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusefs.net.resolver.socket.getaddrinfo", REAL)
    monkeypatch.setattr("fusefs.net.resolver.threading.Thread", None)
    assert Resolver().addresses(host, 5, timeout=1)[0][3][:2] == (host.partition("%")[0], 5) or "%" in host


def test_a_name_that_does_not_exist_is_told_as_before(names: Names) -> None:
    with closing(Transport(SETTINGS)) as transport:
        for _ in range(2):
            with pytest.raises(TransportError, match=r"^h\.missing: Name or service not known$"):
                transport.get("http://h.missing/", {})


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_that_does_not_exist_is_not_blamed_on_its_scheme(names: Names, scheme: str) -> None:
    """A person has named the host, and it has never answered: of TLS that says nothing."""
    says = pytest.raises(TransportError, match=r"^h\.missing: Name or service not known$")
    with closing(Transport(SETTINGS, named="h.missing")) as transport, says:
        transport.get(f"{scheme}://h.missing/", {})


def test_p6_without_room_for_a_thread_it_is_an_error_at_once(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("fusefs.net.resolver.threading.Thread.start", no_thread)
    resolver = Resolver()
    with pytest.raises(OSError, match="no thread"):
        resolver.addresses("h.example", 1, timeout=60)
    assert not resolver._questions


HANGS = """
import socket, sys, threading
hangs = threading.Event()
socket.getaddrinfo = lambda *a, **o: hangs.wait()
from fusefs.errors import StallTimeout
from fusefs.net.resolver import RESOLVER
try:
    RESOLVER.addresses("registry.hangs", 80, timeout=0.05)
except StallTimeout:
    print([thread.name for thread in threading.enumerate()])
"""


def test_p11_the_interpreter_does_not_wait_for_a_name() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], check=True, timeout=30, capture_output=True, text=True)
    assert "fusefs-resolver" in done.stdout

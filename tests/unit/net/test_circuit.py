"""The circuit of a host: when it opens, who gets through, what closes it, and what is said of it."""

from __future__ import annotations

import logging
import socket
from contextlib import closing

import pytest

from fusefs.errors import HostResting, ResponseError, SourceError, StallTimeout, TransportError
from fusefs.net.circuit import FAILURES, FAILURES_OF_SEVERAL, LONGEST_ASKED, Circuit, Circuits
from fusefs.net.transport import Transport
from fusefs.net.url import Url
from fusefs.sources.backoff import Patience
from fusefs.sources.registry.registry import RegistrySource
from fusefs.sources.retry import Retrying
from fusefs.values import metrics
from fusefs.values.chunks import Blob
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.settings import Settings
from tests.faulty_registry import FaultyRegistry
from tests.reading import FakeClock, read_blob

RESET = TransportError("Connection reset", source="h")
SETTINGS = Settings(timeout=300, stall=30)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def circuit_of(clock: FakeClock, *, several: bool = False, settings: Settings = SETTINGS) -> Circuit:
    return Circuit("h", settings, clock, several=several)


def opened(clock: FakeClock, *, several: bool = False) -> Circuit:
    circuit = circuit_of(clock, several=several)
    for _ in range(FAILURES):
        circuit.enter()
        circuit.failed(RESET)
    return circuit


def rest_of(circuit: Circuit) -> float:
    with pytest.raises(HostResting) as caught:
        circuit.enter()
    return caught.value.retry_after


def test_it_opens_after_failures_in_a_row_only(clock: FakeClock) -> None:
    circuit = circuit_of(clock)
    for _ in range(3):
        for _ in range(FAILURES - 1):
            circuit.failed(RESET)
        circuit.worked()
    circuit.enter()
    assert circuit.trouble == ""


def test_open_it_refuses_at_once_and_says_why(clock: FakeClock) -> None:
    circuit = opened(clock)
    with pytest.raises(HostResting, match=r"^h: Connection reset; nothing is asked for a moment, after 3 failures$"):
        circuit.enter()
    assert circuit.trouble == "Connection reset"


def test_open_it_blames_who_was_to_blame_first(clock: FakeClock) -> None:
    """A person sees the last of several tries, and which one that is depends on chance."""
    circuit = circuit_of(clock)
    for _ in range(FAILURES):
        circuit.failed(TransportError("Connection refused; it was to ask h", source="the proxy p (https_proxy)"))
    with pytest.raises(HostResting, match=r"^the proxy p .https_proxy.: Connection refused; it was to ask h; nothing"):
        circuit.enter()


def test_after_its_rest_one_request_may_try(clock: FakeClock) -> None:
    circuit = opened(clock)
    clock.time += rest_of(circuit)
    circuit.enter()
    assert rest_of(circuit) <= 0.25, "the others look again soon"
    clock.time += 1
    assert rest_of(circuit) <= 0.25, "and wait as long as it takes"


def test_what_comes_closes_it(clock: FakeClock) -> None:
    circuit = opened(clock)
    circuit.worked()
    circuit.enter()
    circuit.enter()
    assert circuit.trouble == ""


@pytest.mark.logs("is in trouble")
def test_each_failure_doubles_the_rest_up_to_a_few_seconds(clock: FakeClock) -> None:
    circuit = opened(clock)
    rests = []
    for _ in range(7):
        rests.append(rest_of(circuit))
        clock.time += rests[-1]
        circuit.enter()
        circuit.failed(RESET)
    assert rests == pytest.approx([0.5, 1, 2, 4, 5, 5, 5])


@pytest.mark.logs("is in trouble")
def test_p6_the_rest_is_short_against_the_timeout(clock: FakeClock) -> None:
    """Or a reader with a short timeout would fail of the circuit, though the host were well again."""
    circuit = circuit_of(clock, settings=Settings(timeout=0.8, stall=30))
    for _ in range(FAILURES):
        circuit.failed(RESET)
    for _ in range(20):
        clock.time += 10
        circuit.enter()
        circuit.failed(RESET)
        assert rest_of(circuit) <= 0.1


def test_p6_a_probe_that_nobody_answers_holds_the_others_for_a_part_of_the_timeout(clock: FakeClock) -> None:
    circuit = circuit_of(clock, settings=Settings(timeout=8, stall=30))
    for _ in range(FAILURES):
        circuit.failed(RESET)
    clock.time += rest_of(circuit)
    circuit.enter()
    clock.time += 2
    circuit.enter()


def test_requests_that_were_on_their_way_when_it_opened_do_not_lengthen_its_rest(clock: FakeClock) -> None:
    circuit = opened(clock)
    before = rest_of(circuit)
    for _ in range(5):
        circuit.failed(RESET)
    assert rest_of(circuit) == before


def test_a_probe_that_is_given_up_leaves_its_place_to_the_next(clock: FakeClock) -> None:
    circuit = opened(clock)
    clock.time += rest_of(circuit)
    circuit.enter()
    circuit.left()
    circuit.enter()


@pytest.mark.parametrize("failure", [RESET, StallTimeout("silence", source="h")])
def test_with_other_sources_left_it_opens_sooner(clock: FakeClock, failure: TransportError) -> None:
    circuit = circuit_of(clock, several=True)
    for _ in range(1 if isinstance(failure, StallTimeout) else FAILURES_OF_SEVERAL):
        circuit.enter()
        circuit.failed(failure)
    assert rest_of(circuit) > 0


def test_a_time_that_the_host_names_is_for_all_requests(clock: FakeClock) -> None:
    circuit = circuit_of(clock)
    circuit.rest(42, "h: busy")
    with pytest.raises(HostResting, match="h: busy") as caught:
        circuit.enter()
    assert (caught.value.retry_after, caught.value.asked) == (42, True)
    clock.time += 42
    circuit.enter()


def test_p6_a_time_that_nobody_could_wait_out_is_not(clock: FakeClock) -> None:
    circuit = circuit_of(clock)
    circuit.rest(3600, "busy")
    circuit.enter()


def test_p6_one_answer_has_a_host_left_alone_for_a_bounded_time_however_patient_we_are(clock: FakeClock) -> None:
    circuit = Circuits(Settings(timeout=1e9), clock=clock).of(Url.parse("http://h").origin)
    circuit.rest(LONGEST_ASKED + 1, "busy")
    circuit.enter()
    circuit.rest(LONGEST_ASKED, "busy")
    assert rest_of(circuit) == LONGEST_ASKED


YEAR = "31536000"
FAR = "Fri, 31 Dec 9999 23:59:59 GMT"


@pytest.mark.parametrize("asked", [YEAR, "9" * 400, FAR, "-1", "0", "Fri, 02 Jan 1970 03:00:00 GMT", "soon"])
@pytest.mark.parametrize("status", [429, 503])
def test_p6_no_retry_after_outlasts_the_timeout(clock: FakeClock, asked: str, status: int) -> None:
    """One that goes beyond it is told at once; one that says nothing is no reason to hammer, nor to wait."""
    counters = Counters()
    with FaultyRegistry() as registry:
        registry.fault("status", times=None, status=status, retry_after=asked)
        name = Name.parse(f"{registry.url}/library/m")
        circuits = Circuits(SETTINGS, clock=clock)
        inner = RegistrySource("http", registry.host, SETTINGS, circuits=circuits)
        with closing(Retrying(inner, timeout=300, counters=counters, clock=clock)) as source:
            with pytest.raises(ResponseError) as caught:
                source.chunk_list(name, Blob(Digest.of(b""), 5))
            assert sum(clock.waits) <= 300
            if asked in (YEAR, "9" * 400, FAR):
                assert clock.waits == []
                assert "it asks to be left alone for" in str(caught.value)
                assert circuits.troubled() == {}, "the next read asks again"
            registry.clear_faults()
            assert source.chunk_list(name, Blob(Digest.of(b""), 5)) is None


def test_what_a_host_asks_for_is_told(clock: FakeClock) -> None:
    with FaultyRegistry() as registry:
        registry.fault("status", status=429, retry_after="30")
        circuits = Circuits(SETTINGS, clock=clock)
        with closing(RegistrySource("http", registry.host, SETTINGS, circuits=circuits)) as source:
            with pytest.raises(ResponseError):
                source.manifest(Name.parse(f"{registry.url}/library/m"))
            assert "(it asks to be left alone for 30 s)" in circuits.troubled()[registry.host]


def test_the_log_has_one_line_for_trouble_that_lasts_and_one_for_its_end(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    circuit = opened(clock)
    assert caplog.messages == [], "who restarts is not worth a line"
    for _ in range(9):
        clock.time += 6
        circuit.enter()
        circuit.failed(RESET)
    circuit.worked()
    circuit.worked()
    assert caplog.messages == ["h is in trouble, and is asked only now and then: Connection reset", "h answers again."]


def test_forgetting_asks_again_at_once(clock: FakeClock) -> None:
    circuits = Circuits(SETTINGS, clock=clock)
    circuit = circuits.of(Url.parse("http://h").origin)
    circuit.rest(42, "busy")
    assert circuits.troubled() == {"h": "busy"}
    circuits.forget()
    circuit.enter()
    assert circuits.troubled() == {}


def test_p10_hosts_without_end_do_not_fill_the_memory(clock: FakeClock) -> None:
    circuits = Circuits(SETTINGS, clock=clock)
    for number in range(1000):
        circuits.of(Url.parse(f"http://h{number}").origin)
    assert len(circuits._circuits) <= 256


# What waits for it


def patience_of(clock: FakeClock) -> tuple[Patience, Counters]:
    counters = Counters()
    source = Retrying(RegistrySource("http", "h", SETTINGS), timeout=300, counters=counters, clock=clock)
    return source._patience(300, source._stopped), counters


def test_p6_nobody_fails_before_the_timeout_because_of_the_circuit(clock: FakeClock) -> None:
    patience, counters = patience_of(clock)
    resting = HostResting("resting", source="h", retry_after=250, asked=False)
    patience.pause(resting)
    patience.pause(resting)
    with pytest.raises(HostResting):
        patience.pause(resting)
    assert clock.waits == [250, 50]
    assert counters[metrics.RETRIES] == 0, "nothing was tried"


def test_p6_what_the_host_itself_asks_for_is_not_waited_for_beyond_the_timeout(clock: FakeClock) -> None:
    patience, _ = patience_of(clock)
    with pytest.raises(HostResting):
        patience.pause(HostResting("busy", source="h", retry_after=301, asked=True))
    assert clock.waits == []


# Over the wire


@pytest.mark.parametrize("kind", ["reset-before", "short-body", "silence-before", "silence-amid"])
def test_a_host_that_failed_is_not_asked_by_each_request_anew(kind: str, clock: FakeClock) -> None:
    settings = Settings(timeout=20, stall=0.05)
    circuits = Circuits(settings, clock=clock)
    with (
        FaultyRegistry() as registry,
        closing(Transport(settings, circuits=circuits)) as transport,
        closing(Transport(Settings(timeout=20), circuits=circuits)) as patient,  # a busy machine is silent, too
    ):
        model = registry.add_model("library/m:latest", {"model.gguf": b"x" * 1000})
        url = f"{registry.url}/v2/library/m/blobs/{model.blobs['model.gguf'].digest}"
        registry.fault(kind, times=None)  # type: ignore[arg-type]  # each of them is a kind
        failures: list[str] = []
        for _ in range(10):
            try:
                with closing(transport.get(url, {})) as response:
                    response.read(2000)
            except TransportError as exc:
                failures.append(type(exc).__name__)
        assert failures[FAILURES:] == ["HostResting"] * 7
        assert len(registry.requests) == FAILURES
        registry.clear_faults()
        registry.release()
        clock.time += 60
        for _ in range(3):
            with closing(patient.get(url, {})) as response:
                assert response.read(2000) == b"x" * 1000


def test_a_refused_connection_counts_too(clock: FakeClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    circuits = Circuits(SETTINGS, clock=clock)
    with closing(Transport(SETTINGS, circuits=circuits)) as transport:
        for number in range(5):
            with pytest.raises(TransportError, match="Connection refused") as caught:
                transport.get(f"http://127.0.0.1:{port}/", {})
            assert isinstance(caught.value, HostResting) is (number >= FAILURES)


def test_retry_after_of_one_request_holds_for_the_next_ones(clock: FakeClock) -> None:
    with FaultyRegistry() as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": b"data", "other": b"other"})
        circuits = Circuits(SETTINGS, clock=clock)
        counters = Counters()
        with closing(
            Retrying(
                RegistrySource("http", registry.host, SETTINGS, circuits=circuits),
                timeout=300,
                counters=counters,
                clock=clock,
            )
        ) as source:
            registry.fault("status", status=429, retry_after="30")
            with pytest.raises(ResponseError):
                RegistrySource("http", registry.host, SETTINGS, circuits=circuits).manifest(model.name)
            assert read_blob(source, model.name, model.blobs["other"]) == b"other"
        assert clock.waits == [30]
        assert (len(registry.requests), counters[metrics.REQUESTS]) == (2, 1), "one answered with 429, one with bytes"


def test_a_host_that_answers_with_errors_is_no_dead_one(clock: FakeClock) -> None:
    circuits = Circuits(SETTINGS, clock=clock)
    with FaultyRegistry() as registry:
        registry.fault("status", times=None, status=500)
        with closing(RegistrySource("http", registry.host, SETTINGS, circuits=circuits)) as source:
            for _ in range(5):
                with pytest.raises(SourceError, match="status 500"):
                    source.manifest(Name.parse(f"{registry.url}/library/m"))
        assert len(registry.requests) == 5

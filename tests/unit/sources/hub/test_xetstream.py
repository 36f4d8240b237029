"""The chunks of a file come in order, wherever it begins, however often terms come back, whatever ends meanwhile."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import Cancelled, SourceError, TransportError, Unauthorized, WrongResponse
from fusefs.sources.hub import xorbreaders
from fusefs.values.chunks import Chunk
from fusefs.values.settings import MIB
from tests.hub.contents import noise
from tests.hub.origin import edited
from tests.hub.scriptedhub import ScriptedHub
from tests.hub.xetopening import DATA, fill, opened
from tests.reading import InThread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hub.xetopening import Opened

A, B = noise(900_000, 11), noise(700_000, 12)
WOVEN = b"".join([A, B, A, A[300_000:], B, noise(500_000, 13), B[:400_000], A])
"""Terms come back to ranges that were read before, in other orders."""


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[Opened, Opened]]:
    with ScriptedHub() as hub:
        model = hub.add("org/m", {"w.safetensors": DATA, "woven.bin": WOVEN}, base=(A, B))
        with opened(hub, model) as plain, opened(hub, model, "woven.bin") as woven:
            yield plain, woven


@pytest.fixture
def plain(scripted: tuple[Opened, Opened]) -> Iterator[Opened]:
    yield from _behaving(scripted[0])


@pytest.fixture
def woven(scripted: tuple[Opened, Opened]) -> Iterator[Opened]:
    yield from _behaving(scripted[1])


def _behaving(one: Opened) -> Iterator[Opened]:
    yield one
    one.hub.release()
    one.hub.clear_faults()
    one.files.refresh()


def _read(one: Opened, start: int, stop: int) -> None:
    with closing(one.files.open(one.file, Chunk(start, stop - 1))) as body:
        assert fill(body, stop - start, 90_000) == one.data[start:stop]


@pytest.mark.parametrize("limits", [{}, {"_MOST_KEPT": 0}, {"_MOST_KEPT": 0, "_MOST_OPEN": 1}, {"_MOST_KEPT": 8 * MIB}])
def test_terms_that_come_back_are_kept_left_open_or_asked_for_again(
    woven: Opened, limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(xorbreaders, name, value)
    _read(woven, 0, len(WOVEN))
    for start in range(0, len(WOVEN), 1_234_567):
        _read(woven, start, min(len(WOVEN), start + 777_777))


def test_p10_a_plan_that_asks_for_the_same_bytes_without_end_is_given_up(
    woven: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xorbreaders, "_MOST_KEPT", 0)
    monkeypatch.setattr(xorbreaders, "_SLACK", 0)
    monkeypatch.setattr(xorbreaders, "_TIMES", 1)

    def backward(document: dict[str, list[object]]) -> None:
        document["terms"] = [*reversed(document["terms"])] * 50

    woven.hub.change("reconstruction", edited(backward))
    with pytest.raises(WrongResponse):
        _read(woven, 0, len(WOVEN))


def test_a_range_that_breaks_is_gone_on_with_where_it_broke(plain: Opened) -> None:
    plain.hub.fault("short-body", "xorb", at=1_000_000, times=3)
    before = plain.hub.sent("xorb")
    _read(plain, 0, len(DATA))
    assert plain.hub.sent("xorb") - before < len(DATA) + 4 * 200_000, "nearly nothing comes twice"


def test_urls_that_end_are_asked_for_again_once(plain: Opened) -> None:
    plain.hub.fault("status", "xorb", status=403)
    before = plain.hub.count("reconstruction")
    _read(plain, 0, MIB)
    assert plain.hub.count("reconstruction") == before + 2
    plain.hub.fault("status", "xorb", status=403, times=None)
    with pytest.raises(Unauthorized):
        _read(plain, 0, MIB)


def test_what_gains_nothing_is_left_to_who_waits(plain: Opened) -> None:
    plain.hub.fault("reset-before", "xorb", times=None)
    before = plain.hub.count("reconstruction")
    with pytest.raises(TransportError):
        _read(plain, 0, MIB)
    assert plain.hub.count("reconstruction") == before + 1


def test_p11_closing_it_ends_who_reads(plain: Opened) -> None:
    plain.hub.fault("silence-amid", "xorb")
    body = plain.files.open(plain.file, Chunk(0, MIB - 1))
    reading = InThread(lambda: fill(body, MIB))
    assert plain.hub.storage.silent.wait(60)
    body.close()
    with pytest.raises(Cancelled):
        reading.result(60)
    with pytest.raises((Cancelled, SourceError)):
        fill(body, 1)

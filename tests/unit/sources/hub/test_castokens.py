"""Tokens of the content server are asked for once for all, kept as long as they live, and dropped when refused."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fusefs.errors import SourceError, TransportError, WrongResponse
from fusefs.net.secret import Secret
from fusefs.net.url import Url
from fusefs.sources.hub.casaccess import CasAccess, read_access
from fusefs.sources.hub.castokens import CasTokens
from fusefs.values.hubname import HubName
from tests.reading import FakeClock

HUB = Url.parse("https://hub.example/api")
NOW = 1_790_000_000


def _name(text: str = "hf://org/m") -> HubName:
    name = HubName.read(text)
    assert name is not None
    return name


class _Asked:
    def __init__(self, life: float = 840.0) -> None:
        self.life = life
        self.count = 0
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def __call__(self, name: HubName) -> CasAccess:
        self.count += 1
        self.gate.wait(60)
        if self.error is not None:
            raise self.error
        return CasAccess(HUB, Secret(f"Bearer {name.model}-{self.count}"), self.life)


def test_many_threads_ask_once() -> None:
    ask = _Asked()
    tokens = CasTokens(ask)
    ask.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(tokens.get, _name()) for _ in range(8)]
        ask.gate.set()
        assert len({id(one.result()) for one in found}) == 1
    assert ask.count == 1


def test_one_is_renewed_when_its_life_is_over_and_each_repository_has_its_own() -> None:
    ask, clock = _Asked(life=100), FakeClock()
    tokens = CasTokens(ask, clock)
    first = tokens.get(_name())
    assert tokens.get(_name("hf://org/other")) != first
    clock.time += 99
    assert tokens.get(_name()) is first
    clock.time += 2
    assert tokens.get(_name()) is not first


def test_one_that_is_refused_is_dropped_but_not_its_successor() -> None:
    tokens = CasTokens(_Asked())
    first = tokens.get(_name())
    tokens.drop(_name(), first)
    second = tokens.get(_name())
    tokens.drop(_name(), first)
    assert tokens.get(_name()) is second


def test_an_error_is_told_and_forgotten() -> None:
    ask = _Asked()
    tokens = CasTokens(ask)
    ask.error = TransportError("no network")
    with pytest.raises(TransportError):
        tokens.get(_name())
    ask.error = None
    assert tokens.get(_name()).secret.value


def _answer(**changes: object) -> bytes:
    return json.dumps({"accessToken": "t", "casUrl": "https://cas.example", "exp": NOW + 900} | changes).encode()


def test_an_answer_is_read() -> None:
    access = read_access(_answer(), HUB, NOW, sent=True)
    assert (str(access.url), access.secret.value, access.life, access.sent) == (
        "https://cas.example/",
        "Bearer t",
        840.0,
        True,
    )
    assert read_access(_answer(exp=NOW + 60), HUB, NOW, sent=False).life == 30
    assert read_access(_answer(exp=0), HUB, NOW, sent=False).life == 10, "as long as the server takes it"
    assert read_access(_answer(exp=1 << 62), HUB, NOW, sent=False).life < 86400
    assert read_access(_answer(), HUB, None, sent=False).life == 120, "by a clock that nobody knows"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{" * 10_000,
        _answer(accessToken=""),
        _answer(accessToken="t\r\nHost: x"),
        _answer(casUrl="file:///etc/passwd"),
        _answer(casUrl="https://user:secret@cas.example"),
        _answer(exp="soon"),
        _answer(exp=float("inf")),
    ],
)
def test_p10_an_answer_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(WrongResponse):
        read_access(raw, HUB, NOW, sent=False)


def test_p10_a_hub_on_tls_does_not_lead_into_the_clear() -> None:
    with pytest.raises(SourceError, match="plain http"):
        read_access(_answer(casUrl="http://cas.example"), HUB, NOW, sent=False)

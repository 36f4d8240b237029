"""Shares: small requests beyond the limit of prefetch, and prefetch that gives way.  Who is silent: property tests."""

from __future__ import annotations

from fusefs.fetch.shares import LIGHT, RESERVED, Shares
from fusefs.prefetch.concurrency import FEWEST, FIRST

CONNECTIONS = 8


def start_all(shares: Shares, blob: str, *, asks: int, prefetch: bool = True) -> int:
    """Start as many workers as may; how many those are."""
    count = 0
    while count < 100 and shares.may_start("host", blob, prefetch=prefetch, asks=asks):
        shares.begin("host", blob, 0.0, prefetch=prefetch, asks=asks)
        count += 1
    return count


def test_small_requests_have_every_connection_but_those_for_readers() -> None:
    shares = Shares(CONNECTIONS)
    assert start_all(shares, "small", asks=10_000) == CONNECTIONS - RESERVED
    assert start_all(shares, "wanted", asks=10_000, prefetch=False) == RESERVED


def test_large_requests_are_as_many_as_fill_the_link() -> None:
    assert start_all(Shares(CONNECTIONS), "large", asks=LIGHT + 1) == FIRST


def test_small_requests_that_have_much_to_send_together_are_no_more_than_large_ones() -> None:
    assert start_all(Shares(CONNECTIONS), "files", asks=LIGHT // 4) == 4
    assert start_all(Shares(CONNECTIONS), "files", asks=LIGHT) == FIRST


def test_what_a_small_request_asked_for_counts_until_it_ends() -> None:
    shares = Shares(CONNECTIONS)
    workers = [shares.begin("host", "files", 0.0, prefetch=True, asks=LIGHT // 4) for _ in range(4)]
    assert not shares.may_start("host", "files", prefetch=True, asks=LIGHT // 4)
    shares.end(workers[0])
    assert shares.may_start("host", "files", prefetch=True, asks=LIGHT // 4)


def test_a_large_file_leaves_connections_for_small_ones() -> None:
    shares = Shares(CONNECTIONS)
    assert start_all(shares, "large", asks=LIGHT + 1) == FIRST
    assert start_all(shares, "small", asks=10_000) == CONNECTIONS - RESERVED - FIRST


def test_prefetch_of_another_large_file_gives_way_to_a_reader() -> None:
    shares = Shares(CONNECTIONS)
    shares.begin("host", "large", 0.0, prefetch=True)
    shares.begin("host", "large", 0.0, prefetch=True)
    assert shares.may_start("host", "large", prefetch=True)
    shares.give_way("host", "elsewhere", 0.0)
    assert FEWEST == 2
    assert not shares.may_start("host", "large", prefetch=True)


def test_prefetch_of_the_same_file_and_of_small_ones_does_not_give_way() -> None:
    shares = Shares(CONNECTIONS)
    worker = shares.begin("host", "large", 0.0, prefetch=True)
    shares.give_way("host", "large", 0.0)
    assert start_all(shares, "large", asks=LIGHT + 1) == FIRST - 1
    shares.end(worker)
    shares = Shares(CONNECTIONS)
    shares.begin("host", "small", 0.0, prefetch=True, asks=10_000)
    shares.give_way("host", "elsewhere", 0.0)
    assert start_all(shares, "large", asks=LIGHT + 1) == FIRST - 1

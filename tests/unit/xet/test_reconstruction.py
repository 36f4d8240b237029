"""Reconstructions of both versions: which requests get a range of a file, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fusefs.errors import InvalidXet
from fusefs.values.chunks import Chunk
from fusefs.xet.reconstruction import MAX_RECONSTRUCTION, Reconstruction
from fusefs.xet.xethash import hash_text, parse_hash

RECORDED = b"""{"offset_into_first_range":0,
 "terms":[{"hash":"4d0f481619ea3d1aa279c2e894319320ab68a58428ec9e6c71ac56f401d938d7","range":{"end":20,"start":0},
 "unpacked_length":1048576}],
 "xorbs":{"4d0f481619ea3d1aa279c2e894319320ab68a58428ec9e6c71ac56f401d938d7":[{"ranges":[
 {"bytes":{"end":1048735,"start":0},"chunks":{"end":20,"start":0}}],
 "url":"https://us.aws.cdn.hf.co/xorbs/default/4d0f4816?X-Xet-Signed-Range=bytes%3D0-1048735"}]}}"""
"""From the Hub, with its query cut short: 20 chunks that are stored as they are, of 8 bytes more each."""

A, B = "a1" * 32, "b2" * 32
URL = "https://cdn.example/xorbs/"


def term(xorb: str, first: int, stop: int, size: int) -> dict[str, Any]:
    return {"hash": xorb, "range": {"start": first, "end": stop}, "unpacked_length": size}


def fetched(first: int, stop: int, start: int, end: int) -> dict[str, Any]:
    return {"chunks": {"start": first, "end": stop}, "bytes": {"start": start, "end": end}}


TERMS = [term(A, 1, 4, 263_873), term(B, 0, 3, 143_890), term(A, 3, 43, 3_063_572)]
V1 = {
    "offset_into_first_range": 100_000,
    "terms": TERMS,
    "fetch_info": {
        A: [{"range": {"start": 1, "end": 43}, "url": URL + A, "url_range": {"start": 57_980, "end": 1_433_008}}],
        B: [{"range": {"start": 0, "end": 3}, "url": URL + B, "url_range": {"start": 0, "end": 65_670}}],
    },
}
"""The longer example of the specification (download-protocol.md), with hashes that are some."""
V2 = {
    "offset_into_first_range": 100_000,
    "terms": TERMS,
    "xorbs": {
        A: [{"url": URL + A, "ranges": [fetched(1, 43, 57_980, 1_433_008)]}],
        B: [{"url": URL + B, "ranges": [fetched(0, 3, 0, 65_670)]}],
    },
}
WANTED = sum(one["unpacked_length"] for one in TERMS) - 100_000


def parsed(document: object, wanted: int = WANTED) -> Reconstruction:
    return Reconstruction.parse(json.dumps(document).encode(), wanted)


def test_what_the_hub_answered_is_read() -> None:
    found = Reconstruction.parse(RECORDED, 1 << 20)
    (only,) = found.terms
    assert (found.skip, only.first, only.stop, only.size) == (0, 0, 20, 1 << 20)
    assert only.fetch.part == Chunk(0, 1_048_735)
    assert hash_text(only.fetch.xorb).startswith("4d0f4816")
    assert only.fetch.url.endswith("0-1048735")


@pytest.mark.parametrize("document", [V1, V2])
def test_both_versions_say_the_same(document: dict[str, Any]) -> None:
    found = parsed(document)
    assert found == parsed(V2)
    assert [(one.fetch.xorb, one.first, one.stop, one.size) for one in found.terms] == [
        (parse_hash(A), 1, 4, 263_873),
        (parse_hash(B), 0, 3, 143_890),
        (parse_hash(A), 3, 43, 3_063_572),
    ]
    first, second, third = found.terms
    assert first.fetch is third.fetch, "what two terms need is to be fetched once"
    assert (second.fetch.first, second.fetch.stop, second.fetch.part) == (0, 3, Chunk(0, 65_670))


def test_p10_a_signed_url_is_not_printed() -> None:
    assert URL not in repr(parsed(V2))


def test_a_url_may_have_several_ranges_and_a_xorb_several_urls() -> None:
    xorbs = {
        A: [
            {"url": "u2", "ranges": [fetched(20, 30, 900_000, 999_999)]},
            {"url": "u1", "ranges": [fetched(0, 2, 0, 99_999), fetched(5, 9, 300_000, 399_999)]},
        ]
    }
    terms = [term(A, 21, 22, 10), term(A, 0, 2, 10), term(A, 6, 9, 10)]
    found = parsed({"offset_into_first_range": 0, "terms": terms, "xorbs": xorbs}, 30)
    assert [(one.fetch.url, one.fetch.first) for one in found.terms] == [("u2", 20), ("u1", 0), ("u1", 5)]


def test_a_range_that_goes_far_is_found_behind_ones_that_do_not() -> None:
    ranges = [fetched(0, 50, 0, 999_999), fetched(3, 5, 10_000, 19_999), fetched(4, 6, 15_000, 24_999)]
    xorbs = {A: [{"url": "u", "ranges": ranges[::-1]}]}
    found = parsed({"offset_into_first_range": 0, "terms": [term(A, 5, 40, 1000)], "xorbs": xorbs}, 1000)
    assert (found.terms[0].fetch.first, found.terms[0].fetch.stop) == (0, 50)


def test_terms_behind_the_range_are_left_out() -> None:
    """They cost a request each."""
    assert len(parsed(V2, 163_873).terms) == 1
    assert len(parsed(V2, 163_874).terms) == 2
    assert len(parsed(V2, 1).terms) == 1


def with_term(*one: Any) -> dict[str, Any]:
    return {"terms": [term(*one), *TERMS[1:]]}


def with_range(*one: int) -> dict[str, Any]:
    return {"xorbs": {**V2["xorbs"], A: [{"url": "u", "ranges": [fetched(*one)]}]}}  # type: ignore[dict-item]


WRONG: dict[str, dict[str, Any]] = {
    "neither version": {"xorbs": None},
    "both versions": {"fetch_info": V1["fetch_info"]},
    "no terms": {"terms": []},
    "an offset behind the first term": {"offset_into_first_range": 263_873},
    "an offset below zero": {"offset_into_first_range": -1},
    "an offset that is text": {"offset_into_first_range": "0"},
    "a xorb without URLs": with_term("c3" * 32, 1, 4, 263_873),
    "a chunk in front of the range": with_term(A, 0, 4, 263_873),
    "a chunk behind the range": with_term(A, 40, 44, 263_873),
    "a term of no chunks": with_term(A, 4, 4, 263_873),
    "a term turned round": with_term(A, 4, 1, 263_873),
    "a term of no bytes": with_term(A, 1, 4, 0),
    "a term of fewer bytes than chunks": {**with_term(A, 1, 40, 38), "offset_into_first_range": 0},
    "a term of more bytes than its chunks can have": with_term(A, 1, 4, (3 << 17) + 1),
    "a term of bytes below zero": with_term(A, 1, 4, -5),
    "a xorb that is no hash": with_term("*" * 64, 1, 4, 263_873),
    "a range of no chunks": with_range(1, 1, 57_980, 1_433_008),
    "a range turned round": with_range(43, 1, 57_980, 1_433_008),
    "bytes turned round": with_range(1, 43, 1_433_008, 57_980),
    "fewer bytes than headers": with_range(1, 43, 0, 42 * 9 - 2),
    "more bytes than its chunks can have": with_range(1, 43, 0, 42 * ((256 << 10) + 8)),
    "bytes behind the end of any xorb": with_range(1, 43, 66_000_000, 64 << 20),
    "bytes below zero": with_range(1, 43, -1, 1_433_008),
    "a URL that is empty": {"xorbs": {**V2["xorbs"], B: [{"url": "", "ranges": []}]}},  # type: ignore[dict-item]
    "a URL without end": {"xorbs": {**V2["xorbs"], B: [{"url": "u" * 20_000, "ranges": []}]}},  # type: ignore[dict-item]
    "a key that is no hash": {"xorbs": {**V2["xorbs"], "x\n": []}},  # type: ignore[dict-item]
}


@pytest.mark.parametrize("name", WRONG)
def test_p10_what_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(InvalidXet) as refused:
        parsed({**V2, **WRONG[name]}, 1)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("changed", [{"terms": TERMS[:2]}, {"offset_into_first_range": 100_001}])
def test_p10_less_than_was_asked_for_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidXet, match=f"instead of {WANTED}"):
        parsed({**V2, **changed})


NO_ANSWERS = {
    "more bytes than are read": RECORDED + b" " * MAX_RECONSTRUCTION,
    "more objects than are read": RECORDED[:-1] + b',"more":[' + b"{}," * (1 << 18) + b"{}]}",
    "nothing": b"",
    "an empty object": b"{}",
    "a list": b"[]",
    "a page": b"<html>",
    "no text": b"\xff",
    "lists in lists": b"[" * 100_000,
    "objects in objects": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_p10_what_is_no_answer_is_refused(name: str) -> None:
    with pytest.raises(InvalidXet):
        Reconstruction.parse(NO_ANSWERS[name], 1)


@pytest.mark.slow
def test_p10_many_terms_and_many_ranges_are_not_compared_one_by_one() -> None:
    """50,000 terms of 50,000 ranges: each against each would take hours."""
    count = 50_000
    ranges = [fetched(index, index + 1, index * 100, index * 100 + 99) for index in range(count)]
    terms = [term(A, index, index + 1, 50) for index in range(count)]
    document = {"offset_into_first_range": 0, "terms": terms, "xorbs": {A: [{"url": "u", "ranges": ranges}]}}
    assert len(parsed(document, 50 * count).terms) == count

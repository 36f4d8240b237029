"""Hashes of Xet: their text form, and the one key of each kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.errors import InvalidXet
from fusefs.xet.xethash import HASH_SIZE, chunk_hash, file_hash, hash_text, node_hash, parse_hash

SAMPLE_XORB = "eea25d6ee393ccae385820daed127b96ef0ea034dfb7cf6da3a950ce334b7632"
SAMPLE_FILE = "118a53328412787fee04011dcf82fdc4acf3a4a1eddec341c910d30a306aaf97"
HUB_XORB = "4d0f481619ea3d1aa279c2e894319320ab68a58428ec9e6c71ac56f401d938d7"
HUB_FILE = "f857c20483a87a6737b06f718d340429fc080f73c00f6d46b2030b58734a61e4"


def test_the_text_turns_each_eight_bytes_round() -> None:
    """The example of the specification (api.md), whose text there lacks the digits of the byte 16."""
    text = "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918"
    assert hash_text(bytes(range(32))) == text


@given(st.binary(min_size=HASH_SIZE, max_size=HASH_SIZE))
def test_a_hash_comes_back_from_its_text(raw: bytes) -> None:
    assert parse_hash(hash_text(raw)) == raw


@pytest.mark.parametrize(
    "text",
    ["", "0" * 63, "0" * 65, "*" * 64, SAMPLE_FILE.upper(), SAMPLE_FILE[:-1] + "g", SAMPLE_FILE + "\n", "٣" * 64],
)
def test_p10_what_is_no_hash_is_refused(text: str) -> None:
    """Asterisks stand for hashes that one may not see, of gated models."""
    with pytest.raises(InvalidXet):
        parse_hash(text)


@pytest.mark.parametrize(("xorb", "file"), [(SAMPLE_XORB, SAMPLE_FILE), (HUB_XORB, HUB_FILE)])
def test_a_file_of_one_whole_xorb_has_the_hash_of_the_xorbs(xorb: str, file: str) -> None:
    """The first is the sample of the specification, the second was recorded from the Hub."""
    assert hash_text(file_hash(parse_hash(xorb))) == file


def test_p1_no_chunk_is_taken_for_a_node_or_a_file() -> None:
    data = bytes(HASH_SIZE)
    assert len({chunk_hash(data), node_hash(data), file_hash(data)}) == 3
    assert chunk_hash(memoryview(bytearray(data))) == chunk_hash(data)

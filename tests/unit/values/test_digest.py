"""Digest: its forms and its order; the facts of tests/conformance/README.md, §2, are held there."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError

import pytest

from fusefs.errors import InvalidDigest
from fusefs.values.digest import Digest

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("data", [b"", bytearray(b"abc"), memoryview(b"xabc")[1:]])
def test_of_is_the_sha256_of_any_buffer(data: bytes) -> None:
    assert Digest.of(data).hex == hashlib.sha256(data).hexdigest()


def test_all_forms_go_back_to_the_same_digest() -> None:
    digest = Digest.of(b"")
    assert digest.hex == EMPTY
    assert str(digest) == f"sha256:{EMPTY}"
    assert digest.file_name == f"sha256-{EMPTY}"
    assert digest.short == EMPTY[:12]
    assert len(digest.raw) == 32
    assert Digest.from_raw(digest.raw) == Digest.parse(str(digest)) == Digest.parse(digest.file_name) == digest


def test_the_order_is_that_of_the_bytes() -> None:
    digests = [Digest.of(bytes([i])) for i in range(50)]
    assert [d.raw for d in sorted(digests)] == sorted(d.raw for d in digests)


def test_it_cannot_be_changed() -> None:
    digest = Digest.of(b"")
    with pytest.raises(FrozenInstanceError):
        digest.hex = "0" * 64  # type: ignore[misc]


def test_an_error_shows_a_bounded_part_of_what_came() -> None:
    with pytest.raises(InvalidDigest) as caught:
        Digest.parse("x" * 1_000_000)
    assert len(str(caught.value)) < 200


def test_an_error_is_one_line() -> None:
    with pytest.raises(InvalidDigest) as caught:
        Digest.parse("a\nb\x1b[31m")
    assert str(caught.value).isprintable()

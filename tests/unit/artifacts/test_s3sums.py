"""What S3 says of its checksums: of the content, of parts, and of nothing that could be used."""

from __future__ import annotations

import base64
import hashlib

import pytest

from fusefs.artifacts.s3sums import S3Part, S3Sum, digest_of, pieces_of
from fusefs.values.digest import S3_PARTS, SHA256
from fusefs.values.partshash import SMALLEST_PART, parts_hex

RAW = [hashlib.sha256(bytes([i])).digest() for i in range(3)]
TEXTS = [base64.b64encode(raw).decode() for raw in RAW]
COMPOSITE = hashlib.sha256(b"".join(RAW)).digest()
SIZE = 2 * SMALLEST_PART + 7
PARTS = [S3Part(SMALLEST_PART, TEXTS[0]), S3Part(SMALLEST_PART, TEXTS[1]), S3Part(7, TEXTS[2])]


def test_the_checksum_of_the_content_is_its_digest() -> None:
    found = S3Sum.read(TEXTS[0], "FULL_OBJECT", '"abc"')
    assert found == S3Sum(RAW[0])
    digest = digest_of(found, SIZE, 0)
    assert digest is not None
    assert (digest.algorithm, digest.hex) == (SHA256, RAW[0].hex())


def test_the_checksum_of_parts_is_a_digest_and_the_parts_are_its_pieces() -> None:
    found = S3Sum.read(f"{base64.b64encode(COMPOSITE).decode()}-3", "COMPOSITE", '"abc-3"')
    assert found == S3Sum(COMPOSITE, 3)
    digest = digest_of(found, SIZE, SMALLEST_PART)
    assert digest is not None
    assert (digest.algorithm, digest.hex) == (S3_PARTS, parts_hex(COMPOSITE, SMALLEST_PART))
    pieces = pieces_of(digest, SIZE, PARTS)
    assert pieces is not None
    assert (pieces.size, pieces.digests) == (SMALLEST_PART, b"".join(RAW))


def test_a_small_object_of_one_part_has_a_digest_too() -> None:
    found = S3Sum(hashlib.sha256(RAW[0]).digest(), 1)
    digest = digest_of(found, 7, 7)
    assert digest is not None
    assert pieces_of(digest, 7, [S3Part(7, TEXTS[0])]) is not None


@pytest.mark.parametrize(
    ("text", "kind", "etag"),
    [
        ("", "", ""),
        ("rubbish", "FULL_OBJECT", ""),
        (TEXTS[0][:-2], "FULL_OBJECT", ""),
        (f"{TEXTS[0]}-0", "COMPOSITE", ""),
        (f"{TEXTS[0]}-x", "COMPOSITE", ""),
        (TEXTS[0], "COMPOSITE", '"abc-3"'),
        (TEXTS[0], "", '"abc-3"'),
    ],
    ids=["none", "rubbish", "short", "no-parts", "no-number", "of-parts", "of-unknown-parts"],
)
def test_p1_what_is_no_checksum_or_of_something_unknown_is_none(text: str, kind: str, etag: str) -> None:
    assert S3Sum.read(text, kind, etag) is None


@pytest.mark.parametrize(("size", "first"), [(SIZE, SMALLEST_PART + 4), (SIZE, 7), (SIZE, SIZE), (SIZE, 0)])
def test_p1_parts_that_do_not_make_up_the_object_are_no_digest(size: int, first: int) -> None:
    assert digest_of(S3Sum(COMPOSITE, 3), size, first) is None


@pytest.mark.parametrize(
    "parts",
    [[], PARTS[:2], [*PARTS[:2], S3Part(7)], [PARTS[1], PARTS[0], PARTS[2]], [*PARTS, PARTS[0]]],
    ids=["none", "lacking", "no-sum", "order", "too-many"],
)
def test_p1_parts_that_the_digest_was_not_made_of_are_no_pieces(parts: list[S3Part]) -> None:
    digest = digest_of(S3Sum(COMPOSITE, 3), SIZE, SMALLEST_PART)
    assert digest is not None
    assert pieces_of(digest, SIZE, parts) is None

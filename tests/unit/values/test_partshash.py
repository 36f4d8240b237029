"""The digest of an object that came to S3 in parts, and that of a version, which is no digest of anything."""

from __future__ import annotations

import hashlib

import pytest

from fusefs.errors import InvalidDigest
from fusefs.values.digest import S3_PARTS, VERSION, Digest
from fusefs.values.partshash import LARGEST_PART, SMALLEST_PART, parts_hex

DATA = bytes(range(256)) * (SMALLEST_PART // 256) + b"the last part is shorter"
SUMS = [hashlib.sha256(DATA[off : off + SMALLEST_PART]).digest() for off in range(0, len(DATA), SMALLEST_PART)]
COMPOSITE = hashlib.sha256(b"".join(SUMS)).digest()
DIGEST = Digest(S3_PARTS, parts_hex(COMPOSITE, SMALLEST_PART))


@pytest.mark.parametrize("piece", [1 << 20, SMALLEST_PART - 1, SMALLEST_PART, 1 << 30])
def test_p1_it_is_the_digest_of_its_content_in_whatever_pieces_that_comes(piece: int) -> None:
    hasher = DIGEST.hasher(len(DATA))
    for off in range(0, len(DATA), piece):
        hasher.update(DATA[off : off + piece])
    assert hasher.hexdigest() == DIGEST.hex
    assert DIGEST.matches(DATA)
    assert not DIGEST.matches(DATA[:-1])
    assert not DIGEST.matches(b"x" + DATA[1:])


def test_p1_the_size_of_the_parts_is_a_part_of_it() -> None:
    assert not Digest(S3_PARTS, parts_hex(COMPOSITE, SMALLEST_PART + 1)).matches(DATA)


def test_p1_the_digests_of_its_parts_and_no_others_prove_themselves() -> None:
    assert DIGEST.is_made_of(len(DATA), b"".join(SUMS))
    assert not DIGEST.is_made_of(len(DATA), b"".join(reversed(SUMS)))
    assert not DIGEST.is_made_of(len(DATA), SUMS[0])
    assert not DIGEST.is_made_of(len(DATA) + SMALLEST_PART, b"".join(SUMS))
    assert not Digest.of(DATA).is_made_of(len(DATA), b"".join(SUMS))


@pytest.mark.parametrize(
    "digest", [DIGEST, Digest(VERSION, "0" * 64), Digest.of(b"")], ids=["parts", "version", "sha256"]
)
def test_the_forms_in_documents_and_in_file_names_go_back_to_it(digest: Digest) -> None:
    assert Digest.of_file(str(digest)) == digest
    assert Digest.from_file_name(digest.file_name) == digest


@pytest.mark.parametrize("size", [0, 1, SMALLEST_PART - 1, LARGEST_PART + 1, (1 << 64) - 1])
def test_p10_parts_of_a_size_that_would_take_for_ever_to_hash_are_none(size: int) -> None:
    with pytest.raises(InvalidDigest):
        Digest.of_file(f"{S3_PARTS}:{parts_hex(COMPOSITE, size)}")


@pytest.mark.parametrize("text", [f"{VERSION}:{'0' * 63}", f"{VERSION}:{'g' * 64}", "git-sha1:" + "0" * 40, "x", ""])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidDigest):
        Digest.of_file(text)


def test_p10_a_person_or_a_registry_writes_sha256_alone() -> None:
    for digest in (DIGEST, Digest(VERSION, "0" * 64)):
        with pytest.raises(InvalidDigest):
            Digest.parse(str(digest))


def test_a_version_says_nothing_of_the_content() -> None:
    digest = Digest(VERSION, "0" * 64)
    assert not digest.proves
    assert DIGEST.proves
    assert Digest.of(b"").proves

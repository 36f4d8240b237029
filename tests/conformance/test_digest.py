"""README.md, §2: digests."""

from __future__ import annotations

import pytest

from fusefs.errors import InvalidDigest, InvalidInput
from fusefs.values.digest import Digest

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize("text", ["sha256-" + HEX, "sha256:" + HEX, "sha256:" + "0" * 64, "sha256-" + "f" * 64])
def test_both_spellings_are_valid(text: str) -> None:
    digest = Digest.parse(text)
    assert str(digest) == "sha256:" + text[7:]
    assert digest.file_name == "sha256-" + text[7:]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256-",
        HEX,
        "sha256:" + HEX[:63],
        "sha256:" + HEX + "0",
        "sha256-" + HEX[:63],
        "sha256-" + HEX + "0",
        "sha255-" + HEX,
        "sha255:" + HEX,
        "sha512:" + HEX * 2,
        "sha256!" + HEX,
        "sha256_" + HEX,
        "sha256::" + HEX[1:],
        "SHA256:" + HEX,
        "sha256:" + "g" + HEX[1:],
        "sha256:" + HEX[:63] + "\n",
        "sha256:" + HEX + "\n",
        " sha256:" + HEX,
        "sha256:" + "0x" + HEX[2:],
        "sha256:" + HEX[:62] + "_1",
        "sha256:" + "\u0661" * 64,
        "sha256:" + "\uff11" * 64,
        "sha256:" + "\u0130" * 32,  # lower() makes two characters of each
        "sha256:../" + HEX[3:],
        "sha256:" + "\x00" * 64,
    ],
)
def test_everything_else_is_invalid(text: str) -> None:
    with pytest.raises(InvalidDigest, match="invalid digest") as caught:
        Digest.parse(text)
    assert isinstance(caught.value, InvalidInput)
    assert not caught.value.temporary


def test_upper_case_is_accepted_and_made_lower() -> None:
    """≠ Ollama keeps it as it came, so that one blob could have two names."""
    assert Digest.parse("sha256:" + HEX.upper()) == Digest.parse("sha256-" + HEX)
    assert str(Digest.parse("sha256:" + HEX.upper())) == "sha256:" + HEX


def test_digests_are_comparable_and_hashable() -> None:
    one, two = Digest.of(b"1"), Digest.of(b"2")
    assert one == Digest.parse(str(one))
    assert one != two
    assert len({one, two, Digest.parse(one.file_name)}) == 2
    assert sorted([one, two]) == sorted([two, one])

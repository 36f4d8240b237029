"""Name: how it is shown, and where its manifest lies; the grammar is in tests/conformance."""

from __future__ import annotations

import pytest

from fusefs.errors import InvalidName
from fusefs.values.digest import Digest
from fusefs.values.names import Name


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("llama3.2:1b", "llama3.2:1b"),
        ("m", "m:latest"),
        ("me/m", "me/m:latest"),
        ("example.com/me/m:t", "example.com/me/m:t"),
        ("http://127.0.0.1:1/local/m", "127.0.0.1:1/local/m:latest"),
        ("example.com/library/m", "example.com/library/m:latest"),
    ],
)
def test_short_leaves_the_defaults_out(text: str, short: str) -> None:
    assert Name.parse(text).short == short


def test_the_text_has_every_part_but_the_usual_scheme() -> None:
    assert str(Name.parse("m")) == "registry.ollama.ai/library/m:latest"
    assert str(Name.parse("http://registry.ollama.ai/m")) == "http://registry.ollama.ai/library/m:latest"
    digest = Digest.of(b"")
    assert str(Name.parse("m").pinned(digest)) == f"registry.ollama.ai/library/m:latest@{digest}"


def test_path_and_repository_are_safe_parts() -> None:
    name = Name.parse("h/n/m:t")
    assert name.path == ("h", "n", "m", "t")
    assert name.repository == "n/m"
    assert Name.from_path(*name.path) == name


def test_names_are_hashable_values() -> None:
    assert len({Name.parse("m"), Name.parse("m:latest"), Name.parse("library/m")}) == 1


@pytest.mark.parametrize("text", ["x" * 1_000_000, "a/" * 500_000, "x" * 1_000_000 + "://m", ":" * 1_000_000])
def test_an_error_shows_a_bounded_part_of_what_came(text: str) -> None:
    with pytest.raises(InvalidName) as caught:
        Name.parse(text)
    assert len(str(caught.value)) < 1000


def test_an_error_is_one_line() -> None:
    with pytest.raises(InvalidName) as caught:
        Name.parse("a\nb\x1b[31m")
    assert str(caught.value).isprintable()

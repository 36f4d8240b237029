"""`fusefs pin` and `fusefs unpin`, by the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.cached import Cached, inside

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

__all__ = ["inside"]


def pinned(fusefs: Shell) -> list[str]:
    return [model["short"] for model in json.loads(fusefs("ls", "--json").stdout)["models"] if model["pinned"]]


def test_pin_and_unpin_as_ls_shows_it(fusefs: Shell) -> None:
    cached = Cached(fusefs)
    cached.model("a:1", 1)
    cached.model("127.0.0.1:9/local/tiny", 1)
    assert fusefs("pin", "a:1", "http://127.0.0.1:9/local/tiny").stdout == (
        "a:1: pinned\n127.0.0.1:9/local/tiny:latest: pinned\n"
    )
    assert fusefs("pin", "A:1").stdout == "A:1: pinned\n"
    assert pinned(fusefs) == ["127.0.0.1:9/local/tiny:latest", "a:1"]
    assert fusefs("unpin", "a:1").stdout == "a:1: not pinned any more\n"
    assert pinned(fusefs) == ["127.0.0.1:9/local/tiny:latest"]


def test_what_the_cache_does_not_have_is_not_pinned_nor_what_stands_beside_it(fusefs: Shell) -> None:
    Cached(fusefs).model("a:1", 1)
    assert fusefs.fails("pin", "a:1", "b:1") == "b:1: the cache has no manifest of it; pull or mount it first"
    assert pinned(fusefs) == []


def test_unpin_of_what_is_not_pinned_unpins_nothing(fusefs: Shell) -> None:
    cached = Cached(fusefs)
    cached.model("a:1", 1)
    cached.model("b:1", 1)
    fusefs("pin", "a:1")
    assert fusefs.fails("unpin", "a:1", "b:1") == "b:1: not pinned; `fusefs ls` shows the pinned models"
    assert pinned(fusefs) == ["a:1"]


def test_a_digest_in_the_name_must_be_the_one_that_the_cache_has(fusefs: Shell) -> None:
    cached = Cached(fusefs)
    cached.model("a:1", 1)
    (model,) = json.loads(fusefs("ls", "--json").stdout)["models"]
    assert "another manifest" in fusefs.fails("pin", f"a:1@sha256:{'1' * 64}")
    fusefs("pin", f"a:1@{model['digest']}")
    assert pinned(fusefs) == ["a:1"]


@pytest.mark.parametrize("command", ["pin", "unpin"])
def test_wrong_usage_and_no_cache_are_one_line(fusefs: Shell, command: str) -> None:
    assert "Missing argument" in fusefs.fails(command, code=2)
    assert "no capital letters" in fusefs.fails(command, "a/B/c/d", code=2)
    assert "does not exist" in fusefs.fails(command, "a:1")
    assert not (fusefs.root / "cache" / "fusefs").exists()


def test_a_folder_of_pins_that_is_none_is_one_line(fusefs: Shell) -> None:
    cached = Cached(fusefs)
    cached.model("a:1", 1)
    (cached.root / "pins").write_text("x")
    assert "pins" in fusefs.fails("pin", "a:1")
    assert "pins" in fusefs.fails("unpin", "a:1")
    assert cached.names() == ["a:1"]

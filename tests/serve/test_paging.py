"""Lists in pages, as the distribution specification has them; and what is said of a name that is not there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from fusefs.offers.closenames import close_names, unknown_name
from tests.serve.world import serving, write_store, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serve.world import Client

NAMES = ["local/B", "local/a", "local/c", "local/d-1", "local/d_1"]
"""In the order of their bytes."""


def follow(client: Client, path: str) -> list[list[str]]:
    """The pages from `path` on."""
    found = []
    while path:
        answer = client.get(path)
        assert answer.status == 200, answer
        document = answer.json()
        found.append(document["repositories"] if "repositories" in document else document["tags"])
        link = answer.headers.get("Link", "")
        match = re.fullmatch(r'<(/v2/[^>]+)>; rel="next"', link)
        assert bool(link) == bool(match)
        path = match[1] if match else ""
    return found


@pytest.mark.parametrize(
    ("query", "pages"),
    [
        ("", [NAMES]),
        ("?n=2", [NAMES[:2], NAMES[2:4], NAMES[4:]]),
        ("?n=5", [NAMES]),
        ("?n=100", [NAMES]),
        ("?n=0", [[]]),
        ("?n=3&last=local/a", [NAMES[2:5]]),
        ("?last=local/d", [NAMES[3:]]),
        ("?last=local/nothing", [[]]),
        ("?n=1&last=local/d_0", [NAMES[4:]]),
    ],
)
def test_the_catalog_comes_in_pages(tmp_path: Path, query: str, pages: list[list[str]]) -> None:
    write_tree(tmp_path / "models", {f"{name.removeprefix('local/')}/f": b"f" for name in NAMES})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        assert follow(running.client, f"/v2/_catalog{query}") == pages


def test_tags_come_in_pages(tmp_path: Path) -> None:
    tags = ["1b", "1b-q4_K_M", "latest"]
    for tag in tags:
        write_store(tmp_path / "s", f"library/m/{tag}", {"application/x": b"x"})
    with serving(tmp_path / "s", tmp_path / "index") as running:
        assert follow(running.client, "/v2/library/m/tags/list?n=2") == [tags[:2], tags[2:]]
        assert follow(running.client, "/v2/library/m/tags/list?last=1b") == [tags[1:]]
        assert running.client.get("/v2/library/m/tags/list").json() == {"name": "library/m", "tags": tags}


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "1e3", "%20", "99999999999999999999", "²"])
def test_what_is_no_number_is_refused(tmp_path: Path, number: str) -> None:
    write_tree(tmp_path / "models", {"m/f": b"f"})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        for path in ("/v2/_catalog", "/v2/local/m/tags/list"):
            answer = running.client.get(f"{path}?n={number}")
            assert (answer.status, answer.error[0]) == (400, "PAGINATION_NUMBER_INVALID")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("local/all-minilm-l6/manifests/latest", "did you mean local/all-MiniLM-L6-v2?"),
        ("local/llama/tags/list", "did you mean local/llama-1b or local/llama-3b?"),
        ("library/llama-1b/manifests/latest", "did you mean local/llama-1b or local/llama-3b?"),
        ("llama-1b/manifests/latest", "did you mean local/llama-1b or local/llama-3b?"),
        ("a/b/llama-1b/blobs/sha256:" + "0" * 64, "did you mean local/llama-1b or local/llama-3b?"),
        ("local/quite-another/manifests/latest", "/v2/_catalog lists what there is"),
        ("local/id_rs/manifests/latest", "/v2/_catalog lists what there is"),
    ],
)
def test_an_unknown_name_says_which_are_close_or_how_to_list_them(tmp_path: Path, path: str, said: str) -> None:
    write_tree(tmp_path / "models", {f"{name}/f": b"f" for name in ("all-MiniLM-L6-v2", "llama-1b", "llama-3b")})
    write_tree(tmp_path / "models", {"id_rsa/f": b"a folder that is not served is not named either"})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        answer = running.client.get(f"/v2/{path}")
        name = re.split("/(?:manifests|tags|blobs)/", path)[0]
        assert answer.status == 404
        assert answer.error == (
            "NAME_UNKNOWN",
            f"there is no model {name}; {said}" if "did" in said else answer.error[1],
        )
        assert said in answer.error[1]


def test_what_is_said_and_what_it_takes_are_bounded() -> None:
    names = iter([f"local/model-{i:05}-{'x' * 60}" for i in range(100_000)])
    text = str(unknown_name("local/" + "model-" * 10_000, names))
    assert len(text) < 800
    left = list(names)
    assert len(left) == 99_000, "anybody may ask, so not all are looked at"
    assert len(close_names("local/model-00001-" + "x" * 60, left[:1000])) == 3

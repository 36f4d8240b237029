"""The page for a person: what is served, the command to type, and nothing that runs."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from fusefs.offers.catalog import Offer
from fusefs.serve.welcome import HEADERS, page
from tests.serve.world import read_all, serving, write_store, write_tree

if TYPE_CHECKING:
    from pathlib import Path

ODD = "<script>alert(1)<!-- \"'&amp;"


class Reader(HTMLParser):
    """The elements, their attributes, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.logs("local/hollow is not served")
def test_the_page_names_the_models_and_the_command_as_the_reader_calls_the_server(tmp_path: Path) -> None:
    write_tree(
        tmp_path / "models", {"all-minilm/f": b"f", "My model (v2)/f": b"f", ".ssh/id_rsa": b"k", "hollow/.x": b""}
    )
    with serving(tmp_path / "models", tmp_path / "index", names=("models.example",)) as running:
        host = f"models.example:{running.port}"
        answer = running.client.get("/", Host=host)
        text = "".join(Reader(answer.body.decode()).text)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert re.findall(r"fusefs mount \S+ mnt", text) == [
            f"fusefs mount http://{host}/local/My-model-v2 mnt",
            f"fusefs mount http://{host}/local/all-minilm mnt",
        ]
        assert "2 models are served here" in text
        assert "folder My model (v2)" in text
        assert "ssh" not in text
        assert "hollow" not in text
        assert running.client.get("/", Host="evil.example").status == 421
        assert running.client.get("/", "HEAD").body == b""
        with running.raw(b"GET / HTTP/1.0\r\n\r\n") as sock:
            assert f"fusefs mount http://127.0.0.1:{running.port}/local/all-minilm mnt".encode() in read_all(sock)


def test_the_page_of_a_store_has_its_tags(tmp_path: Path) -> None:
    for tag in ("1b", "latest"):
        write_store(tmp_path / "s", f"library/llama3.2/{tag}", {"application/x": b"x"})
    with serving(tmp_path / "s", tmp_path / "index") as running:
        body = running.client.get("/").body.decode()
        assert "/library/llama3.2:1b mnt" in body
        assert "/library/llama3.2 mnt" in body


@pytest.mark.parametrize("base", ["http://h:1", f"http://{ODD}"])
def test_p10_no_name_becomes_an_element_or_an_attribute(base: str) -> None:
    plain = Reader(page([Offer("local/m", "m")], "http://h:1"))
    odd = Reader(page([Offer(f"local/{ODD}", ODD)], base))
    assert odd.tags == plain.tags
    assert ODD in "".join(odd.text)


def test_p10_nothing_runs_and_nothing_is_loaded_but_the_style_of_the_page_itself() -> None:
    read = Reader(page([Offer("local/m")], "http://h:1"))
    assert not {"script", "img", "link", "iframe", "form", "base", "object"} & {tag for tag, _ in read.tags}
    assert not [attrs for _, attrs in read.tags if any(name.startswith("on") or name == "style" for name in attrs)]
    style = re.search("<style>(.*?)</style>", page([], "http://h:1"), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert HEADERS["Content-Security-Policy"].startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")


def test_a_page_of_very_many_models_ends_and_says_where_the_rest_is() -> None:
    text = page([Offer(f"local/m{i}") for i in range(5000)], "http://h:1")
    assert text.count("fusefs mount ") == 1000
    assert "and 4000 more" in text
    assert "No model is served here" in page([], "http://h:1")
    assert "1 model is served here" in page([Offer("local/m")], "http://h:1")

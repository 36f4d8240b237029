"""The pages that web servers make of folders, as the servers write them."""

from __future__ import annotations

import pytest

from fusefs.artifacts import autoindex
from fusefs.artifacts.autoindex import parse_autoindex
from fusefs.errors import InvalidManifest

NGINX = """<html><head><title>Index of /m/</title></head><body><h1>Index of /m/</h1><hr><pre><a href="../">../</a>
<a href="sub%20dir/">sub dir/</a>            02-Nov-2026 10:00                   -
<a href="a%2B%26.bin">a+&amp;.bin</a>        02-Nov-2026 10:00              312345
<a href="config.json">config.json</a>        02-Nov-2026 10:00                   8
</pre><hr></body></html>"""

APACHE = """<!DOCTYPE HTML><html><head><title>Index of /m</title></head><body><table>
<tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=S;O=A">Size</a></th></tr>
<tr><td><a href="/">Parent Directory</a></td></tr>
<tr><td><a href="config.json">config.json</a></td></tr>
<tr><td><a href="sub%20dir/">sub dir/</a></td></tr></table></body></html>"""

PYTHON = """<!DOCTYPE HTML><html><body><ul><li><a href="config.json">config.json</a></li>
<li><a href="sub%20dir/">sub dir/</a></li></ul></body></html>"""

CADDY = """<a href="./config.json"><span class="name">config.json</span></a><a href="./sub%20dir/">x</a>
<a href="/m/b.bin">absolute</a>"""


@pytest.mark.parametrize(
    ("page", "files"),
    [
        (NGINX, ["a+&.bin", "config.json"]),
        (APACHE, ["config.json"]),
        (PYTHON, ["config.json"]),
        (CADDY, ["config.json", "b.bin"]),
    ],
    ids=["nginx", "apache", "python", "caddy"],
)
def test_the_entries_of_a_folder_are_its_links(page: str, files: list[str]) -> None:
    assert parse_autoindex(page.encode(), "/m/") == (files, ["sub dir"])


@pytest.mark.parametrize(
    "link",
    [
        "https://elsewhere.example/x",
        "//elsewhere.example/x",
        "javascript:x()",
        "/etc/passwd",
        "/mm/x",
        "a/b",
        "%2e%2e/",
        "..%2Fx",
        "?C=M",
        "x?y",
        "#top",
        "",
        "//[",
    ],
)
def test_p10_a_link_that_leads_elsewhere_is_no_entry(link: str) -> None:
    assert parse_autoindex(f'<a href="{link}">x</a><a>y</a>'.encode(), "/m/") == ([], [])


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"<a href", b"<a href='", b"\0" * 100, b"{}"])
def test_p10_whatever_comes_is_read(raw: bytes) -> None:
    assert parse_autoindex(raw, "/m/") == ([], [])


def test_p10_a_page_of_too_many_links_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoindex, "MAX_LAYERS", 3)
    with pytest.raises(InvalidManifest, match="4 links"):
        parse_autoindex(b"".join(b"<a href='%d'>" % i for i in range(4)), "/m/")

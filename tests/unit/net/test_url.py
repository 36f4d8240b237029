"""Url: what is one, what is none, and what a reference leads to (RFC 3986)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from fusefs.errors import SourceError
from fusefs.net.url import Url

BASE = Url.parse("http://a/b/c/d;p?q")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://h", "http://h/"),
        ("HTTP://H.Example/", "http://h.example/"),
        ("https://h:443/x", "https://h/x"),
        ("https://h:8443/x?y=%2F&z", "https://h:8443/x?y=%2F&z"),
        ("http://127.0.0.1:80/", "http://127.0.0.1/"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://[0:0:0:0:0:0:0:1]/", "http://[::1]/"),
        ("http://h/a/../b/./c/..", "http://h/b/"),
        ("http://h/x#fragment", "http://h/x"),
        ("http://under_score.example/", "http://under_score.example/"),
        ("http://h?x", "http://h/?x"),
    ],
)
def test_a_strict_url_has_one_form(text: str, shown: str) -> None:
    assert str(Url.parse(text)) == shown
    assert Url.parse(shown) == Url.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "//h/",
        "ftp://h/",
        "http:/h",
        "http:h",
        "http:///x",
        "http://",
        "http://?x",
        "http://h:/",
        "http://h:0/",
        "http://h:65536/",
        "http://h:080000/",
        "http://h:٣/",
        "http://h:1x/",
        "http://user@h/",
        "http://user:password@h/",
        "http://@h/",
        "http://h\\@evil/",
        "http://127.0.0.2:40729\\@127.0.0.1:39667/x",
        "http://h/\\x",
        "http://h /",
        "http://h/ x",
        "http://h/\tx",
        "http://h\n/",
        "http://h/\r\nHost: evil",
        "http://h/\0",
        "http://h/%",
        "http://h/%2",
        "http://h/%zz",
        "http://h/[x]",
        'http://h/"x"',
        "http://h/x?{y}",
        "http://bücher.example/",
        "http://h/ü",
        "http://h%2eexample/",
        "http://a..b/",
        "http://.a/",
        "http://a./",
        "http://-a.example/",
        "http://127.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://1.2.3.4.5/",
        "http://h.0x7f/",
        "http://[::1%eth0]/",
        "http://[::1%25eth0]/",
        "http://[::1/",
        "http://::1/",
        "http://[v1.x]/",
        "http://[127.0.0.1]/",
        "http://" + "a" * 64 + ".example/",
        "http://" + "a." * 130 + "example/",
        "http://h/" + "x" * 9000,
        " http://h/",
    ],
)
def test_p10_anything_else_is_refused(text: str) -> None:
    with pytest.raises(SourceError):
        Url.parse(text)


def test_p10_what_may_be_a_password_is_not_repeated() -> None:
    with pytest.raises(SourceError) as caught:
        Url.parse("http://user:hunter2@h/x?signature=secret1")
    assert "hunter2" not in str(caught.value)
    assert "secret1" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "leads_to"),
    [
        # RFC 3986 §5.4.1 and §5.4.2, without what http has no use for.
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g/"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q"),
        ("g#s", "http://a/b/c/g"),
        ("g?y#s", "http://a/b/c/g?y"),
        (";x", "http://a/b/c/;x"),
        ("g;x", "http://a/b/c/g;x"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/./h", "http://a/b/c/g/h"),
        ("g/../h", "http://a/b/c/h"),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("https://h:8443/x", "https://h:8443/x"),
        ("/\xe2\x80\xae", "http://a/%E2%80%AE"),
    ],
)
def test_a_reference_leads_where_rfc_3986_says(reference: str, leads_to: str) -> None:
    assert str(BASE.join(reference)) == leads_to


@given(
    st.text(max_size=40) | st.from_regex(r"(https?:)?(//)?[a-z0-9.:@\\\[\]%]{0,12}[/?#\\]?[!-~]{0,12}", fullmatch=True)
)
def test_p10_whatever_is_accepted_prints_as_what_it_is_read_as(text: str) -> None:
    for read in (Url.parse, BASE.join):
        try:
            url = read(text)
        except SourceError:
            continue
        assert Url.parse(str(url)) == url
        assert str(url).isascii()
        assert not set(str(url)) & set('\\ "<>^`{|}@#' if "@" not in url.target else '\\ "<>^`{|}#')
        assert url.target.startswith("/")
        # urllib3 is handed the whole of it for a proxy: it must neither read another host nor print another URL.
        theirs = parse_url(str(url))
        assert (theirs.host or "").strip("[]") == url.origin.host
        assert theirs.port in (url.origin.port, None)
        assert theirs.url.rstrip("/").lower() == str(url).rstrip("/").lower()

"""Metalink 4 (RFC 5854): what is read of it, and what is refused."""

from __future__ import annotations

import pytest

from fusefs.artifacts.metalink import parse_metalink
from fusefs.errors import InvalidManifest

D = "a" * 64
HEAD = '<?xml version="1.0"?><metalink xmlns="urn:ietf:params:xml:ns:metalink">'
HASH = f'<hash type="sha-256">{D}</hash>'
OTHER = HASH.replace(D, "b" * 64)


def parsed(inside: str, head: str = HEAD, tail: str = "</metalink>"):  # type: ignore[no-untyped-def] # as parse_metalink
    return parse_metalink(f"{head}{inside}{tail}".encode())


def test_a_file_has_what_the_specification_gives_it() -> None:
    """The example of RFC 5854, 1.1, with pieces."""
    (file,) = parsed(
        f"""<published>2009-05-15T12:23:23Z</published><file name="sub/example.ext"><size>14471447</size>
        <identity>Example</identity><hash type="md5">x</hash>
        <hash type="sha-256">{D}</hash>
        <pieces length="14471446" type="sha-1"><hash>1</hash></pieces>
        <pieces length="14471446" type="sha-256"><hash>{"b" * 64}</hash><hash>{"c" * 64}</hash></pieces>
        <url location="de">ftp://ftp.example.com/example.ext</url>
        <url location="fr" priority="2">http://example.com/2</url><url priority="1">http://example.com/1</url>
        <metaurl mediatype="torrent">http://example.com/example.ext.torrent</metaurl></file>"""
    )
    assert (file.path, file.digest.hex, file.size) == ("sub/example.ext", D, 14471447)
    assert file.urls == ("http://example.com/1", "http://example.com/2", "ftp://ftp.example.com/example.ext")
    assert file.pieces is not None
    assert (file.pieces.size, file.pieces.digests) == (14471446, bytes.fromhex("b" * 64 + "c" * 64))


@pytest.mark.parametrize("size", ["", "<size>9</size>", "<size>2000</size>"])
def test_pieces_that_are_not_of_the_whole_file_are_none(size: str) -> None:
    (file,) = parsed(f'<file name="a">{size}{HASH}<pieces length="4" type="sha-256"><hash>{D}</hash></pieces></file>')
    assert file.pieces is None


def test_a_file_without_a_sha256_is_left_out() -> None:
    assert [f.path for f in parsed(f'<file name="a"><size>1</size></file><file name="b">{HASH}</file>')] == ["b"]


BOMB = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + HEAD.partition("?>")[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no XML"),
        ("{}", "no XML"),
        (f"{HEAD}<file", "no XML: unclosed token in line 1"),
        ("<metalink/>", "not that of Metalink 4"),
        ("<html><body>Login</body></html>", "not that of Metalink 4"),
        (f"{HEAD}</metalink>", "lists no file"),
        (f"{BOMB}<file name='&b;'/></metalink>", "a document type declaration is refused"),
        (f"{HEAD}<file name='../a'>{HASH}</file></metalink>", "a component is '..'"),
        (f"{HEAD}<file>{HASH}</file></metalink>", "invalid name ''"),
        (f"{HEAD}<file name='a'>{HASH}<size>-1</size></file></metalink>", "'-1' is no size"),
        (f"{HEAD}<file name='a'>{HASH}<size>{'9' * 30}</size></file></metalink>", "is no size"),
        (f"{HEAD}<file name='a'><hash type='sha-256'>{D[:-1]}</hash></file></metalink>", "is no sha-256"),
        (f"{HEAD}<file name='a'>{HASH}<pieces type='sha-256'/></file></metalink>", "is no length of pieces"),
        (f"{HEAD}<file name='a'>{HASH}<size>1</size><size>2</size></file></metalink>", "'a' has two sizes"),
        (f"{HEAD}<file name='a'>{HASH}{OTHER}</file></metalink>", "'a' has two sha-256 digests"),
        (
            f"{HEAD}<file name='a'>{HASH}<size>1</size></file><file name='a'>{HASH}<size>2</size></file></metalink>",
            "'a' is listed with two sizes",
        ),
        (f"{HEAD}{'<x>' * 20}{'</x>' * 20}</metalink>", "deeper than 16 elements"),
        (f"{HEAD}<file name='a'><url>{'u' * 9000}</url></file></metalink>", "a text of more than"),
    ],
)
def test_what_is_no_metalink_is_one_line(text: str, said: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        parse_metalink(text.encode())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)

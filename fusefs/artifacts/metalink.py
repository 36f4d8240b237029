"""Metalink 4: files with their sizes, digests, mirrors, and digests of their pieces, which are a chunk list.

A document type declaration is refused, so that there are no entities and no bombs of them; elements, depth and texts
are bounded.  Source: RFC 5854; names of hashes: IANA "Hash Function Textual Names".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from xml.parsers import expat

from fusefs.artifacts.listedfile import MAX_LIST_SIZE, ListedFile, Pieces, checked_name, each_once
from fusefs.errors import InvalidDigest, InvalidManifest
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

_NAMESPACE = "urn:ietf:params:xml:ns:metalink "
_DEEPEST = 16
_LONGEST = 8192
"""Characters of a text that is kept; URLs are the longest."""

_URLS = 16
"""Mirrors of a file that are kept."""

_LAST = 999_999
"""The priority of an URL without one: RFC 5854, 4.2.16.1."""


@dataclass(slots=True)
class _File:
    name: str
    digest: Digest | None = None
    size: int | None = None
    urls: list[tuple[int, str]] = field(default_factory=list)
    piece_size: int = 0
    pieces: bytearray = field(default_factory=bytearray)


def parse_metalink(raw: bytes, what: str = "the Metalink") -> tuple[ListedFile, ...]:
    """Read a document.  Files without a sha-256 of the whole are stepped over.

    Args:
        raw: all of it.
        what: what to call it in messages.

    Raises:
        InvalidManifest: no Metalink 4, or a value in it is wrong.
    """
    if len(raw) > MAX_LIST_SIZE:
        raise InvalidManifest(f"{what}: more than {MAX_LIST_SIZE} bytes")
    reader = _Reader()
    try:
        reader.read(raw)
        return each_once(_listed(reader.files), what)
    except expat.ExpatError as exc:
        raise InvalidManifest(f"{what}: no XML: {expat.ErrorString(exc.code)} in line {exc.lineno}") from exc
    except InvalidManifest as exc:
        raise InvalidManifest(f"{what}: {exc}") from None


def _listed(files: list[_File]) -> Iterator[ListedFile]:
    for file in files:
        if file.digest is None:
            continue
        urls = tuple(url for _, url in sorted(file.urls, key=lambda pair: pair[0]))
        yield ListedFile(checked_name(file.name), file.digest, file.size, urls, _pieces(file))


def _pieces(file: _File) -> Pieces | None:
    """The pieces, if they are of the whole file."""
    if not file.piece_size or file.size is None or len(file.pieces) != 32 * -(-file.size // file.piece_size):
        return None
    return Pieces(file.piece_size, bytes(file.pieces))


class _Reader:
    """Events of the parser to files."""

    def __init__(self) -> None:
        self.files: list[_File] = []
        self._above: list[str] = []
        self._text = ""
        self._attributes: dict[str, str] = {}
        self._pieces_kind = ""

    def read(self, raw: bytes) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.Parse(raw, True)

    def _doctype(self, *_: object) -> None:
        raise InvalidManifest("a document type declaration is refused")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._above) >= _DEEPEST:
            raise InvalidManifest(f"deeper than {_DEEPEST} elements")
        name = name.removeprefix(_NAMESPACE) if name.startswith(_NAMESPACE) else ""
        if not self._above and name != "metalink":
            raise InvalidManifest("its first element is not that of Metalink 4")
        self._above.append(name)
        self._text, self._attributes = "", attributes
        if self._above == ["metalink", "file"]:
            self.files.append(_File(attributes.get("name", "")))
        elif self._above == ["metalink", "file", "pieces"]:
            self._pieces_kind = attributes.get("type", "").lower()
            if self._pieces_kind == "sha-256":
                self.files[-1].piece_size = _number(attributes.get("length", ""), "length of pieces")
                self.files[-1].pieces.clear()

    def _characters(self, text: str) -> None:
        self._text += text
        if len(self._text) > _LONGEST:
            raise InvalidManifest(f"a text of more than {_LONGEST} characters")

    def _end(self, _name: str) -> None:
        text, self._text = self._text.strip(), ""
        above = tuple(self._above)
        self._above.pop()
        if above[:2] != ("metalink", "file"):
            return
        file = self.files[-1]
        match above[2:]:
            case ("size",):
                file.size = _the_same(file, "sizes", file.size, _number(text, "size"))
            case ("hash",) if self._attributes.get("type", "").lower() == "sha-256":
                file.digest = _the_same(file, "sha-256 digests", file.digest, _digest(text))
            case ("url",):
                priority = self._attributes.get("priority", "")
                known = int(priority) if priority.isascii() and priority.isdecimal() and len(priority) < 7 else _LAST
                if text and len(file.urls) < _URLS:
                    file.urls.append((known, text))
            case ("pieces", "hash") if self._pieces_kind == "sha-256":
                file.pieces += _digest(text).raw


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= MAX_BLOB_SIZE):
        raise InvalidManifest(f"{text[:40]!a} is no {what}")
    return int(text)


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(f"sha256:{text}")
    except InvalidDigest:
        raise InvalidManifest(f"{text[:80]!a} is no sha-256") from None


def _the_same(file: _File, what: str, before: T | None, now: T) -> T:
    """A value that a file may have once: which of two is meant nobody can say."""
    if before is not None and before != now:
        raise InvalidManifest(f"{file.name[:100]!a} has two {what}")
    return now

r"""SHA256SUMS: what sha256sum(1) and `cksum --tag` write, as files and their digests.

    <64 hex digits> [ *]<name>          GNU; a backslash before the line says that `\\`, `\n` and `\r` in the name are
    SHA256 (<name>) = <64 hex digits>   escapes; BSD, and GNU with --tag

Empty lines, lines that begin with `#`, and BSD lines of other algorithms are stepped over.  Source: GNU coreutils
`src/cksum.c`, "split_3" and "bsd_split_3"; lines may end in CR LF, as from Windows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fusefs.artifacts.listedfile import MAX_LIST_SIZE, ListedFile, checked_name, each_once
from fusefs.errors import InvalidManifest
from fusefs.values.digest import SHA256, Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

_GNU = re.compile(r"([0-9A-Fa-f]{64})(?: [ *]|\t)(.+)", re.DOTALL)
_BSD = re.compile(r"([A-Z][A-Za-z0-9/-]{1,20}) \((.+)\) = ([0-9A-Za-z+/=]+)", re.DOTALL)
_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)
_ESCAPED = {"\\": "\\", "n": "\n", "r": "\r"}


def parse_sums(raw: bytes, what: str = "SHA256SUMS") -> tuple[ListedFile, ...]:
    """Read a list.

    Args:
        raw: all of it.
        what: what to call it in messages.

    Raises:
        InvalidManifest: with the number of the line that is wrong.
    """
    if len(raw) > MAX_LIST_SIZE:
        raise InvalidManifest(f"{what}: more than {MAX_LIST_SIZE} bytes")
    return each_once(_files(raw, what), what)


def _files(raw: bytes, what: str) -> Iterator[ListedFile]:
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            file = _file(line.removesuffix(b"\r").decode())
        except (UnicodeDecodeError, InvalidManifest) as exc:
            reason = "it is not UTF-8" if isinstance(exc, UnicodeDecodeError) else str(exc)
            raise InvalidManifest(f"{what}, line {number}: {reason}") from None
        if file is not None:
            yield file


def _file(line: str) -> ListedFile | None:
    if not line.strip() or line.startswith("#"):
        return None
    escaped = line.startswith("\\")
    text = line[1:] if escaped else line
    if match := _GNU.fullmatch(text):
        digits, name = match.groups()
    elif match := _BSD.fullmatch(text):
        algorithm, name, digits = match.groups()
        if algorithm != "SHA256":
            return None
        if not re.fullmatch(r"[0-9A-Fa-f]{64}", digits):
            raise InvalidManifest(f"{digits[:80]!a} is no sha256 of 64 hexadecimal digits")
    else:
        raise InvalidManifest(f"want `<64 hex digits>  <name>` or `SHA256 (<name>) = <digits>`, not {line[:80]!a}")
    return ListedFile(checked_name(_unescaped(name) if escaped else name), Digest(SHA256, digits.lower()))


def _unescaped(name: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPED:
            raise InvalidManifest(f"{match[0]!a} in the name is no escape")
        return _ESCAPED[match[1]]

    return _ESCAPE.sub(one, name)

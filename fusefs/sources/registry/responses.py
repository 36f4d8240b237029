"""What a registry's answer means: its error documents, Retry-After, and the frame of a range."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from fusefs.errors import NotFound, ResponseError, SourceError, Unauthorized, WrongResponse
from fusefs.net.translate import proxy_login
from fusefs.values.chunks import Chunk
from fusefs.values.printable import line_of

if TYPE_CHECKING:
    from fusefs.net.transport import Response

_MAX_DOCUMENT = 1 << 16
_MAX_HEADER = 60
"""Characters of a header that are shown."""

_MAX_DIGITS = 10
"""Of a number of seconds: three hundred years are as good as for ever."""

_MAX_DATE = 64
_NO_MESSAGES = "no messages"

_NOT_FOUND = frozenset(("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN"))

# What a body is called that is not encoded at all: what uploads were sent in (S3 keeps it), or a charset in the wrong
# place.
_NO_ENCODING = re.compile(
    r"(?:identity|none|binary|aws-chunked|utf-?8|(?:us-)?ascii|iso-8859-\d{1,2}|latin-?1|windows-125\d)?",
    re.ASCII | re.IGNORECASE,
)

# A comment or a declaration may stand first; of what is not HTML nothing begins so but other XML.
_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*+(?:<!--.{0,2000}?-->\s*+)?<(?:!doctype\s+html|html|head|body|script|title)\b", re.I | re.S
)
_TITLE = re.compile(rb"<title[^>]{0,100}>\s*+([^<]{1,300})", re.I)

_TAG = re.compile(rb"<[^<>]{0,500}>")
_MAX_PAGE = 4096
"""Bytes of a page without a title whose text is shown in the place of one."""

_WANTS_TLS = re.compile(r"HTTP request (?:was sent )?to (?:an )?HTTPS (?:server|port)", re.I)
"""What Go's server and nginx say to a request in the clear at a port with TLS."""

# The unit is left out by some servers, and of no other do we ask.
_CONTENT_RANGE = re.compile(r"(?:bytes[ =]\s*)?(\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII | re.IGNORECASE)


def check_status(response: Response, *, wanted: tuple[int, ...] = (200,), who: str = "registry") -> None:
    """Return when the status is one of `wanted`; else read what the registry says, and raise it.

    Args:
        response: to look at.
        wanted: statuses of an answer.
        who: answers, for a person.

    Raises:
        NotFound, Unauthorized, ResponseError: text `registry responded with status N: code C: M`.
    """
    if response.status not in wanted:
        raise error_of(response, who)


def check_encoding(response: Response) -> None:
    """Check that a body is what it says, not something to be unpacked first: nobody asked for that, and it could grow.

    Only where the body is read as text.  The bytes of a blob are proved by their digest, whatever is said of them.

    Raises:
        WrongResponse: it is compressed.
    """
    names = _encoding(response)
    if names:
        text = f"the answer is compressed though identity was asked for: {line_of(names, _MAX_HEADER)}"
        raise WrongResponse(text, source=response.source)


def check_document(response: Response, body: bytes, what: str) -> None:
    """Check that the front of a document is not that of a page for people: a login page, or a proxy's.

    Raises:
        WrongResponse: it is; to ask again at once would bring it again.
    """
    if looks_like_html(body):
        sent = ", to which we were sent on," if response.redirected else ""
        text = (
            f"in place of {what} it{sent} answers with {_html(body)}; somebody may have to log in to the network first"
        )
        raise WrongResponse(text, source=response.source, temporary=False)


def looks_like_html(body: bytes) -> bool:
    """Whether a document is a page for people."""
    return _HTML.match(body) is not None


def _html(body: bytes) -> str:
    title = _TITLE.search(body)
    text = title[1] if title else _TAG.sub(b" ", body[:_MAX_PAGE])
    shown = line_of(html.unescape(text.decode("utf-8", "replace")), _MAX_HEADER)
    return f"an HTML page, {shown!r}" if shown else "an HTML page"


def _encoding(response: Response) -> str:
    """The Content-Encoding, where it means something."""
    names = response.headers.get("Content-Encoding", "")
    return "" if all(_NO_ENCODING.fullmatch(name.strip()) for name in names.split(",")) else names


def error_of(response: Response, who: str = "registry") -> SourceError:
    """The error that an answer of `who` is; it reads and closes the answer."""
    try:
        body = b"" if _encoding(response) else response.read(_MAX_DOCUMENT)
    except SourceError:
        body = b""
    finally:
        if response.status == 416:
            response.close()  # its Content-Length may be that of the whole blob
        else:
            response.discard()
    if response.status == 407 and response.through:
        return Unauthorized(proxy_login("407 " + describe(body)[1]), source=response.through)
    code, message = describe(body)
    text = f"{who} responded with status {response.status}: " + (f"code {code}: {message}" if code else message)
    status, source = response.status, response.source
    if status == 404 or code.upper() in _NOT_FOUND:
        return NotFound(text, source=source, code=code)
    if status in (401, 403):
        return Unauthorized(text, source=source)
    if 200 <= status < 400:
        return WrongResponse(text, source=source)
    text += _aside(response, message)
    temporary = status >= 500 or status in (408, 429)
    headers = response.headers
    wait = retry_after(headers.get("Retry-After"), now=_date(headers.get("Date"))) if temporary else None
    if wait:
        text += f" (it asks to be left alone for {wait:.0f} s)"
    if wait and status in (429, 503):
        response.host_rests(wait, text)
    return ResponseError(text, source=source, status=status, retry_after=wait, temporary=temporary)


def _aside(response: Response, message: str) -> str:
    """What the status alone does not say."""
    if response.status == 400 and _WANTS_TLS.search(message):
        return "; write https:// before its name"
    return f" (or so says {response.through})" if response.through else ""


def describe(body: bytes) -> tuple[str, str]:
    """Code (or "") and message of an error document.

    Two JSON forms are known, `{"errors":[{"code","message"}]}` (the first counts) and `{"error":"…","code":"…"}`;
    anything else is its own message.
    """
    if looks_like_html(body):
        return "", _html(body)
    text = line_of(body.decode("utf-8", "replace"))
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "", text or _NO_MESSAGES
    if not isinstance(document, dict):
        return "", text or _NO_MESSAGES
    errors = document.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else None
    code, message = _texts(first, "message") if first is not None else _texts(document, "error")
    return code, message or _NO_MESSAGES


def _texts(entry: dict[str, Any], key: str) -> tuple[str, str]:
    code, message = entry.get("code"), entry.get(key)
    return (line_of(code) if isinstance(code, str) else ""), (line_of(message) if isinstance(message, str) else "")


def retry_after(header: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds to wait, from `Retry-After` as seconds or as an HTTP date; None when it says nothing usable.

    Args:
        header: as it came.
        now: by the clock of who wrote the header (its `Date`), since ours may be wrong by a year; None for ours.
    """
    header = (header or "").strip()
    if header.isascii() and header.isdecimal():
        return float(header.lstrip("0")[:_MAX_DIGITS] or 0)
    when = _date(header)
    try:
        return None if when is None else max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
    except OverflowError:
        return None


def _date(header: str | None) -> datetime | None:
    """An HTTP date; None when it is none."""
    header = (header or "").strip()
    if not 0 < len(header) <= _MAX_DATE:
        return None
    try:
        when = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when


def given_range(response: Response, chunk: Chunk, size: int) -> Chunk:
    """Which bytes the answer gives to who asked for the bytes `chunk` of a blob of `size` bytes, as its head tells.

    They may be more than were asked for: a cache gives whole blocks of its own (206, and a wider range), and whoever
    ignores Range gives all (200).

    Raises:
        WrongResponse: what was asked for is not among them, or the head contradicts itself.
    """
    length = response.headers.get("Content-Length")
    given = _named_range(response, chunk, size)
    if given is None:
        raise _wrong_range(response, chunk, size)
    if length is not None and length.strip() != str(given.size):
        raise _wrong_range(response, chunk, size, f" with {line_of(length, _MAX_HEADER)} bytes")
    return given


def _named_range(response: Response, chunk: Chunk, size: int) -> Chunk | None:
    """The range that the head names; None where it cannot be used."""
    if response.status != 206:
        return Chunk(0, size - 1)
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if match is None or match[3] not in ("*", str(size)):
        return None
    start, end = int(match[1]), int(match[2])
    if not (start <= chunk.start and chunk.end <= end < size):
        return None
    return chunk if (start, end) == (chunk.start, chunk.end) else Chunk(start, end)


def _wrong_range(response: Response, chunk: Chunk, size: int, length: str = "") -> WrongResponse:
    """What the head names in place of a range that can be used."""
    header = response.headers.get("Content-Range", "")
    got = line_of(header, _MAX_HEADER)
    if response.status != 206:
        got = f"status {response.status}"
    elif not _CONTENT_RANGE.fullmatch(header.strip()):
        got = f"a Content-Range of {got!r}"
    page = " of an HTML page" if response.headers.get("Content-Type", "").lower().startswith("text/html") else ""
    return WrongResponse(f"asked for bytes {chunk} of {size}, got {got}{length}{page}", source=response.source)

"""WebTree: files on a web server or in a bucket as one model, named by the URL of their folder, list or file.

    https://host/dir/                   a folder with a list of digests in it
    https://host/dir/SHA256SUMS         the list itself: SHA256SUMS, a Metalink (`.meta4`) or a lock (`.lock`)
    https://host/model.gguf#sha256=HEX  one file
    s3://bucket/prefix, gs://, az://    the same three in a bucket; a slash at the end of a folder may be left out

A registry's model is never written so: its name ends in no slash and has no fragment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from fusefs.errors import InvalidName
from fusefs.values.digest import SHA256, Digest
from fusefs.values.hubname import HubName, is_hub_path
from fusefs.values.names import DEFAULT_TAG, Name

BUCKETS = {"s3": "Amazon S3 and what speaks its protocol", "gs": "Google Cloud Storage", "az": "Azure Blob Storage"}
"""Schemes of buckets, and whose they are."""

WEB = ("http", "https", "https+insecure")

_LIST = re.compile(r"[^/]*\.(?:meta4|metalink|lock)|[^/]*SHA256SUMS(?:\.txt)?", re.IGNORECASE)
_URL = re.compile(
    r"(?P<scheme>[A-Za-z0-9+]+)://(?P<host>\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?|[A-Za-z0-9_][A-Za-z0-9_.:-]{0,252})"
    r"(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?:#(?P<fragment>.*))?",
    re.ASCII | re.DOTALL,
)
_PINNED = re.compile(r"(.*)@(sha256[:-][0-9A-Fa-f]{64})", re.DOTALL)
_FRAGMENT = re.compile(r"sha256[=:]([0-9A-Fa-f]{64})")
_FILE_TAG = re.compile(r"sha256-[0-9a-f]{64}")

_KEPT = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_")
_CODED = re.compile(r"=([0-9a-f]{2})")
_LONGEST = 255
"""Bytes of a file name."""


@dataclass(frozen=True, slots=True)
class WebTree(Name):
    """A Name whose document is made from a list of digests, and whose blobs are files.

    Attributes:
        scheme: `http`, `https`, `https+insecure`, `s3`, `gs` or `az`.
        host: with its port; of a bucket its name.
        namespace: empty.
        model: the path of the URL; it begins with a slash, and that of a folder ends with one.
        tag: `sha256-<hex>` of a single file, else `latest`.
        digest: of the document, when the name pins it.
    """

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Read a URL as a person writes it.

        Returns:
            None when it is no name of this kind.

        Raises:
            InvalidName: it is one, and wrong.
        """
        pinned = _PINNED.fullmatch(text)
        match = _URL.fullmatch(pinned[1] if pinned else text)
        scheme = match["scheme"].lower() if match else ""
        if match is None or scheme not in (*WEB, *BUCKETS):
            return None
        path, fragment = match["path"] or "/", match["fragment"]
        leaf = path.rpartition("/")[2]
        listed = bool(_LIST.fullmatch(leaf))
        bucket = scheme in BUCKETS
        if not (bucket or listed or fragment is not None or (not leaf and path != "/")):
            return None
        if match["query"] is not None:
            raise InvalidName(f"{text.partition('?')[0][:200]!r} has a query, which may be a secret: name it without")
        digest = Digest.parse(pinned[2]) if pinned else None
        if fragment is not None:
            return cls(scheme, _host(scheme, match["host"]), "", _checked(path, text), _file_tag(fragment, leaf, text))
        if bucket and leaf and not listed:
            path += "/"
        return cls(scheme, _host(scheme, match["host"]), "", _checked(path, text), DEFAULT_TAG, digest)

    @classmethod
    def from_path(cls, host: str, namespace: str, model: str, tag: str) -> Self:
        """See `Name.from_path`."""
        found = cls(namespace[1:], host, "", _decoded(model), tag)
        known = tag == DEFAULT_TAG or _FILE_TAG.fullmatch(tag)
        if not known or cls.read(str(found)) != found or found.path != (host, namespace, model, tag):
            raise InvalidName(f"invalid name: {str((host, namespace, model, tag))[:200]} is no path of a model")
        return found

    @property
    def path(self) -> tuple[str, str, str, str]:
        """See `Name.path`: `<host>/+<scheme>/<the path, encoded>/<tag>`, of which no part can be of another name."""
        return self.host, f"+{self.scheme}", _encoded(self.model), self.tag

    @property
    def folder(self) -> tuple[str, str]:
        """See `Name.folder`: that of a list is the folder that it lies in."""
        path = self.model.rpartition("/")[0] if self.lists else self.model.rstrip("/")
        raw = path.rpartition("/")[2]
        name = self._plain(raw)
        safe = "/" not in name and name not in (".", "..") and name.isprintable()
        return (name if safe else raw) or self.host, self.tag

    @property
    def repository(self) -> str:
        """See `Name.repository`; for messages, as no registry has it."""
        return self.model

    @property
    def short(self) -> str:
        """As a person would write it."""
        return str(self).partition("@sha256:")[0]

    @property
    def file_digest(self) -> Digest | None:
        """That of the one file that it is, if it is one."""
        return Digest(SHA256, self.tag.removeprefix("sha256-")) if self.tag != DEFAULT_TAG else None

    @property
    def leaf(self) -> str:
        """The last part of its path, without percent-encoding; empty for a folder."""
        return self._plain(self.model.rpartition("/")[2])

    @property
    def lists(self) -> bool:
        """Whether its URL is that of a list."""
        return self.tag == DEFAULT_TAG and not self.model.endswith("/")

    @property
    def url(self) -> str:
        """Its URL, without a fragment."""
        return f"{self.scheme}://{self.host}{self.model}"

    def _plain(self, part: str) -> str:
        """A part of the path as a file's name; the keys of a bucket have no percent-encoding."""
        return part if self.scheme in BUCKETS else unquote(part)

    def __str__(self) -> str:
        file = self.file_digest
        text = self.url if file is None else f"{self.url}#sha256={file.hex}"
        return f"{text}@{self.digest}" if self.digest else text


def name_at(host: str, namespace: str, model: str, tag: str) -> Name:
    """The name, of whichever kind, whose manifest lies at `manifests/<host>/<namespace>/<model>/<tag>`.

    Raises:
        InvalidName: there is none.
    """
    if is_hub_path(namespace):
        return HubName.from_path(host, namespace, model, tag)
    if namespace.startswith("+") and namespace != "+":
        return WebTree.from_path(host, namespace, model, tag)
    return Name.from_path(host, namespace, model, tag)


def _host(scheme: str, host: str) -> str:
    return host if scheme in BUCKETS else host.lower()


def _file_tag(fragment: str, leaf: str, text: str) -> str:
    match = _FRAGMENT.fullmatch(fragment)
    if match is None or not leaf:
        raise InvalidName(f"invalid source {text[:200]!r}: behind a file's URL want #sha256= and 64 hexadecimal digits")
    return f"sha256-{match[1].lower()}"


def _checked(path: str, text: str) -> str:
    """A path without dot segments, empty segments or control characters.

    Raises:
        InvalidName: it has some, or its name in the cache would be too long.
    """
    if any(part in ("", ".", "..") for part in path.removesuffix("/").split("/")[1:]):
        raise InvalidName(f"invalid source {text[:200]!r}: a part of its path is empty, `.` or `..`")
    if any(char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in path) or "@" in path:
        raise InvalidName(f"invalid source {text[:200]!r}: want the characters of a path; `@` is written %40")
    if len(_encoded(path)) > _LONGEST:
        raise InvalidName(f"invalid source {text[:200]!r}: its path is too long")
    return path


def _encoded(path: str) -> str:
    """One file name for a path.  Capitals are encoded, because to a cache names that differ in case alone are one."""
    return "".join(
        char if char in _KEPT else "+" if char == "/" else "".join(f"={byte:02x}" for byte in char.encode())
        for char in path
    )


def _decoded(name: str) -> str:
    raw = _CODED.sub(lambda match: chr(int(match[1], 16)), name.replace("+", "/"))
    try:
        return raw.encode("latin-1").decode()
    except UnicodeError:
        return ""

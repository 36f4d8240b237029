"""HubName: a repository of a Hugging Face Hub at one revision, as a person writes it.

    hf://org/model[@revision]                 on the Hub that `$HF_ENDPOINT` names, else on huggingface.co
    hf://datasets/org/name, hf://spaces/…     a data set or a space; `hf://gpt2` is a model without an organisation
    hf+https://host[/path]/models/org/model   the same on the Hub that is named; the kind is always written here
    …@revision:<commit>                       as the revision was at that commit
    …@sha256:<hex>                            with the digest of the document that fusefs makes of the tree

A revision is a branch, a tag, `refs/pr/1`, or a commit; a slash in another one is written `%2F`.  Addresses of pages
are read by `fusefs.values.hubpage`.  Source: huggingface_hub, `hf_file_system.py` and `_validators.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote

from fusefs.errors import InvalidName, InvalidSetting
from fusefs.values.digest import Digest
from fusefs.values.hubendpoint import HUGGING_FACE, KINDS, HubEndpoint
from fusefs.values.names import Name, without_user

if TYPE_CHECKING:
    from collections.abc import Sequence

MAIN = "main"
"""The revision of a name without one."""

_SCHEMES = {"hf": "", "huggingface": "", "hf+https": "https", "hf+http": "http"}

_COMPONENT = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SPECIAL = re.compile(r"refs/(?:pr/\d+|convert/[A-Za-z0-9_-]+)", re.ASCII)
_NO_REVISION = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{|^[/-]|[/.]$|\.lock(?:/|$)")
"""What no name of a branch or tag has: git-check-ref-format(1)."""

_PINNED = re.compile(r"(.*)@(sha256[:-][0-9A-Fa-f]{64})", re.DOTALL)
_MARK = "+hf"
"""What the namespace of each begins with in a cache, before `.` or `-http.`: no other kind of name has such a one."""

_KEPT = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_")
_CODED = re.compile(r"=([0-9a-f]{2})|!([a-z])")
_LONGEST = 255
"""Bytes of a file name."""


@dataclass(frozen=True, slots=True)
class HubName(Name):
    """A Name whose document is made of a tree of the Hub, and whose blobs are the files in it.

    Attributes:
        scheme: `https` or `http`.
        host: of the Hub, with its port and the path below which it is, as `HubEndpoint.host`.
        namespace: the organisation or user; empty for a model without one.
        model: the name of the repository.
        tag: the revision.
        digest: of the document, when the name pins it.
        kind: one of `KINDS`.
        commit: what the revision leads to, when the name says so; else empty.
    """

    kind: str = KINDS[0]
    commit: str = ""

    @classmethod
    def read(cls, text: str, hub: HubEndpoint = HUGGING_FACE) -> Self | None:
        """Read a name as a person writes it.

        Args:
            text: of the name.
            hub: where a repository is of which the name does not say it.

        Returns:
            None when it is no name of this kind.

        Raises:
            InvalidName: it is one, and wrong.
        """
        scheme, separator, rest = text.partition("://")
        own = _SCHEMES.get(scheme.lower())
        if not separator or own is None:
            return None
        pinned = _PINNED.fullmatch(rest)
        place, at, revision = (pinned[1] if pinned else rest).partition("@")
        parts = place.removesuffix("/").split("/")
        if own:
            hub, parts = _named_hub(own, parts, text)
        kind = parts.pop(0) if parts[0] in KINDS and (own or len(parts) > 1) else KINDS[0]
        return cls.of_parts(
            hub, kind, parts, revision if at else MAIN, Digest.parse(pinned[2]) if pinned else None, text=text
        )

    @classmethod
    def of_parts(
        cls,
        hub: HubEndpoint,
        kind: str,
        parts: Sequence[str],
        revision: str,
        digest: Digest | None = None,
        *,
        text: str,
    ) -> Self:
        """Of the parts of a name that stands in `text`; the revision as it is written there.

        Raises:
            InvalidName: one is wrong.
        """
        shown = without_user(text)[:200]
        if len(parts) > 2:
            where = "/".join(parts[:2])
            raise InvalidName(f"{shown!r} names a file, and a source is the whole repository: write hf://{where}")
        for part in parts:
            if ":" in part and "@" not in text:
                raise InvalidName(
                    f"invalid source {shown!r}: a revision of the Hub is written @{part.partition(':')[2]}"
                )
            if not _COMPONENT.fullmatch(part) or "--" in part or ".." in part:
                raise InvalidName(f"invalid source {shown!r}: want hf://org/model[@revision], as on the Hub's page")
        tag, _, commit = revision.partition(":")
        tag, commit = _revision(tag, shown), commit.lower()
        if commit and not _COMMIT.fullmatch(commit):
            raise InvalidName(f"invalid source {shown!r}: behind a revision's colon want the 40 digits of its commit")
        found = cls(hub.scheme, hub.host, "/".join(parts[:-1]), parts[-1], tag, digest, kind, commit)
        if any(len(part) > _LONGEST for part in found.path):
            raise InvalidName(f"invalid source {shown!r}: its name or its revision is too long")
        return found

    @classmethod
    def from_path(cls, host: str, namespace: str, model: str, tag: str) -> Self:
        """See `Name.from_path`."""
        parts = (host, namespace, model, tag)
        marked, _, organisation = namespace.removeprefix(_MARK).partition("+")
        http, _, kind = marked.partition(".")
        scheme = {"": "https", "-http": "http"}.get(http, "")
        found = cls(scheme, _decoded(host), _decoded(organisation), _decoded(model), _decoded(tag), None, kind)
        try:
            known = cls.read(str(found)) == found and found.path == parts
        except (InvalidName, InvalidSetting):
            known = False
        if not known:
            raise InvalidName(f"invalid name: {str(parts)[:200]} is no path of a model")
        return found

    @property
    def path(self) -> tuple[str, str, str, str]:
        """See `Name.path`: `<host>/+hf.<kind>[+<organisation>]/<name>/<revision>`, encoded.

        No other kind of name has such a namespace, and two Hubs have no path in common, also at one host.
        """
        http = "" if self.scheme == "https" else f"-{self.scheme}"
        organisation = f"+{_encoded(self.namespace)}" if self.namespace else ""
        namespace = f"{_MARK}{http}.{self.kind}{organisation}"
        return _encoded(self.host), namespace, _encoded(self.model), _encoded(self.tag)

    @property
    def folder(self) -> tuple[str, str]:
        """See `Name.folder`."""
        return self.model, self.tag.replace("/", "+")

    @property
    def short(self) -> str:
        """As a person would write it: without the revision where that is `main`."""
        return self._text(MAIN)

    @property
    def hub(self) -> HubEndpoint:
        """Where it is."""
        return HubEndpoint(self.scheme, self.host)

    @property
    def page(self) -> str:
        """The address of its page, for messages to people."""
        return f"{self.hub}/{self.in_url}"

    @property
    def in_url(self) -> str:
        """As it stands in the addresses of its files: without a kind for a model."""
        return self.repository if self.kind == KINDS[0] else f"{self.kind}/{self.repository}"

    @property
    def fixed(self) -> str:
        """The commit that the name says, which is the same for ever; empty where it names a branch or a tag."""
        return self.commit or (self.tag if _COMMIT.fullmatch(self.tag) else "")

    def at(self, commit: str) -> Self:
        """The same as its revision was at a commit."""
        return replace(self, commit="" if self.tag == commit else commit)

    def _text(self, usual: str) -> str:
        elsewhere = self.hub != HUGGING_FACE
        text = f"hf+{self.hub}/{self.kind}/{self.repository}" if elsewhere else f"hf://{self.in_url}"
        return text if self.tag == usual else f"{text}@{_written(self.tag)}"

    def __str__(self) -> str:
        text = self._text("")
        text = f"{text}:{self.commit}" if self.commit else text
        return f"{text}@{self.digest}" if self.digest else text


def is_hub_path(namespace: str) -> bool:
    """Whether the manifests below `manifests/<host>/<namespace>` are of HubNames."""
    return namespace.startswith((f"{_MARK}.", f"{_MARK}-"))


def _named_hub(scheme: str, parts: list[str], text: str) -> tuple[HubEndpoint, list[str]]:
    """The Hub that a name names, and what is left of its parts: the kind comes first.

    Raises:
        InvalidName: it names none.
    """
    shown = without_user(text)[:200]
    for end in (3, 2):
        if len(parts) > end and parts[-end] in KINDS:
            try:
                return HubEndpoint.parse(f"{scheme}://{'/'.join(parts[:-end])}"), parts[-end:]
            except InvalidSetting as exc:
                raise InvalidName(f"invalid source {shown!r}: {exc}") from None
    raise InvalidName(f"invalid source {shown!r}: want hf+{scheme}://host/models/org/model[@revision]")


def _revision(text: str, shown: str) -> str:
    """A revision as a person writes it.

    Raises:
        InvalidName: it is none.
    """
    if "/" in text and not _SPECIAL.fullmatch(text):
        raise InvalidName(
            f"invalid source {shown!r}: a slash in a revision is written %2F, and a source is a repository, no file"
        )
    found = unquote(text)
    if not found or _NO_REVISION.search(found) or not found.isprintable():
        raise InvalidName(f"invalid source {shown!r}: behind @ want a branch, a tag or a commit")
    return found.lower() if _COMMIT.fullmatch(found.lower()) else found


def _written(revision: str) -> str:
    return revision if _SPECIAL.fullmatch(revision) else quote(revision, safe="")


def _encoded(text: str) -> str:
    """One file name for a part.  Capitals are encoded, because to a cache names that differ in case alone are one."""
    return "".join(map(_code, text))


def _code(char: str) -> str:
    if char in _KEPT:
        return char
    if "A" <= char <= "Z":
        return f"!{char.lower()}"
    return "+" if char == "/" else "".join(f"={byte:02x}" for byte in char.encode())


def _decoded(name: str) -> str:
    def one(match: re.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else match[2].upper()

    try:
        return _CODED.sub(one, name.replace("+", "/")).encode("latin-1").decode()
    except UnicodeError:
        return ""

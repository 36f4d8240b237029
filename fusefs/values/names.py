"""Name: a model's name in Ollama's grammar, `[scheme://]host/namespace/model:tag[@digest]`; and where a registry is.

Without a scheme the parts count from the right, as Ollama has it: `m`, `namespace/m`, `host/namespace/m`.  With one the
first part is the host, as in any URL, so that nobody is asked who was not named; a slash may end it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Self

from fusefs.errors import InvalidName, InvalidSetting
from fusefs.values.digest import Digest

DEFAULT_SCHEME = "https"
DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

SCHEMES = ("http", "https", "https+insecure")
_REGISTRIES = frozenset(("docker", "oci", "oras"))
"""How other programs write that a registry is meant."""

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}|\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")

_BASE = re.compile(
    r"(https?|https\+insecure)://((?:\[([0-9A-Fa-f:.]{2,45})\]|[A-Za-z0-9_][A-Za-z0-9_.-]{0,252})(?::(\d{1,5}))?)/?",
    re.ASCII | re.IGNORECASE,
)

# What Ollama's grammar reads as a model and its tag, and nobody means as one.
_ADDRESS = re.compile(r"(?:localhost|[0-9]{1,3}(?:\.[0-9]{1,3}){3}):[0-9]{1,5}", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """Where a registry is, without the name of any model.

    Attributes:
        scheme: `http`, `https` or `https+insecure`.
        host: with its port, where one was given.
    """

    scheme: str
    host: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `https://host[:port]`.

        A path, a query, or a user and password (which everybody would see in the list of processes) are refused.

        Raises:
            InvalidSetting: it is anything else.
        """
        match = _BASE.fullmatch(text)
        if match is None or not 0 < int(match[4] or 443) < 1 << 16 or not _is_ipv6(match[3]):
            shown = without_user(text)[:80]
            raise InvalidSetting(
                f"invalid registry URL {shown!r}: want https://host[:port], http:// or https+insecure://"
            )
        return cls(match[1].lower(), match[2].lower())

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}"


@dataclass(frozen=True, slots=True)
class Name:
    """A fully qualified model name: every part is present and has passed the grammar.

    No part can be `.` or `..` or hold a slash, so each is safe as one component of a path.

    Attributes:
        scheme: `http`, `https` or `https+insecure`.
        host: the registry, with an optional port.
        namespace: `library` where none was given.
        model: the model.
        tag: `latest` where none was given.
        digest: the manifest's digest, when the name pins it.
    """

    scheme: str
    host: str
    namespace: str
    model: str
    tag: str
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name as a person writes it, filling in the defaults.

        Raises:
            InvalidName: with the part that is wrong.
            InvalidDigest: what follows `@` is no digest.
        """
        scheme, rest = _split_scheme(text)
        rest, at, digest_text = rest.partition("@")
        digest = Digest.parse(digest_text) if at else None
        if scheme:
            rest = rest.removesuffix("/")
            if "/" not in rest:
                raise InvalidName(f"{text[:200]!r} names a host and no model: want {scheme}://host/namespace/model:tag")
        parts, tag = _split_parts(rest, text)
        if scheme and len(parts) == 2:
            parts.insert(1, DEFAULT_NAMESPACE)
        model = parts.pop()
        namespace = parts.pop() if parts else DEFAULT_NAMESPACE
        host = parts.pop() if parts else DEFAULT_HOST
        for what, part, pattern in (
            ("host", host, _HOST),
            ("namespace", namespace, _NAMESPACE),
            ("model", model, _MODEL),
            ("tag", tag, _MODEL),
        ):
            match = pattern.fullmatch(part)
            if match is None or (what == "host" and not _is_ipv6(match[1])):
                hint = _HINT if what == "namespace" and re.search(r"[.:]", part) else ""
                raise InvalidName(f"invalid {what} {part[:90]!r} in model name {text[:200]!r}{hint}")
        return cls(scheme or DEFAULT_SCHEME, host, namespace, model, tag, digest)

    @classmethod
    def parse_qualified(cls, text: str) -> Self:
        """Read a name that leaves nothing to defaults: `host/namespace/model:tag`.

        Raises:
            InvalidName: a part is missing or wrong.
        """
        name = cls.parse(text)
        if text.lower() != f"{name.host}/{name.namespace}/{name.model}:{name.tag}".lower():
            raise InvalidName(f"{text[:200]!r} is not fully qualified: want host/namespace/model:tag")
        return name

    @classmethod
    def from_path(cls, host: str, namespace: str, model: str, tag: str) -> Self:
        """The name whose manifest lies at `manifests/<host>/<namespace>/<model>/<tag>`.

        Raises:
            InvalidName: a part is outside the grammar.
        """
        parts = (host, namespace, model, tag)
        if not all(parts) or any(char in part for part in parts for char in "/@"):
            # Put together, these would be read as a scheme or a digest, and the name be that of another path.
            raise InvalidName(f"invalid name: {str(parts)[:200]} is no path of a model")
        return cls.parse(f"{host}/{namespace}/{model}:{tag}")

    @property
    def path(self) -> tuple[str, str, str, str]:
        """Where the manifest lies below `manifests/`."""
        return self.host, self.namespace, self.model, self.tag

    @property
    def repository(self) -> str:
        """`<namespace>/<model>`, as in the URLs of a registry."""
        return f"{self.namespace}/{self.model}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """For comparing: names that differ in case alone are one name."""
        host, namespace, model, tag = (part.lower() for part in self.path)
        return host, namespace, model, tag

    @property
    def short(self) -> str:
        """As a person would write it: the defaults left out, the tag kept."""
        text = f"{self.model}:{self.tag}"
        if self.host != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{text}"
        return text if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}/{text}"

    def pinned(self, digest: Digest) -> Name:
        """The same name with the manifest's digest."""
        return replace(self, digest=digest)

    def __str__(self) -> str:
        scheme = "" if self.scheme == DEFAULT_SCHEME else f"{self.scheme}://"
        digest = f"@{self.digest}" if self.digest else ""
        return f"{scheme}{self.host}/{self.namespace}/{self.model}:{self.tag}{digest}"


def host_alone(text: str) -> BaseUrl | None:
    """The host that a person wrote without a model, with its scheme; None when it is something else.

    Raises:
        InvalidName: there is no such host.
    """
    scheme, rest = _split_scheme(text)
    if not scheme or "@" in rest or "/" in rest.removesuffix("/"):
        return None
    try:
        return BaseUrl.parse(text)
    except InvalidSetting:
        raise InvalidName(
            f"invalid host in {text[:200]!r}: behind a scheme the first part of a name is a host"
        ) from None


def without_user(text: str) -> str:
    """What a person wrote as a name or a URL, to be shown: what may be a user and a password is left out."""
    return re.sub(r"^(.*?//)?.*@(?!sha256[:-])", r"\1…@", text, flags=re.DOTALL)


_KINDS = (
    "a source is a model of a registry, as HOST/NAMESPACE/MODEL:TAG or behind "
    f"{', '.join(SCHEMES)}, or a folder of this machine, as ./DIR, /DIR or file:///DIR"
)
_HINT = "; if that is a host, write http:// or https:// before it"


def _is_ipv6(address: str | None) -> bool:
    """Whether what stands in brackets is an address; True where nothing does."""
    try:
        return address is None or bool(ipaddress.IPv6Address(address))
    except ValueError:
        return False


def _split_scheme(text: str) -> tuple[str, str]:
    """The scheme in lower case, or nothing; and what follows it.  A password in there is shown by no message."""
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower() if separator else ""
    if not separator:
        rest = text
        if _ADDRESS.fullmatch(text):
            raise InvalidName(f"{text!r} is no model's name but a host: write http:// or https:// before it")
    elif not scheme:
        raise InvalidName(f"invalid or missing name: {text[:200]!r}")
    elif scheme not in SCHEMES:
        hint = "; for a registry write https:// in its place" if scheme in _REGISTRIES else ""
        raise InvalidName(f"unsupported scheme {scheme[:40]!r}: {_KINDS}{hint}")
    if not rest:
        raise InvalidName("invalid or missing name" + (f": {text[:200]!r}" if text else ""))
    _refuse_password(scheme, rest)
    return scheme, rest


def _refuse_password(scheme: str, rest: str) -> None:
    """A digest has no slash in it, and stands behind a model.

    Raises:
        InvalidName: what stands before an `@` is no model.
    """
    before, at, behind = rest.partition("@")
    digest = behind.lower().startswith(("sha256:", "sha256-"))
    if at and ("/" in behind or "@" in behind or (scheme and "/" not in before and not digest)):
        raise InvalidName(
            "a user and a password have no place in a name, where every process sees them: "
            "`docker login HOST` keeps them, and the name is written without"
        )


def _split_parts(rest: str, text: str) -> tuple[list[str], str]:
    """At most host, namespace and model; and the tag."""
    head, slash, last = rest.rpartition("/")
    model, colon, tag = last.partition(":")
    parts = [*(head.split("/") if slash else []), model]
    if len(parts) > 3:
        raise InvalidName(f"too many parts in model name {text[:200]!r}: want host/namespace/model:tag")
    if not all(parts) or (colon and not tag):
        raise InvalidName(f"invalid or missing name: an empty part in {text[:200]!r}")
    return parts, tag if colon else DEFAULT_TAG

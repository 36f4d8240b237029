"""Name: a model's name, `[scheme://][host/]repository:tag[@digest]`; and where a registry is.

Without a host it is a name in Ollama's grammar: `m`, `namespace/m`.  With a host the repository is the one on that
registry, as it is written and however deep: Ollama's grammar has two parts, the OCI specification one or ten.  The
first part is the host behind a scheme, as in any URL, so that nobody is asked who was not named; before two parts or
more; and before one when it can be nothing else, for a dot or a colon in it.  A slash may end a name with a scheme.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from fusefs.errors import InvalidName, InvalidSetting
from fusefs.values.digest import Digest
from fusefs.values.repository import check_repository, check_tag
from fusefs.values.schemes import (
    DOCKER,
    OCI_ALONE,
    SCHEMES,
    canonical,
    default_scheme,
    unsupported,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

DOCKER_HUB = "docker.io"
HUB_HOSTS = frozenset((DOCKER_HUB, "index.docker.io", "registry-1.docker.io"))
"""What Docker Hub is called in one place or another."""

_WITH_LIBRARY = frozenset((DOCKER_HUB, DEFAULT_HOST))
"""Registries whose models of one part lie in `library`."""

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}|\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")

_BASE = re.compile(
    r"(https?|https\+insecure|oci|oci\+http)://"
    r"((?:\[([0-9A-Fa-f:.]{2,45})\]|[A-Za-z0-9_][A-Za-z0-9_.-]{0,252})(?::(\d{1,5}))?)/?",
    re.ASCII | re.IGNORECASE,
)

_JOINT = "+"
"""Joins the parts of a namespace to one folder of the cache; no part of a name has it."""

# What Ollama's grammar reads as a model and its tag, and nobody means as one.
_ADDRESS = re.compile(r"(?:localhost|[0-9]{1,3}(?:\.[0-9]{1,3}){3}):[0-9]{1,5}", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """Where a registry is, without the name of any model.

    Attributes:
        scheme: as that of a Name.
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
                f"invalid registry URL {shown!r}: want https://host[:port], http://, https+insecure:// or oci://"
            )
        host = match[2].lower()
        return cls(canonical(match[1].lower(), host), host)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}"


@dataclass(frozen=True, slots=True)
class Name:
    """A fully qualified model name: every part is present and has passed the grammar.

    Attributes:
        scheme: `http`, `https`, `https+insecure`, or `oci` for a host of this machine (`fusefs.values.schemes.LOCAL`).
        host: the registry, with an optional port; Docker Hub is `docker.io`.
        namespace: the repository without its last part: `library` where none was given on Ollama's registry or Docker
            Hub, empty for a repository of one part elsewhere, `a/b` for one of three.
        model: the last part of the repository.
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
            if ("/" not in rest and scheme != DOCKER) or _ADDRESS.fullmatch(rest):
                raise InvalidName(f"{text[:200]!r} names a host and no model: want {scheme}://host/repository:tag")
        parts, tag = _split_parts(rest, text)
        host = parts.pop(0) if _begins_with_host(scheme, parts) else DOCKER_HUB if scheme == DOCKER else ""
        try:
            return cls._checked(scheme, host, parts, tag, digest)
        except InvalidName as exc:
            raise InvalidName(f"{exc} (in the name {text[:200]!r})") from None

    @classmethod
    def _checked(cls, scheme: str, host: str, parts: Sequence[str], tag: str, digest: Digest | None = None) -> Self:
        """A name of parts that are still to be checked.

        Raises:
            InvalidName: one is outside the grammar.
        """
        named, host = host, host or DEFAULT_HOST
        match = _HOST.fullmatch(host)
        if match is None or not _is_ipv6(match[1]):
            raise InvalidName(f"invalid host {host[:90]!r}")
        host = DOCKER_HUB if host.lower() in HUB_HOSTS else host
        if len(parts) == 1 and host.lower() in _WITH_LIBRARY:
            parts = [DEFAULT_NAMESPACE, *parts]
        wrong = _not_ollamas(parts, tag)
        if wrong and not named:
            raise InvalidName(wrong)
        if wrong or scheme in OCI_ALONE:
            check_repository(parts)
            check_tag(tag)
        return cls(canonical(scheme, host), host, "/".join(parts[:-1]), parts[-1], tag, digest)

    @classmethod
    def of(cls, host: str, repository: str, tag: str = DEFAULT_TAG) -> Self:
        """The name of a repository that is on a host.

        Raises:
            InvalidName: a part is outside the grammar.
        """
        return cls._checked("", host, repository.split("/"), tag)

    @classmethod
    def parse_qualified(cls, text: str) -> Self:
        """Read a name that leaves nothing to defaults: `host/repository:tag`.

        Raises:
            InvalidName: a part is missing or wrong.
        """
        name = cls.parse(text)
        if text.lower() != f"{name.host}/{name.repository}:{name.tag}".lower():
            raise InvalidName(f"{text[:200]!r} is not fully qualified: want host/namespace/model:tag")
        return name

    @classmethod
    def from_path(cls, host: str, namespace: str, model: str, tag: str) -> Self:
        """The name whose manifest lies at `manifests/<host>/<namespace>/<model>/<tag>`; see `path`.

        Raises:
            InvalidName: a part is outside the grammar.
        """
        parts = (host, namespace, model, tag)
        before = [] if namespace == _JOINT else namespace.split(_JOINT)
        name = cls._checked("", host, [*before, model], tag) if all(parts) else None
        if name is None or name.path != parts:  # names of a registry that has another form of them
            raise InvalidName(f"invalid name: {str(parts)[:200]} is no path of a model")
        return name

    @property
    def path(self) -> tuple[str, str, str, str]:
        """Where the manifest lies below `manifests/`: host, namespace, model, tag.

        No part is `.` or `..` or holds a slash, so each is safe as one component of a path.  A repository of two parts
        lies where Ollama has it.  In the others the namespace is one folder all the same: its parts are joined by `+`,
        which no name has, and `+` alone is the namespace of a repository of one part.  To Ollama, and to versions that
        know no such names, these are folders of no name, which they pass over.
        """
        return self.host, self.namespace.replace("/", _JOINT) or _JOINT, self.model, self.tag

    @property
    def folder(self) -> tuple[str, str]:
        """Where its files lie in a mount of several: `<model>/<tag>`."""
        return self.model, self.tag

    @property
    def repository(self) -> str:
        """`<namespace>/<model>`, as in the URLs of a registry."""
        return f"{self.namespace}/{self.model}" if self.namespace else self.model

    @property
    def key(self) -> tuple[str, str, str, str]:
        """For comparing: names that differ in case alone are one name."""
        host, namespace, model, tag = (part.lower() for part in self.path)
        return host, namespace, model, tag

    @property
    def short(self) -> str:
        """As a person would write it: the defaults left out, the tag kept."""
        text = f"{self.model}:{self.tag}"
        if self.host != DEFAULT_HOST or _not_ollamas(self.repository.split("/"), self.tag):
            return f"{'' if self._shows_host else 'oci://'}{self.host}/{self.repository}:{self.tag}"
        return text if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}/{text}"

    @property
    def _shows_host(self) -> bool:
        """Whether the host is taken for one without a scheme before it."""
        return bool(self.namespace) or _looks_like_host(self.host)

    def pinned(self, digest: Digest) -> Name:
        """The same name with the manifest's digest."""
        return replace(self, digest=digest)

    def __str__(self) -> str:
        usual = self.scheme == default_scheme(self.host) and self._shows_host
        digest = f"@{self.digest}" if self.digest else ""
        return f"{'' if usual else f'{self.scheme}://'}{self.host}/{self.repository}:{self.tag}{digest}"


def host_alone(text: str) -> BaseUrl | None:
    """The host that a person wrote without a model, with its scheme; None when it is something else.

    Raises:
        InvalidName: there is no such host.
    """
    scheme, rest = _split_scheme(text)
    if scheme in ("", DOCKER) or "@" in rest or "/" in rest.removesuffix("/"):
        return None  # one word behind docker:// is a model of Docker Hub
    try:
        return BaseUrl.parse(text)
    except InvalidSetting:
        raise InvalidName(
            f"invalid host in {text[:200]!r}: behind a scheme the first part of a name is a host"
        ) from None


def without_user(text: str) -> str:
    """What a person wrote as a name or a URL, to be shown: what may be a user and a password is left out."""
    return re.sub(r"^(.*?//)?.*@(?!sha256[:-])", r"\1…@", text, flags=re.DOTALL)


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
        raise unsupported(scheme)
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
            "`fusefs login HOST` keeps them, and the name is written without"
        )


def _split_parts(rest: str, text: str) -> tuple[list[str], str]:
    """The host, if there is one, and the parts of the repository; and the tag."""
    head, slash, last = rest.rpartition("/")
    model, colon, tag = last.partition(":")
    parts = [*(head.split("/") if slash else []), model]
    if not all(parts) or (colon and not tag):
        raise InvalidName(f"invalid or missing name: an empty part in {text[:200]!r}")
    return parts, tag if colon else DEFAULT_TAG


def _begins_with_host(scheme: str, parts: Sequence[str]) -> bool:
    """Whether the first part is a host."""
    if scheme == DOCKER:  # as Docker has it
        return len(parts) > 1 and (_looks_like_host(parts[0]) or parts[0] == "localhost")
    return bool(scheme) or len(parts) > 2 or (len(parts) == 2 and _looks_like_host(parts[0]))


def _looks_like_host(part: str) -> bool:
    """Whether a part is a host and can be no namespace of Ollama's grammar."""
    return any(char in part for char in ".:")


def _not_ollamas(parts: Sequence[str], tag: str) -> str:
    """Why a repository and a tag are outside of Ollama's grammar; empty: they are not."""
    if len(parts) > 2:
        return f"invalid repository {'/'.join(parts)[:90]!r}: more than namespace/model"
    namespace, model = [DEFAULT_NAMESPACE, *parts][-2:]
    for what, part, pattern in (("namespace", namespace, _NAMESPACE), ("model", model, _MODEL), ("tag", tag, _MODEL)):
        if not pattern.fullmatch(part):
            return f"invalid {what} {part[:90]!r}"
    return "" if len(parts) == 2 else "a repository of one part"

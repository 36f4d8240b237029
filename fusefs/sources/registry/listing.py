"""Listing: which models a host has, for a person who named the host alone.

Everything that comes is bounded, and each name is one only once it has passed our grammar.
Source: OCI distribution-spec 1.1, "Content Discovery", and Docker's registry API for the catalog.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusefs.errors import InvalidInput, NotFound, SourceError
from fusefs.sources.registry.listpages import next_page
from fusefs.sources.registry.registry import RegistrySource
from fusefs.sources.registry.responses import check_document, check_encoding, check_status
from fusefs.values.names import Name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.sources.registry.credentials import KeyRing
    from fusefs.values.names import BaseUrl
    from fusefs.values.settings import Settings

MOST = 200
"""Names that are given: more than a person reads."""

_PAGES = 10
_PAGE = 1000
"""Entries that are asked for at once; a registry may give fewer."""

_MAX_DOCUMENT = 1 << 20
_PATIENCE = 10.0
"""Seconds after which no more tags are asked for: a registry of a thousand models must not keep a person waiting."""

_NO_CATALOG = frozenset((400, 403, 404, 405, 410, 501))


@dataclass(frozen=True, slots=True)
class Listing:
    """What a host has.

    Attributes:
        names: as a person would write them, in the host's order.
        more: how many models it has besides, of which the names cannot be written here, or are too many.
    """

    names: tuple[str, ...]
    more: int = 0


def listing_of(host: BaseUrl, settings: Settings, keys: KeyRing | None = None) -> Listing:
    """Ask a host for its models and their tags.  Blocking.

    Raises:
        SourceError: it does not answer, or does not say what it has.
    """
    with closing(RegistrySource(host.scheme, host.host, settings, keys=keys)) as source:
        repositories = _repositories(host, source)
        names, more, until = list[str](), 0, time.monotonic() + _PATIENCE
        for repository in repositories:
            if len(names) >= MOST or time.monotonic() > until:
                more += 1
                continue
            found = _names(host, source, repository)
            names += found
            more += not found
        return Listing(tuple(names[:MOST]), more + max(0, len(names) - MOST))


def _repositories(host: BaseUrl, source: RegistrySource) -> list[str]:
    try:
        return list(dict.fromkeys(_pages(source, "", "/v2/_catalog", "repositories")))
    except _NoList as exc:
        raise SourceError(
            f"it does not list its models (status {exc.status}); name one: {host}/REPOSITORY", source=source.host
        ) from None


def _names(host: BaseUrl, source: RegistrySource, repository: str) -> list[str]:
    """A name for each tag; one without, where the tags cannot be had; none for what is no name."""
    try:
        plain = Name.parse(f"{host}/{repository}")
        if plain.repository != repository:
            return []  # what it would be read as is another
        tags = list(_pages(source, repository, f"/v2/{repository}/tags/list", "tags"))
    except InvalidInput:
        return []
    except (_NoList, NotFound):
        return [str(plain).removesuffix(f":{plain.tag}")]
    found = []
    for tag in dict.fromkeys(tags):
        try:
            found.append(str(Name.parse(f"{host}/{repository}:{tag}")))
        except InvalidInput:
            continue
    return found


class _NoList(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _pages(source: RegistrySource, repository: str, path: str, field: str) -> Iterator[str]:
    """The texts in `field` of every page.

    Raises:
        _NoList: the host has no such document.
        SourceError: it cannot be had, or is something else.
    """
    target = f"{path}?n={_PAGE}"
    for _ in range(_PAGES):
        response = source.ask(repository, target, {"Accept": "application/json"})
        try:
            if response.status in _NO_CATALOG:
                raise _NoList(response.status)
            check_status(response)
            check_encoding(response)
            body = response.read(_MAX_DOCUMENT + 1)
            check_document(response, body, "a list")
            yield from _texts(body, field, response.source)
            following = next_page(response, path)
        finally:
            response.close()
        if following is None:
            return
        target = following


def _texts(body: bytes, field: str, source: str) -> list[str]:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    found = document.get(field, ()) if isinstance(document, dict) else ()
    if found is None:  # Docker's registry says so of a repository whose tags are gone
        return []
    if not isinstance(found, list) or len(body) > _MAX_DOCUMENT:
        raise SourceError(f"its list of {field} is none, or longer than {_MAX_DOCUMENT} bytes", source=source)
    return [text for text in found if isinstance(text, str)]

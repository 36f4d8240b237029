"""Places of chunk lists alone (`--index-from`), as Sources that have neither manifests nor bytes.  Blocking.

Nothing in them is trusted for being there: whose word a list is, and so what it counts, is the voucher's to say.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.artifacts.listartifact import list_title
from fusefs.errors import InvalidInput, NotFound, SourceError, WrongResponse
from fusefs.net.transport import Transport
from fusefs.net.url import Url
from fusefs.sources.registry.registry import RegistrySource
from fusefs.sources.registry.registrylists import RegistryLists, read_list
from fusefs.sources.registry.responses import check_encoding, error_of
from fusefs.sources.retry import Retrying
from fusefs.system.files import read_plain
from fusefs.values.chunklimits import most_chunks
from fusefs.values.chunks import ChunkList
from fusefs.values.chunksums import LONGEST_LINE
from fusefs.values.listplace import ListPlace
from fusefs.values.names import Name
from fusefs.values.voucher import Proof

if TYPE_CHECKING:
    from typing import NoReturn

    from fusefs.net.circuit import Circuits
    from fusefs.net.transport import Response
    from fusefs.sources.base import Source
    from fusefs.sources.registry.credentials import KeyRing
    from fusefs.values.chunks import Blob, Chunk
    from fusefs.values.counters import Counters
    from fusefs.values.digest import Digest
    from fusefs.values.settings import Settings

log = logging.getLogger(__name__)


class _Lists:
    """What all of them have in common; what is not there, or no list, is remembered and not asked for again."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._without: set[Digest] = set()

    def manifest(self, name: Name) -> bytes:
        """There is none."""
        raise NotFound(f"{name.short}: only chunk lists are here", source=self.label)

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> NoReturn:  # noqa: ARG002  # as Source
        """There are no bytes."""
        raise NotFound(f"{blob.digest.short}: only chunk lists are here", source=self.label)

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:  # noqa: ARG002  # keyed by the blob alone
        """See `Source.chunk_list`; a list that cannot be used is as good as none, and told in one line."""
        if blob.digest in self._without or not blob.digest.is_sha256:
            return None
        found = None
        try:
            found = self._find(blob)
        except NotFound:
            pass
        except (InvalidInput, SourceError) as exc:
            if exc.temporary:
                raise
            log.warning("%s: the chunk list of %s is not used: %s", self.label, blob.digest.short, exc)
        if found is None:
            self._without.add(blob.digest)
        return found

    def _find(self, blob: Blob) -> ChunkList | None:
        raise NotImplementedError

    def close(self) -> None:
        """See `Source.close`."""


class _Folder(_Lists):
    """Files of this machine."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def _find(self, blob: Blob) -> ChunkList | None:
        path = self._path / list_title(blob.digest)
        try:
            text = read_plain(path, LONGEST_LINE * (most_chunks(blob.size) + 256))
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise SourceError(f"{path.name}: {exc.strerror}", source=self.label) from exc
        return ChunkList.parse(blob.size, text)


class _Web(_Lists):
    """Files of a web server; what it asks for is nothing but their names."""

    def __init__(self, base: str, settings: Settings, circuits: Circuits | None) -> None:
        url = Url.parse(base)
        super().__init__(base)
        self._base = base
        self._transport = Transport(settings, named=url.origin.host, circuits=circuits)

    def _find(self, blob: Blob) -> ChunkList | None:
        response = self._transport.get(f"{self._base}/{list_title(blob.digest)}", {"Accept": "text/plain, */*"})
        try:
            self._check(response)
            return read_list(blob, response)
        finally:
            response.close()

    def _check(self, response: Response) -> None:
        if response.status != 200:
            raise error_of(response, "web server")
        check_encoding(response)
        if response.elsewhere:
            raise WrongResponse("it is another host's", source=response.source, temporary=False)
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise WrongResponse("a page for people came in its place", source=response.source, temporary=False)

    def close(self) -> None:
        self._transport.close()


class _Repository(_Lists):
    """A repository of a registry with a tag for each list."""

    def __init__(self, place: ListPlace, settings: Settings, keys: KeyRing, circuits: Circuits | None) -> None:
        super().__init__(place.text)
        name = Name.parse(place.where)
        self._repository = name.repository
        self._registry = RegistrySource(name.scheme, name.host, settings, keys=keys, circuits=circuits)
        self._lists = RegistryLists(self._registry)

    def _find(self, blob: Blob) -> ChunkList | None:
        return self._lists.tagged_list(self._repository, list_title(blob.digest), blob)

    def close(self) -> None:
        self._registry.close()


def open_list_places(
    settings: Settings, *, keys: KeyRing, counters: Counters, circuits: Circuits | None = None
) -> list[Source]:
    """The places that a person named (`Settings.index_from`), in their order; whoever opens them closes them.

    A folder counts as a store does, anything behind a network as the registry in a name: see `Voucher`.

    Raises:
        InvalidSetting: what was named is no place.
        SourceError: a host cannot be part of a URL.
    """
    found: list[Source] = []
    for place in map(ListPlace.parse, settings.index_from):
        source: _Lists
        who, proof = place.text, Proof.REGISTRY
        if place.kind == "folder":
            path = Path(os.path.abspath(os.path.expanduser(place.where)))
            source, who, proof = _Folder(path), str(path), Proof.STORE
        elif place.kind == "web":
            source = _Web(place.where, settings, circuits)
        else:
            source = _Repository(place, settings, keys, circuits)
        found.append(Retrying(source, timeout=settings.timeout, counters=counters, several=True, proof=proof, who=who))
    return found

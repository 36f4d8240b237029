"""PublishedLists: the chunk lists that somebody has put beside a model into its registry.  Blocking.

They are looked for once a model, at the places where they may be, the cheapest first: the tag of the lists, the
referrers of the manifest, the tag that stands for those in a registry without them.  Whatever comes back, also nothing,
is remembered, so that a blob costs the request for its list and no other.

Nothing here is a reason for a read to fail: what is no list, or that of another model, is told in one line, and the
next place is looked at.  A registry that cannot be reached is trouble, though, and is waited out like any.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from fusefs.artifacts.listartifact import (
    ARTIFACT_TYPE,
    MAX_REFERRERS,
    MAX_SIZE,
    ListArtifact,
    fallback_tag,
    list_tag,
    referring,
)
from fusefs.artifacts.manifest import ACCEPT, OCI_INDEX
from fusefs.errors import FusefsError, InvalidInput, SourceError, TransportError, Unauthorized, WrongResponse
from fusefs.sources.registry.listpages import next_page
from fusefs.sources.registry.responses import check_document, check_encoding, error_of
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Protocol

    from fusefs.net.transport import Response

    class Asked(Protocol):
        """A registry; see `RegistrySource.ask`."""

        label: str
        host: str

        def ask(self, repository: str, url: str, headers: dict[str, str]) -> Response:
            """GET from the registry, with authorization."""


log = logging.getLogger(__name__)

_MOST_MODELS = 1024
_PAGES = 4


class PublishedLists:
    """Of one registry.  Thread-safe."""

    def __init__(self, registry: Asked) -> None:
        self._registry = registry
        self._found: dict[tuple[str, str], Mapping[Digest, Digest]] = {}
        self._looking: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def of_model(self, repository: str, manifest: Digest) -> Mapping[Digest, Digest]:
        """Of each blob of a model with a list: the digest of the list's text, a blob of the same repository.

        Raises:
            SourceError: the registry cannot be asked now.
        """
        return self._once(repository, str(manifest), lambda: self._of_model(repository, manifest))

    def of_tag(self, repository: str, tag: str) -> Mapping[Digest, Digest]:
        """The same of one tag, whatever model it belongs to.

        Raises:
            SourceError: the registry cannot be asked now.
        """
        return self._once(repository, tag, lambda: self._at_tag(repository, tag, None))

    def drop(self, repository: str, manifest: Digest | str, blob: Digest) -> None:
        """The list of a blob is none: do not ask for it again."""
        with self._lock:
            key = repository, str(manifest)
            found = dict(self._found.get(key, {}))
            found.pop(blob, None)
            self._found[key] = found

    def forget(self) -> None:
        """Look again at what was looked at."""
        with self._lock:
            self._found.clear()

    def _once(self, repository: str, what: str, look: Callable[[], Mapping[Digest, Digest]]) -> Mapping[Digest, Digest]:
        key = repository, what
        with self._lock:
            if len(self._looking) >= _MOST_MODELS:
                self._looking.clear()
                self._found.clear()
            turn = self._looking.setdefault(key, threading.Lock())
        with turn:  # many blobs of one model are opened together: one looks, the others take it
            found = self._found.get(key)
            if found is None:
                found = look()
                with self._lock:
                    self._found[key] = found
            return found

    def _of_model(self, repository: str, manifest: Digest) -> Mapping[Digest, Digest]:
        found = self._at_tag(repository, list_tag(manifest), manifest)
        if found:
            return found
        for digests in (partial(self._referrers, repository, manifest), partial(self._fallback, repository, manifest)):
            merged: dict[Digest, Digest] = {}
            for digest in digests():
                merged |= self._at_tag(repository, str(digest), manifest)  # the newest comes last
            if merged:
                return merged
        return {}

    def _at_tag(self, repository: str, reference: str, manifest: Digest | None) -> Mapping[Digest, Digest]:
        """The lists of one manifest of lists, if it is one, and of the model with `manifest`."""
        raw = self._document(repository, reference)
        if raw is None:
            return {}
        try:
            artifact = ListArtifact.parse(raw)
        except InvalidInput as exc:
            self._refuse(repository, reference, str(exc))
            return {}
        if manifest is not None and artifact.subject != manifest:
            self._refuse(
                repository, reference, f"it is of another manifest, {artifact.subject or 'which is not named'}"
            )
            return {}
        return artifact.texts

    def _fallback(self, repository: str, manifest: Digest) -> Iterable[Digest]:
        tag = fallback_tag(manifest)
        raw = self._document(repository, tag)
        if raw is not None:
            try:
                return referring(raw)
            except InvalidInput as exc:
                self._refuse(repository, tag, str(exc))
        return ()

    def _referrers(self, repository: str, manifest: Digest) -> Iterable[Digest]:
        """By the API, as far as the registry has one; the last entries of all pages.

        Registries without one answer in many ways: 404, an error of their own, a redirect to a page for people.  None
        of them is a reason to wait.
        """
        path = f"/v2/{repository}/referrers/{manifest}"
        target: str | None = f"{path}?artifactType={ARTIFACT_TYPE}"
        newest: deque[Digest] = deque(maxlen=MAX_REFERRERS)
        for _ in range(_PAGES):
            if target is None:
                break
            try:
                digests, target = self._page(repository, target, path)
            except Unauthorized as exc:
                log.debug("%s: no referrers of %s: %s", self._registry.label, repository, exc)
                break
            except (InvalidInput, SourceError) as exc:
                # What fails where a redirect led is that page's trouble, not the registry's.
                if isinstance(exc, TransportError) and exc.source == self._registry.host:
                    raise
                self._refuse(repository, "referrers", str(exc))
                break
            newest.extend(digests)
        return newest

    def _page(self, repository: str, target: str, path: str) -> tuple[list[Digest], str | None]:
        response = self._registry.ask(repository, target, {"Accept": OCI_INDEX})
        try:
            if response.status != 200:
                response.discard()
                return [], None
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if response.elsewhere or kind != OCI_INDEX:
                raise WrongResponse(f"no list of referrers but {kind or 'nothing'}"[:120], source=response.source)
            return list(referring(self._read(response))), next_page(response, path)
        finally:
            response.close()

    def _document(self, repository: str, reference: str) -> bytes | None:
        """A manifest; None when there is none, or it cannot be had for good.

        Raises:
            SourceError: trouble that may pass.
        """
        try:
            response = self._registry.ask(repository, f"/v2/{repository}/manifests/{reference}", {"Accept": ACCEPT})
            try:
                if response.status != 200:
                    raise error_of(response)
                if response.elsewhere:
                    raise WrongResponse("it is another host's", source=response.source, temporary=False)
                raw = self._read(response)
            finally:
                response.close()
        except FusefsError as exc:
            if exc.temporary or not isinstance(exc, SourceError):
                raise
            if isinstance(exc, WrongResponse):
                self._refuse(repository, reference, str(exc))
            else:
                log.debug("%s: no chunk lists at %s/%s: %s", self._registry.label, repository, reference, exc)
            return None
        if ":" in reference and not Digest.parse(reference).matches(raw):
            self._refuse(repository, reference, "it has another digest")
            return None
        return raw

    def _read(self, response: Response) -> bytes:
        check_encoding(response)
        raw = response.read(MAX_SIZE + 1)
        check_document(response, raw, "a manifest of chunk lists")
        return raw

    def _refuse(self, repository: str, reference: str, why: str) -> None:
        log.warning("%s: the chunk lists at %s/%s are not used: %s", self._registry.label, repository, reference, why)

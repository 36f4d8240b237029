"""Pusher: writes small blobs and manifests into one repository of a registry, and nothing that is there.  Blocking.

Source: OCI distribution-spec 1.1, "Push".  A blob goes up whole in one PUT: what is written here are lists, which are
in memory anyway.  Where an upload goes is the registry's to say (`Location`); credentials go along to its own origin
alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from fusefs.artifacts.listartifact import MAX_SIZE
from fusefs.artifacts.manifest import ACCEPT
from fusefs.errors import DigestMismatch, NotFound, SourceError, WrongResponse
from fusefs.net.url import Url
from fusefs.sources.registry.responses import check_document, check_encoding, check_status, error_of
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusefs.net.transport import Response
    from fusefs.sources.registry.registry import RegistrySource

_CREATED = (200, 201, 202, 204)


class Pusher:
    """For one repository.

    Attributes:
        label: the registry and the repository, for messages.
        pushed: how many blobs and manifests were written.
    """

    def __init__(self, registry: RegistrySource, repository: str) -> None:
        self.label = f"{registry.label}/{repository}"
        self.pushed = 0
        self._registry = registry
        self._repository = repository
        self._base = f"/v2/{repository}"

    def blob(self, data: bytes, digest: Digest) -> None:
        """Have a blob there.

        Raises:
            SourceError: the registry does not take it; why.
        """
        if self._there(f"{self._base}/blobs/{digest}"):
            return
        response = self._send("POST", f"{self._base}/blobs/uploads/")
        try:
            check_status(response, wanted=(202,))
            location = response.headers.get("Location")
            if not location:
                raise WrongResponse("it names no place to send a blob to", source=response.source, temporary=False)
            url = response.url.join(location)
            if not response.url.origin.allows(url.origin):
                raise SourceError(f"a blob is to be sent in the clear to {url.origin}: refused", source=response.source)
        finally:
            response.discard()
        field = f"digest={quote(str(digest), safe='')}"
        url = url.with_query(f"{url.query}&{field}" if url.query else field)
        self._done(self._send("PUT", url, data, "application/octet-stream"))

    def manifest(self, reference: Digest | str, raw: bytes, media_type: str) -> Mapping[str, str]:
        """Have a manifest under a tag or its digest.

        Returns:
            The head of the answer; empty when it was there.

        Raises:
            SourceError: the registry does not take it; why.
        """
        there = self.read(reference)
        if there == raw:
            return {}
        return self._done(self._send("PUT", f"{self._base}/manifests/{reference}", raw, media_type))

    def read(self, reference: Digest | str) -> bytes | None:
        """A manifest as it is there; None when there is none.

        Raises:
            SourceError: it cannot be asked for.
        """
        response = self._send("GET", f"{self._base}/manifests/{reference}", accept=ACCEPT)
        try:
            check_status(response)
            check_encoding(response)
            raw = response.read(MAX_SIZE + 1)
            check_document(response, raw, "a manifest")
        except NotFound:
            return None
        finally:
            response.close()
        if isinstance(reference, Digest) and not reference.matches(raw):
            raise DigestMismatch(f"{self.label}: manifest", expected=reference, actual=Digest.of(raw))
        return raw

    def has_referrers(self, manifest: Digest, media_type: str) -> bool:
        """Whether the registry knows what refers to a manifest.

        It is asked, because its word at a push (`OCI-Subject`) has been given by some that do not.
        """
        response = self._send("GET", f"{self._base}/referrers/{manifest}", accept=media_type)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        there = response.status == 200 and not response.elsewhere and kind == media_type
        response.discard()
        return there

    def _there(self, path: str) -> bool:
        response = self._send("HEAD", path)
        try:
            if response.status not in (200, 404):
                raise error_of(response)
            return response.status == 200
        finally:
            response.discard()

    def _done(self, response: Response) -> Mapping[str, str]:
        try:
            check_status(response, wanted=_CREATED)
            self.pushed += 1
            return response.headers
        finally:
            response.discard()

    def _send(
        self, method: str, url: Url | str, body: bytes | None = None, media_type: str = "", accept: str = ""
    ) -> Response:
        headers = {"Content-Type": media_type} if media_type else {}
        if accept:
            headers["Accept"] = accept
        return self._registry.ask(self._repository, url, headers, method=method, body=body)

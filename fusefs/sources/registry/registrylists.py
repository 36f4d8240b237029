"""RegistryLists: the chunk lists of one registry, wherever it keeps them.  Blocking.

Ollama's `chunksums` endpoint is asked first, as long as there is one; then what somebody has put beside the model
(`fusefs.sources.registry.published`).  That the endpoint is not there is remembered for the registry: a blob must not
cost a request that cannot succeed.
"""

from __future__ import annotations

import hashlib
import logging
import re
from typing import TYPE_CHECKING

from fusefs.errors import InvalidChunkList, InvalidInput, SourceError, WrongResponse
from fusefs.sources.registry.published import PublishedLists
from fusefs.sources.registry.responses import check_encoding, check_status, describe
from fusefs.values.chunks import ChunkList
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusefs.net.transport import Response
    from fusefs.sources.registry.published import Asked
    from fusefs.values.chunks import Blob
    from fusefs.values.names import Name

    Located = Callable[[Name, Blob, Response], None]
    """Told of an answer with a list: its head may say where the bytes are."""

log = logging.getLogger(__name__)

_NO_ENDPOINT = frozenset((400, 403, 404, 405, 406, 410, 501))
"""What registries without `chunksums` answer; whether the blob itself may be had, its own request will tell."""

_NO_PATH = frozenset((404, 405, 501))
"""Of these, what says that the path is unknown, where no error document of a registry says that the blob is."""

_MAX_DOCUMENT = 1 << 16
_FRONT_OF_WORD = re.compile(rb"sha256[:-][0-9A-Fa-f]{0,64}|[0-9]+(?:-[0-9]*)?")


class RegistryLists:
    """Of one registry.  Thread-safe."""

    def __init__(self, registry: Asked, located: Located = lambda *_: None) -> None:
        self._registry = registry
        self._located = located
        self._published = PublishedLists(registry)
        self._without_endpoint = False

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        """See `Source.chunk_list`.  Read whole and checked before anything is fetched by it.

        What was published beside a model is found where `name` says the digest of its manifest.
        """
        chunks = None if self._without_endpoint else self._endpoint(name, blob)
        if chunks is not None or name.digest is None:
            return chunks
        text = self._published.of_model(name.repository, name.digest).get(blob.digest)
        if text is None:
            return None
        chunks = self.stored_list(name.repository, blob, text)
        if chunks is None:
            self._published.drop(name.repository, name.digest, blob.digest)
        return chunks

    def tagged_list(self, repository: str, tag: str, blob: Blob) -> ChunkList | None:
        """The list of a blob in the manifest of lists with a tag, whatever model that belongs to."""
        text = self._published.of_tag(repository, tag).get(blob.digest)
        chunks = None if text is None else self.stored_list(repository, blob, text)
        if text is not None and chunks is None:
            self._published.drop(repository, tag, blob.digest)
        return chunks

    def stored_list(self, repository: str, blob: Blob, text: Digest) -> ChunkList | None:
        """The list of a blob whose text is the blob `text` of a repository; None when it is not there, or is none.

        Raises:
            SourceError: the registry cannot be asked now.
        """
        what = f"{self._registry.label}: the chunk list of {blob.digest.short} that was published as {text.short}"
        try:
            response = self._registry.ask(repository, f"/v2/{repository}/blobs/{text}", {})
            try:
                check_status(response)
                return read_list(blob, response, text)
            finally:
                response.close()
        except (InvalidInput, SourceError) as exc:
            if exc.temporary:
                raise
            log.warning("%s is not used: %s", what, exc)
            return None

    def forget(self) -> None:
        """Look again for what was not there."""
        self._published.forget()
        self._without_endpoint = False

    def _endpoint(self, name: Name, blob: Blob) -> ChunkList | None:
        response = self._registry.ask(name.repository, f"/v2/{name.repository}/chunksums/{blob.digest}", {})
        try:
            if response.status in _NO_ENDPOINT:
                code, _ = describe(response.read(_MAX_DOCUMENT))
                if response.status in _NO_PATH and not code and not response.elsewhere:
                    self._without_endpoint = True
                response.discard()
                return None
            check_status(response)
            check_encoding(response)
            if response.elsewhere:
                # Who has the bytes, and may have others, must not say which are right.
                log.warning(
                    "%s: the chunk list of %s is another host's, and not used", self._registry.label, blob.digest
                )
                response.discard()
                return None
            chunks = read_list(blob, response)
            self._located(name, blob, response)
            return chunks
        finally:
            response.close()


def read_list(blob: Blob, response: Response, text: Digest | None = None) -> ChunkList:
    """The list, with memory bounded whatever comes.

    Args:
        blob: of which.
        response: with the text.
        text: the digest of the text, where it is known.

    Raises:
        WrongResponse: it may be the front part of a good list, so it is worth asking again.
        InvalidInput: something in it is wrong, whatever might have followed.
    """
    tail, ended = b"", False
    seen = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        nonlocal tail, ended
        for piece in response.pieces():
            tail = (tail + piece)[-256:]
            seen.update(piece)
            yield piece
        ended = True

    try:
        chunks = ChunkList.parse(blob.size, pieces())
    except InvalidInput as exc:
        if ended and _looks_cut(tail, exc) and text is None:
            message = f"the chunk list of {blob.digest.short} is incomplete: {exc}"
            raise WrongResponse(message, source=response.source) from exc
        raise
    if text is not None and Digest.from_raw(seen.digest()) != text:
        raise InvalidChunkList(f"its text has the digest {Digest.from_raw(seen.digest())}")
    return chunks


def _looks_cut(tail: bytes, error: InvalidInput) -> bool:
    """Whether a list that ended in `tail` and was refused with `error` might only have ended too early."""
    last = (tail.split() or [b""])[-1]
    return isinstance(error, InvalidChunkList) or b"sha256:".startswith(last) or bool(_FRONT_OF_WORD.fullmatch(last))

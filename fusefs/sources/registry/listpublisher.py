"""Publishing: chunk lists into a registry, beside a model or by themselves, so that readers find them.  Blocking.

Beside a model (`publish`): the texts as blobs; a manifest of them whose subject is the model's, under its digest and
under a tag of its own, since garbage collection takes manifests without one; and where the registry has no referrers,
an entry in the index at the tag that stands for them.  By themselves (`publish_apart`): a manifest and a tag for each
blob.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.artifacts.listartifact import (
    EMPTY,
    ListArtifact,
    descriptor,
    fallback_tag,
    list_tag,
    list_title,
    media_type_of,
    with_referrer,
)
from fusefs.artifacts.manifest import OCI_INDEX, OCI_MANIFEST
from fusefs.errors import InvalidManifest, SourceError
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusefs.sources.registry.pusher import Pusher
    from fusefs.values.chunks import ChunkList

log = logging.getLogger(__name__)

_TRIES = 3
"""To add to the index: another one who writes it at the same time takes our entry away again."""


@dataclass(frozen=True, slots=True)
class Published:
    """What was made of one manifest of lists.

    Attributes:
        artifact: its digest.
        tags: under which it is found.
        by: how readers find it without knowing these: `referrers`, `index`, or empty.
        pushed: how many blobs and manifests had to be written.
    """

    artifact: Digest
    tags: tuple[str, ...]
    by: str
    pushed: int


def publish(pusher: Pusher, document: bytes, lists: Mapping[Blob, ChunkList]) -> Published:
    """Have the lists of some blobs of a model beside it.

    Args:
        pusher: of the model's repository.
        document: the model's manifest.
        lists: proved ones, at least one.

    Raises:
        SourceError: the registry does not take them.
    """
    before = pusher.pushed
    model = Digest.of(document)
    artifact = _push(pusher, lists, descriptor(media_type_of(document), document))
    pusher.manifest(list_tag(model), artifact.raw, OCI_MANIFEST)
    by = "referrers"
    if not pusher.has_referrers(model, OCI_INDEX):
        by = "index" if _add_to_index(pusher, model, artifact) else ""
    return Published(artifact.digest, (list_tag(model),), by, pusher.pushed - before)


def publish_apart(pusher: Pusher, lists: Mapping[Blob, ChunkList]) -> list[Published]:
    """Have each list under a tag that says its blob, for models that one cannot write beside.

    Raises:
        SourceError: the registry does not take them.
    """
    done = []
    for blob, chunks in lists.items():
        before = pusher.pushed
        artifact = _push(pusher, {blob: chunks}, None)
        tag = list_title(blob.digest)
        pusher.manifest(tag, artifact.raw, OCI_MANIFEST)
        done.append(Published(artifact.digest, (tag,), "", pusher.pushed - before))
    return done


def _push(pusher: Pusher, lists: Mapping[Blob, ChunkList], subject: dict[str, object] | None) -> ListArtifact:
    """The texts and the manifest of them, by its digest."""
    pusher.blob(EMPTY, Digest.of(EMPTY))
    texts: dict[Digest, Blob] = {}
    for blob, chunks in lists.items():
        text = "".join(chunks.format()).encode()
        texts[blob.digest] = Blob(Digest.of(text), len(text))
        pusher.blob(text, texts[blob.digest].digest)
    artifact = ListArtifact.of(texts, subject)
    pusher.manifest(artifact.digest, artifact.raw, OCI_MANIFEST)
    return artifact


def _add_to_index(pusher: Pusher, model: Digest, artifact: ListArtifact) -> bool:
    """Read the index, add to it, write it, look whether it is there; False when it does not stay, or is no index."""
    tag = fallback_tag(model)
    try:
        for _ in range(_TRIES):
            index = with_referrer(pusher.read(tag), artifact)
            if index is None:
                return True
            pusher.manifest(tag, index, OCI_INDEX)
        return with_referrer(pusher.read(tag), artifact) is None
    except (InvalidManifest, SourceError) as exc:
        # Readers find the tag of the lists all the same.
        log.warning("%s: the lists are not in the index at %s: %s", pusher.label, tag, exc)
        return False

"""ListArtifact: chunk lists beside a model in a registry, as an ordinary image manifest whose subject is the model.

One layer a list, its text as ever; which blob it is of says its title alone (`sha256-<hex>.chunksums`), so that
`oras attach` makes a valid one.  The lists are layers and the manifest has a tag of its own, because a registry's
garbage collection keeps nothing else.  Source: OCI image-spec 1.1 (subject, artifactType, the empty config),
distribution-spec 1.1 (referrers, and the tag `sha256-<hex>` where a registry has none).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from fusefs.artifacts.manifest import OCI_INDEX, OCI_MANIFEST, TITLE, decode_document, digest_in
from fusefs.errors import InvalidDigest, InvalidManifest
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ARTIFACT_TYPE = "application/vnd.fusefs.chunksums.v1"
TEXT_TYPE = "application/vnd.fusefs.chunksums.v1+text"
ANNOTATION = "vnd.fusefs.chunksums.digest"
"""On a layer of a model's manifest: the digest of the text of its list."""

EMPTY = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"

MAX_SIZE = 4 << 20
"""Bytes of a manifest of lists, or of an index of them; each list takes 300 of them."""

MAX_REFERRERS = 8
"""Manifests of an index that are looked at: anybody who can write to a repository can add a thousand."""

_MAX_OBJECTS = 1 << 16
_TITLE = re.compile(r"sha256-([0-9a-f]{64})\.chunksums")


class _Descriptor(msgspec.Struct, rename="camel", frozen=True):
    digest: str = ""
    size: int = 0
    media_type: str = ""
    artifact_type: str = ""
    annotations: dict[str, Any] | None = None


class _Document(msgspec.Struct, rename="camel", frozen=True):
    media_type: str = ""
    artifact_type: str = ""
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None
    subject: _Descriptor | None = None


_decoder = msgspec.json.Decoder(_Document)


def list_title(blob: Digest) -> str:
    """What the list of a blob is called: as a file, as a layer, and as a tag."""
    return f"{blob.file_name}.chunksums"


def list_tag(manifest: Digest) -> str:
    """The tag of the lists of the model with this manifest."""
    return f"{manifest.file_name}.chunksums"


def fallback_tag(manifest: Digest) -> str:
    """The tag of the index of all that refers to a manifest, in a registry without referrers."""
    return manifest.file_name


def blob_of(title: str) -> Digest | None:
    """The blob that a list with this title is of; None when it is no title of a list."""
    match = _TITLE.fullmatch(title)
    return None if match is None else Digest.parse(f"sha256:{match[1]}")


@dataclass(frozen=True, slots=True)
class ListArtifact:
    """Where the texts of some chunk lists lie.

    Attributes:
        raw: the bytes whose digest is `digest`.
        digest: of the manifest.
        subject: the manifest of the model; None where none is named.
        texts: of each blob the digest of its list's text, a blob of the same repository.
    """

    raw: bytes
    digest: Digest
    subject: Digest | None
    texts: Mapping[Digest, Digest]

    @classmethod
    def parse(cls, raw: bytes) -> ListArtifact:
        """Read a manifest of lists.

        Raises:
            InvalidManifest: it is something else, or has no list.
        """
        document = _decode(raw)
        kind = document.artifact_type or (document.config.media_type if document.config else "")
        if document.manifests is not None or kind != ARTIFACT_TYPE:
            raise InvalidManifest(f"no chunk lists: its type is {kind[:80]!r}, not {ARTIFACT_TYPE}")
        texts: dict[Digest, Digest] = {}
        for layer in document.layers or ():
            title = (layer.annotations or {}).get(TITLE)
            blob = blob_of(title) if isinstance(title, str) else None
            if blob is not None:
                texts.setdefault(blob, digest_in(layer.digest))
        if not texts:
            raise InvalidManifest("no chunk lists: no layer is called sha256-<hex>.chunksums")
        subject = digest_in(document.subject.digest) if document.subject is not None else None
        return cls(raw, Digest.of(raw), subject, texts)

    @classmethod
    def of(cls, texts: Mapping[Digest, Blob], subject: Mapping[str, Any] | None) -> ListArtifact:
        """Make one.

        Args:
            texts: of each blob the digest and the size of its list's text.
            subject: the descriptor of the model's manifest (`descriptor`).
        """
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": descriptor(EMPTY_TYPE, EMPTY) | {"data": "e30="},
            "layers": [
                {
                    "mediaType": TEXT_TYPE,
                    "digest": str(text.digest),
                    "size": text.size,
                    "annotations": {TITLE: list_title(blob)},
                }
                for blob, text in sorted(texts.items(), key=lambda item: item[0].hex)
            ],
        }
        if subject is not None:
            document["subject"] = dict(subject)
        raw = _encode(document)
        model = None if subject is None else Digest.parse(subject["digest"])
        return cls(raw, Digest.of(raw), model, {blob: text.digest for blob, text in texts.items()})


def descriptor(media_type: str, raw: bytes) -> dict[str, Any]:
    """What stands for some bytes in a manifest."""
    return {"mediaType": media_type, "digest": str(Digest.of(raw)), "size": len(raw)}


def media_type_of(raw: bytes) -> str:
    """What a manifest says that it is; OCI's, which may leave it out, where it says nothing.

    Raises:
        InvalidManifest: it is no JSON object.
    """
    return decode_document(raw, _decoder).media_type or OCI_MANIFEST


def annotated(raw: bytes) -> Mapping[Digest, Digest]:
    """Of each layer of a model's manifest that names the text of its list: that text's digest.

    An annotation that is no digest is none.
    """
    if ANNOTATION.encode() not in raw:
        return {}
    found: dict[Digest, Digest] = {}
    for layer in decode_document(raw, _decoder).layers or ():
        text = (layer.annotations or {}).get(ANNOTATION)
        try:
            if isinstance(text, str):
                found[Digest.parse(layer.digest)] = Digest.parse(text)
        except InvalidDigest:
            continue
    return found


# Indexes


def referring(raw: bytes) -> Sequence[Digest]:
    """The manifests of lists in an index, in its order: the last `MAX_REFERRERS`, of which the newest is the last.

    Who publishes better lists must not be beaten by what was there before.

    Raises:
        InvalidManifest: it is no index.
    """
    document = _decode(raw)
    if document.manifests is None or document.layers is not None:
        raise InvalidManifest("not an index")
    return [digest_in(entry.digest) for entry in document.manifests if entry.artifact_type == ARTIFACT_TYPE][
        -MAX_REFERRERS:
    ]


def with_referrer(raw: bytes | None, artifact: ListArtifact) -> bytes | None:
    """An index with one entry more; None when it is there already.

    What else is in the index stays as it stands, also what is not known here.

    Args:
        raw: the index as it is; None where there is none.
        artifact: what to add.

    Raises:
        InvalidManifest: what is there is no index.
    """
    index: Any = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    if raw is not None:
        referring(raw)
        try:
            index = json.loads(raw)
        except (ValueError, RecursionError) as exc:
            raise InvalidManifest(f"invalid index: {str(exc)[:200]}") from exc
    entries = index["manifests"]
    if any(entry.get("digest") == str(artifact.digest) for entry in entries):
        return None
    entries.append(descriptor(OCI_MANIFEST, artifact.raw) | {"artifactType": ARTIFACT_TYPE})
    return _encode(index)


def _decode(raw: bytes) -> _Document:
    return decode_document(raw, _decoder, size=MAX_SIZE, objects=_MAX_OBJECTS)


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode()

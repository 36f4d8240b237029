"""Index: one manifest out of several: the one for this machine.

Shape: OCI image-spec 1.1 image-index.md, Docker's manifest list.  Model families publish none (their variants are
tags); container images of models do, with an entry for each platform, and BuildKit adds attestations that are none.
"""

from __future__ import annotations

import msgspec

from fusefs.artifacts.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    decode_document,
    digest_in,
)
from fusefs.errors import InvalidManifest
from fusefs.values.digest import Digest

MAX_ENTRIES = 1000
_SHOWN = 8
"""Entries of an index that a message lists."""

_INDEXES = (OCI_INDEX, DOCKER_LIST)
_KNOWN = (*_INDEXES, DOCKER_MANIFEST, OCI_MANIFEST)
_IMAGES = "application/vnd.oci.image.", "application/vnd.docker."
_ATTESTATION = "attestation-manifest"


class _Platform(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


class _Notes(msgspec.Struct, frozen=True):
    reference: str = msgspec.field(name="vnd.docker.reference.type", default="")


class _Entry(msgspec.Struct, rename="camel", frozen=True):
    digest: str
    media_type: str = ""
    artifact_type: str = ""
    platform: _Platform | None = None
    annotations: _Notes | None = None


class _Layer(msgspec.Struct, frozen=True):
    """Only counted."""


class _Index(msgspec.Struct, rename="camel", frozen=True):
    media_type: str = ""
    manifests: list[_Entry] | None = None
    layers: list[_Layer] | None = None


_index = msgspec.json.Decoder(_Index)


def is_index(raw: bytes) -> bool:
    """Whether a document is an index.

    Raises:
        InvalidManifest: it is no document, or it may be read as an index and as a manifest (CVE-2021-41190).
    """
    return bool(_read(raw).manifests)


def check_media_type(raw: bytes, content_type: str) -> None:
    """Compare what a document says that it is with what the registry said.

    Servers of plain files say nothing of use (`application/octet-stream`), and are believed the document.

    Raises:
        InvalidManifest: they differ: another reader may take the document for something else (CVE-2021-41190).
    """
    said = content_type.partition(";")[0].strip().lower()
    if said not in _KNOWN:
        return
    document = _read(raw)
    is_one = bool(document.manifests) if not document.media_type else document.media_type in _INDEXES
    if document.media_type not in ("", said) or is_one != (said in _INDEXES):
        what = document.media_type[:80] or ("an index" if is_one else "a manifest")
        raise InvalidManifest(f"invalid manifest: the registry calls it {said}, and it calls itself {what!a}")


def choose_from_index(raw: bytes, architecture: str) -> Digest | None:
    """The one manifest of an index that a machine wants, or None when `raw` is not an index.

    Args:
        raw: a manifest or an index.
        architecture: of the machine, as Go calls it: `amd64`, `arm64`.

    Raises:
        InvalidManifest: a person must choose; or the only choice is an index again.
    """
    entries = _read(raw).manifests
    if not entries:
        return None
    if len(entries) > MAX_ENTRIES:
        raise InvalidManifest(f"invalid index: {len(entries)} manifests, at most {MAX_ENTRIES} are accepted")
    found = [entry for entry in entries if _may_be_meant(entry)]
    mine = [
        entry
        for entry in found
        if entry.platform is not None and (entry.platform.os, entry.platform.architecture) == ("linux", architecture)
    ]
    chosen = mine or found
    if len(chosen) > 1 and len({entry.digest for entry in chosen}) > 1:
        several = ", ".join(_shown(entry) for entry in chosen[:_SHOWN])
        raise InvalidManifest(
            f"this is an index of {len(entries)} manifests, and none is for linux/{architecture} alone; "
            f"name one by its digest: {several}"
        )
    if not chosen:
        raise InvalidManifest(f"this is an index of {len(entries)} manifests, and none of them is a model or an image")
    if chosen[0].media_type in _INDEXES:
        raise InvalidManifest(
            f"this is an index of an index ({_shown(chosen[0])}), which may go round in a circle; "
            "name a manifest in it by its digest"
        )
    return digest_in(chosen[0].digest)


def _may_be_meant(entry: _Entry) -> bool:
    """Not an attestation, and no signature or chunk list that lies beside the image."""
    if entry.annotations is not None and entry.annotations.reference == _ATTESTATION:
        return False
    if entry.platform is not None and entry.platform.os == entry.platform.architecture == "unknown":
        return False
    return not entry.artifact_type or "model" in entry.artifact_type or entry.artifact_type.startswith(_IMAGES)


def _shown(entry: _Entry) -> str:
    platform = f" ({entry.platform})"[:40] if entry.platform is not None else ""
    return f"@{entry.digest}"[:80] + platform


def _read(raw: bytes) -> _Index:
    index = decode_document(raw, _index)
    if index.manifests and index.layers:
        raise InvalidManifest("invalid manifest: it has both layers and manifests, which may mean two things")
    # An empty `manifests` beside layers is a manifest; without layers it is an index of nothing.
    if index.manifests is not None and index.layers is None and index.media_type in _INDEXES and not index.manifests:
        raise InvalidManifest("invalid index: it has no manifests")
    return index

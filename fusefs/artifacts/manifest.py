"""Manifest: the layers of a model, typed, from the raw bytes whose sha256 is the manifest's digest.

Shape: Docker's schema 2 and OCI's image manifest, with Ollama's `name` and `from` on a layer.  Everything in here
came from the network: sizes and counts are bounded, and names are only text until `fusefs.vfs.layout` has checked
them.  Source: Docker registry HTTP API V2, OCI image-spec 1.1, Ollama's `manifest` package.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from fusefs.errors import InvalidDigest, InvalidManifest
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"

ACCEPT = ", ".join((DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX))
"""One Accept header must name all four: docker-registry answers 404 to less."""

MAX_MANIFEST_SIZE = 16 << 20
"""Bytes of a manifest that are read at most; 65,536 layers with long names fit in."""

MAX_LAYERS = 1 << 16

_MAX_OBJECTS = 4 * MAX_LAYERS
"""Braces that a manifest may open: an object costs ten times its text while it is decoded.  A layer has three."""

TITLE = "org.opencontainers.image.title"


class _Annotations(msgspec.Struct, frozen=True):
    """The one annotation that is read; the others are stepped over without being kept."""

    title: str = msgspec.field(name=TITLE, default="")


class _Descriptor(msgspec.Struct, rename="camel", frozen=True):
    """A config, a layer, or an entry of an index, as it stands in the JSON."""

    digest: str
    size: int = 0
    media_type: str = ""
    name: str = ""
    annotations: _Annotations | None = None


class _Document(msgspec.Struct, rename="camel", frozen=True):
    schema_version: int = 2
    media_type: str = ""
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None


_decoder = msgspec.json.Decoder(_Document)


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob with a media type and perhaps a name of its own.

    Attributes:
        media_type: as in the manifest; empty when left out.
        blob: digest and size.
        name: the layer's `name`, else its title annotation, else empty; unchecked text.
    """

    media_type: str
    blob: Blob
    name: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model is made of.

    Attributes:
        raw: the bytes as they came; their sha256 is `digest`.
        digest: of `raw`.
        config: the config blob, where there is one.
        layers: in the manifest's order; at least one.
    """

    raw: bytes
    digest: Digest
    config: Layer | None
    layers: tuple[Layer, ...]

    @classmethod
    def parse(cls, raw: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            InvalidManifest: not JSON, no layers, an index, a bad digest or size, too many layers.
        """
        document = _decode(raw)
        if document.layers is None and document.manifests:
            raise InvalidManifest("this is an index of several manifests; name one of them by its digest")
        if not document.layers:
            raise InvalidManifest("invalid manifest: it has no layers")
        if len(document.layers) > MAX_LAYERS:
            raise InvalidManifest(f"invalid manifest: {len(document.layers)} layers, at most {MAX_LAYERS} are accepted")
        config = _layer(document.config) if document.config is not None and document.config.digest else None
        manifest = cls(raw, Digest.of(raw), config, tuple(map(_layer, document.layers)))
        _check_sizes(manifest.blobs())
        return manifest

    def blobs(self) -> list[Blob]:
        """Every blob of the model, config first; a blob that is named twice stands twice."""
        return [layer.blob for layer in ((self.config, *self.layers) if self.config else self.layers)]


def choose_from_index(raw: bytes) -> Digest | None:
    """The one manifest of an index, or None when `raw` is not an index.

    Raises:
        InvalidManifest: several manifests: a person must choose.
    """
    document = _decode(raw)
    if document.layers is not None or not document.manifests:
        return None
    if len(document.manifests) == 1:
        return _digest(document.manifests[0])
    several = ", ".join(f"@{entry.digest}"[:80] for entry in document.manifests[:4])
    raise InvalidManifest(f"this is an index of {len(document.manifests)} manifests; name one by its digest: {several}")


def _decode(raw: bytes) -> _Document:
    if len(raw) > MAX_MANIFEST_SIZE:
        raise InvalidManifest(f"invalid manifest: {len(raw)} bytes, at most {MAX_MANIFEST_SIZE} are accepted")
    if raw.count(b"{") > _MAX_OBJECTS:
        raise InvalidManifest(f"invalid manifest: more than {_MAX_OBJECTS} objects")
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidManifest(f"invalid manifest: {str(exc)[:200]}") from exc


def _digest(descriptor: _Descriptor) -> Digest:
    try:
        return Digest.parse(descriptor.digest)
    except InvalidDigest as exc:
        raise InvalidManifest(f"invalid manifest: {exc}") from exc


def _layer(descriptor: _Descriptor) -> Layer:
    if not 0 <= descriptor.size <= MAX_BLOB_SIZE:
        raise InvalidManifest(f"invalid manifest: a layer of {descriptor.size} bytes")
    name = descriptor.name or (descriptor.annotations.title if descriptor.annotations else "")
    return Layer(descriptor.media_type, Blob(_digest(descriptor), descriptor.size), name)


def _check_sizes(blobs: list[Blob]) -> None:
    """One digest has one size; two would be two files that share a cache entry."""
    sizes: dict[Digest, int] = {}
    for blob in blobs:
        if sizes.setdefault(blob.digest, blob.size) != blob.size:
            raise InvalidManifest(f"invalid manifest: {blob.digest} is listed with two sizes")

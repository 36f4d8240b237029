"""Manifest: the layers of a model, typed, from the raw bytes whose sha256 is the manifest's digest.

Shape: Docker's schema 2 and OCI's image manifest, with Ollama's `name` and `from` on a layer.  Everything in here
came from the network: sizes and counts are bounded, and names are only text until `fusefs.artifacts.paths` has checked
them.  Source: Docker registry HTTP API V2, OCI image-spec 1.1, Ollama's `manifest` package, CNCF model-spec
docs/annotations.md, oras-go's content/file.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from fusefs.artifacts.forms import Packing, is_tar, packing_of
from fusefs.artifacts.times import nanoseconds
from fusefs.errors import InvalidDigest, InvalidManifest
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest

T = TypeVar("T")

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"

ACCEPT = ", ".join((DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX))
"""One Accept header must name all four: docker-registry answers 404 to less."""

MAX_MANIFEST_SIZE = 16 << 20
"""Bytes of a manifest that are read at most; 65,536 layers with long names fit in."""

MAX_LAYERS = 1 << 16

MAX_OBJECTS = 4 * MAX_LAYERS
"""Braces that a manifest may open: an object costs ten times its text while it is decoded.  A layer has three."""

FILE = "application/vnd.fusefs.file"
"""A file of a plain folder; a model of nothing else is shown as that folder, with no file of ours in it."""

HUB_TREE = "application/vnd.fusefs.hub.tree.v1+json"
"""A tree of the Hugging Face Hub (`fusefs.artifacts.hubtree`); files that it keeps in git have the digests of git."""

TITLE = "org.opencontainers.image.title"


FILEPATH = "org.cncf.model.filepath"
METADATA = "org.cncf.model.file.metadata+json"
UNPACK = "io.deis.oras.content.unpack"
CREATED = "org.opencontainers.image.created"

IMAGE_CONFIGS = frozenset(
    ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
)
IMAGE_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
"""What the media types of the layers of container images begin with."""

_MAX_METADATA = 1 << 14
_COMMIT = re.compile(r"[0-9a-f]{40}")


class _Annotations(msgspec.Struct, frozen=True):
    """The annotations that are read; the others are stepped over without being kept.  `cnai` was ModelPack's name."""

    title: str = msgspec.field(name=TITLE, default="")
    filepath: str = msgspec.field(name=FILEPATH, default="")
    cnai: str = msgspec.field(name="org.cnai.model.filepath", default="")
    metadata: str = msgspec.field(name=METADATA, default="")
    cnai_metadata: str = msgspec.field(name="org.cnai.model.file.metadata+json", default="")
    unpack: str = msgspec.field(name=UNPACK, default="")
    unpacked: str = msgspec.field(name="io.deis.oras.content.digest", default="")
    created: str = msgspec.field(name=CREATED, default="")


class _Metadata(msgspec.Struct, frozen=True):
    """What ModelPack's metadata say of a file, as far as it is shown."""

    name: str = ""
    mtime: str = ""


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
    commit: str = ""
    annotations: _Annotations | None = None


_NONE = _Annotations()
_decoder = msgspec.json.Decoder(_Document)
_metadata = msgspec.json.Decoder(_Metadata)


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob with a media type and perhaps a name of its own.

    Attributes:
        media_type: as in the manifest; empty when left out.
        blob: digest and size.
        name: the path that annotations give it, else the layer's `name` (Ollama), else empty; unchecked text.
        mtime_ns: the time that its file had, in nanoseconds; 0 where nobody says.
        raw: what looks like an archive is one file: `oras push` calls any file so.
        unpacked: the digest of what it is decompressed, as `oras` notes it; unchecked text.
    """

    media_type: str
    blob: Blob
    name: str = ""
    mtime_ns: int = 0
    raw: bool = False
    unpacked: str = ""

    @property
    def packing(self) -> Packing:
        """How its bytes are compressed; empty for a layer that is shown as it is."""
        return "" if self.raw else packing_of(self.media_type)

    @property
    def is_tar(self) -> bool:
        """Whether it is an archive, whose files are shown."""
        return not self.raw and is_tar(self.media_type)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model is made of.

    Attributes:
        raw: the bytes as they came; their sha256 is `digest`.
        digest: of `raw`.
        config: the config blob, where there is one.
        layers: in the manifest's order; at least one.
        created_ns: when it was made, in nanoseconds; 0 where it does not say.
        commit: of a tree of the Hub, whose files may have digests of git; empty of all others.
    """

    raw: bytes
    digest: Digest
    config: Layer | None
    layers: tuple[Layer, ...]
    created_ns: int = 0
    commit: str = ""

    @classmethod
    def parse(cls, raw: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            InvalidManifest: not JSON, no layers, an index, a bad digest or size, too many layers.
        """
        document = decode_document(raw, _decoder)
        if document.manifests:
            if document.layers:
                raise InvalidManifest("invalid manifest: it has both layers and manifests, which may mean two things")
            raise InvalidManifest("this is an index of several manifests, or one in another; name one by its digest")
        if not document.layers:
            raise InvalidManifest("invalid manifest: it has no layers")
        if len(document.layers) > MAX_LAYERS:
            raise InvalidManifest(f"invalid manifest: {len(document.layers)} layers, at most {MAX_LAYERS} are accepted")
        config = _layer(document.config) if document.config is not None and document.config.digest else None
        image = config is not None and config.media_type in IMAGE_CONFIGS
        commit = _commit(document)
        layers = tuple(_file_of_hub(one) if commit else _layer(one, image=image) for one in document.layers)
        created = nanoseconds((document.annotations or _NONE).created)
        manifest = cls(raw, Digest.of(raw), config, layers, created, commit)
        _check_sizes(manifest.blobs())
        return manifest

    def blobs(self) -> list[Blob]:
        """Every blob of the model, config first; a blob that is named twice stands twice."""
        return [layer.blob for layer in ((self.config, *self.layers) if self.config else self.layers)]


def decode_document(
    raw: bytes, decoder: msgspec.json.Decoder[T], *, size: int = MAX_MANIFEST_SIZE, objects: int = MAX_OBJECTS
) -> T:
    """Read a document of a registry, of at most `size` bytes and `objects` JSON objects.

    Raises:
        InvalidManifest: it is larger, or no such document.
    """
    if len(raw) > size:
        raise InvalidManifest(f"invalid manifest: {len(raw)} bytes, at most {size} are accepted")
    if raw.count(b"{") > objects:
        raise InvalidManifest(f"invalid manifest: more than {objects} objects")
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidManifest(f"invalid manifest: {str(exc)[:200]}") from exc


def digest_in(text: str) -> Digest:
    """The digest of an entry of such a document.

    Raises:
        InvalidManifest: it is none.
    """
    try:
        return Digest.parse(text)
    except InvalidDigest as exc:
        raise InvalidManifest(f"invalid manifest: {exc}") from exc


def _commit(document: _Document) -> str:
    """That of a tree of the Hub."""
    if document.media_type != HUB_TREE:
        return ""
    if not _COMMIT.fullmatch(document.commit):
        raise InvalidManifest("invalid manifest: a tree of the Hub without its commit")
    return document.commit


def _file_of_hub(descriptor: _Descriptor) -> Layer:
    try:
        digest = Digest.from_text(descriptor.digest)
    except InvalidDigest as exc:
        raise InvalidManifest(f"invalid manifest: {exc}") from exc
    return Layer(FILE, _blob(digest, descriptor), descriptor.name)


def _blob(digest: Digest, descriptor: _Descriptor) -> Blob:
    if not 0 <= descriptor.size <= MAX_BLOB_SIZE:
        raise InvalidManifest(f"invalid manifest: a layer of {descriptor.size} bytes")
    return Blob(digest, descriptor.size)


def _layer(descriptor: _Descriptor, *, image: bool = False) -> Layer:
    notes = descriptor.annotations or _NONE
    metadata = _metadata_of(notes.metadata or notes.cnai_metadata)
    name = notes.filepath or notes.cnai or notes.title or metadata.name or descriptor.name
    # `oras push` calls each file a tar layer; what it has packed itself, a folder, it marks.
    raw = not image and descriptor.media_type.startswith(IMAGE_LAYERS) and bool(notes.title) and notes.unpack != "true"
    blob = _blob(digest_in(descriptor.digest), descriptor)
    return Layer(descriptor.media_type, blob, name, nanoseconds(metadata.mtime), raw, notes.unpacked)


def _metadata_of(text: str) -> _Metadata:
    """Hints only: what cannot be read says nothing."""
    if text and len(text) <= _MAX_METADATA:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
            return _metadata.decode(text)
    return _Metadata()


def _check_sizes(blobs: list[Blob]) -> None:
    """One digest has one size; two would be two files that share a cache entry."""
    sizes: dict[Digest, int] = {}
    for blob in blobs:
        if sizes.setdefault(blob.digest, blob.size) != blob.size:
            raise InvalidManifest(f"invalid manifest: {blob.digest} is listed with two sizes")

"""Artifacts: models as the tools of each family push them, built from the published specs, and the files they are."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import urllib3

from fusefs.formats.tar import read_table
from tests.components import push_blob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fusefs.values.tartable import TarTable

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
FILEPATH = "org.cncf.model.filepath"
TITLE = "org.opencontainers.image.title"
EMPTY = "application/vnd.oci.empty.v1+json"

WEIGHTS = bytes(range(256)) * 300
"""No tensor is in them; they are of a size that is no multiple of anything."""


def digest_of(content: bytes) -> str:
    """As a manifest writes it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def tar_of(
    files: Mapping[str, bytes] | Iterable[tuple[str, bytes]] = (),
    *,
    links: Iterable[tuple[str, str, bytes]] = (),
    folders: Iterable[str] = (),
    format: int = tarfile.PAX_FORMAT,  # noqa: A002  # as tarfile has it
) -> bytes:
    """An archive of files, folders, and links: path, target and type."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        for path in folders:
            archive.addfile(_info(path, type=tarfile.DIRTYPE))
        for path, content in files.items() if hasattr(files, "items") else files:
            archive.addfile(_info(path, size=len(content)), io.BytesIO(content))
        for path, target, kind in links:
            archive.addfile(_info(path, type=kind, linkname=target))
    return stream.getvalue()


def table_of(data: bytes) -> TarTable:
    """The table of an archive in memory."""
    return read_table(lambda off, size: data[off : off + size], len(data))


def _info(path: str, **more: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.mtime = 1_700_000_000
    for name, value in more.items():
        setattr(info, name, value)
    return info


@dataclass
class Artifact:
    """A model in a registry.

    Attributes:
        manifest: the document.
        media_type: of it.
        blobs: contents.
        files: what a mount shows.
    """

    manifest: bytes
    media_type: str = OCI_MANIFEST
    blobs: list[bytes] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Builder:
    """Puts a manifest together.

    Attributes:
        config: media type and content of the config.
        media_type: of the manifest.
        artifact_type: empty for none.
    """

    config: tuple[str, bytes] = (EMPTY, b"{}")
    media_type: str = OCI_MANIFEST
    artifact_type: str = ""
    layers: list[dict[str, Any]] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)

    def layer(self, media_type: str, content: bytes, annotations: Mapping[str, str] = {}, **more: Any) -> Builder:
        """One more layer."""
        layer = {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}
        self.layers.append({**layer, "annotations": dict(annotations)} if annotations else layer)
        self.blobs.append(content)
        return self

    def artifact(self, files: Mapping[str, bytes] = {}, **more: Any) -> Artifact:
        """The whole, with the files that it shows."""
        media_type, config = self.config
        document = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            **({"artifactType": self.artifact_type} if self.artifact_type else {}),
            "config": {"mediaType": media_type, "digest": digest_of(config), "size": len(config)},
            "layers": self.layers,
            **more,
        }
        return Artifact(json.dumps(document).encode(), self.media_type, [config, *self.blobs], dict(files))


def modelpack() -> Artifact:
    """CNCF model-spec docs/spec.md "OCI Image Manifest Specification", docs/annotations.md: raw and tar layers."""
    model = "application/vnd.cncf.model."
    metadata = json.dumps({"name": "README.md", "mode": 420, "size": 5, "mtime": "2025-06-30T10:20:30.5Z"})
    code = {"src/run.py": b"print()\n", "src/__init__.py": b""}
    builder = Builder(
        (model + "config.v1+json", b'{"modelfs":{"type":"layers"}}'), artifact_type=model + "manifest.v1+json"
    )
    builder.layer(model + "weight.v1.raw", WEIGHTS, {FILEPATH: "model.safetensors"})
    builder.layer(model + "weight.config.v1.raw", b'{"a":1}', {FILEPATH: "config.json"})
    builder.layer(model + "doc.v1.raw", b"# Hi\n", {"org.cncf.model.file.metadata+json": metadata})
    builder.layer(model + "code.v1.tar", tar_of(code, folders=["src"]), {FILEPATH: "src"})
    return builder.artifact({"model.safetensors": WEIGHTS, "config.json": b'{"a":1}', "README.md": b"# Hi\n", **code})


def cnai() -> Artifact:
    """The same before model-spec#81: `vnd.cnai`, with annotations of that name."""
    model = "application/vnd.cnai.model."
    builder = Builder((model + "config.v1+json", b"{}"), artifact_type=model + "manifest.v1+json")
    builder.layer(model + "weight.v1.tar", tar_of({"w/model.gguf": WEIGHTS}), {"org.cnai.model.filepath": "w"})
    builder.layer(model + "doc.v1.raw", b"MIT", {"org.cnai.model.filepath": "LICENSE"})
    return builder.artifact({"w/model.gguf": WEIGHTS, "LICENSE": b"MIT"})


def model_runner() -> Artifact:
    """docker/model-spec spec.md "Layers" v0.1: files by their place, and two kinds of archives."""
    ai = "application/vnd.docker.ai."
    builder = Builder((ai + "model.config.v0.1+json", b'{"config":{"format":"gguf"}}'))
    parts = [WEIGHTS + bytes([number]) for number in range(3)]
    for part in parts:
        builder.layer(ai + "gguf.v3", part)
    builder.layer(ai + "gguf.v3.mmproj", b"projector").layer(ai + "chat.template.jinja", b"{{ x }}")
    builder.layer(ai + "license", b"Apache-2.0")
    builder.layer(ai + "vllm.config.tar", tar_of({"tokenizer.json": b"{}", "./config.json": b"{ }"}))
    builder.layer(ai + "dir.tar", tar_of({"vae/config.json": b"[]"}, folders=["vae"]))
    shards = {f"model-{number:05}-of-00003.gguf": part for number, part in enumerate(parts, 1)}
    named = {"model.mmproj": b"projector", "template.jinja": b"{{ x }}", "LICENSE": b"Apache-2.0"}
    return builder.artifact(shards | named | {"tokenizer.json": b"{}", "config.json": b"{ }", "vae/config.json": b"[]"})


def model_runner_2() -> Artifact:
    """docker/model-runner types/config.go v0.2: a layer for each file; one without a path is no file."""
    ai = "application/vnd.docker.ai."
    builder = Builder((ai + "model.config.v0.2+json", b"{}"))
    builder.layer(ai + "safetensors", WEIGHTS, {FILEPATH: "text_encoder/model.safetensors"})
    builder.layer(ai + "model.file", b"{}", {FILEPATH: "text_encoder/config.json"})
    builder.layer(ai + "model.file", b"{}", {FILEPATH: "text_encoder/config.json"})
    builder.layer(ai + "model.file", b"nowhere")
    return builder.artifact({"text_encoder/model.safetensors": WEIGHTS, "text_encoder/config.json": b"{}"})


def kitops() -> Artifact:
    """kitops docs "ModelKit specification", mediatype.go: tar by default; the config names raw layers."""
    kit = "application/vnd.kitops.modelkit."
    part = WEIGHTS[::-1]
    kitfile = {
        "manifestVersion": "1.0.0",
        "package": {"name": "m"},
        "model": {
            "path": "./model",
            "parts": [{"path": "parts/b.gguf", "layerInfo": {"digest": digest_of(part), "diffId": digest_of(part)}}],
        },
    }
    config = json.dumps(kitfile).encode()
    builder = Builder((kit + "config.v1+json", config), artifact_type=kit + "manifest.v1+json")
    builder.layer(kit + "model.v1.tar", tar_of({"model/a.gguf": WEIGHTS}, folders=["model"]))
    builder.layer(kit + "modelpart.v1.raw", part)
    builder.layer(kit + "docs.v1.raw", b"read me", {FILEPATH: "README.md"})
    files = {"model/a.gguf": WEIGHTS, "parts/b.gguf": part, "README.md": b"read me", "Kitfile": config}
    return builder.artifact(files)


def oras() -> Artifact:
    """oras-go content/file: `oras push` of files, whose media type says tar and which are none; nested titles."""
    layer = "application/vnd.oci.image.layer.v1.tar"
    builder = Builder(artifact_type="application/vnd.example.model")
    builder.layer(layer, WEIGHTS, {TITLE: "model.gguf"}).layer("text/plain", b"x", {TITLE: "docs/a.txt"})
    return builder.artifact({"model.gguf": WEIGHTS, "docs/a.txt": b"x"})


def podman() -> Artifact:
    """`podman artifact add` and RamaLama: ModelPack's artifact type, titles by podman (ramalama transports/oci)."""
    builder = Builder(artifact_type="application/vnd.cncf.model.manifest.v1+json")
    builder.layer("application/octet-stream", WEIGHTS, {TITLE: "tiny.gguf"})
    return builder.artifact({"tiny.gguf": WEIGHTS})


def ollama() -> Artifact:
    """Ollama manifest/layer.go on any registry: files by media type, tensors by the descriptor's `name`."""
    kind = "application/vnd.ollama.image."
    config = b'{"model_format":"safetensors"}'
    builder = Builder(("application/vnd.docker.container.image.v1+json", config), DOCKER_MANIFEST)
    builder.layer(kind + "tensor", WEIGHTS, name="blk.0/attn.weight").layer(kind + "json", b"{}", name="config.json")
    builder.layer(kind + "template", b"{{ .Prompt }}")
    artifact = builder.artifact({"blk.0/attn.weight": WEIGHTS, "config.json": b"{}", "template": b"{{ .Prompt }}"})
    artifact.files["manifest.json"] = artifact.manifest
    return artifact


def modelcar() -> Artifact:
    """KServe modelcars: an image whose layers lie over each other (image-spec layer.md), the model below /models."""
    layer = "application/vnd.oci.image.layer.v1.tar"
    builder = Builder(("application/vnd.oci.image.config.v1+json", b'{"rootfs":{"type":"layers"}}'))
    builder.layer(
        layer, tar_of({"bin/sh": b"#!", "models/old.gguf": b"old", "models/sub/a": b"a", "models/sub/b": b"b"})
    )
    builder.layer(layer, tar_of({"models/model.gguf": WEIGHTS, "models/.wh.old.gguf": b"", "models/c": b"1"}))
    links = [
        ("models/model.file", "./model.gguf", tarfile.SYMTYPE),
        ("models/hard", "models/c", tarfile.LNKTYPE),
        ("models/out", "../../etc/passwd", tarfile.SYMTYPE),
    ]
    files = [("models/sub/.wh..wh..opq", b""), ("models/sub/b", b"new b"), ("models/c", b"2")]
    builder.layer(layer, tar_of(files, links=links))
    shown = {"model.gguf": WEIGHTS, "model.file": WEIGHTS, "sub/b": b"new b", "c": b"2", "hard": b"2"}
    return builder.artifact(shown)


FAMILIES: dict[str, Callable[[], Artifact]] = {
    one.__name__: one for one in (modelpack, cnai, model_runner, model_runner_2, kitops, oras, podman, ollama, modelcar)
}


def index_of(*children: tuple[Artifact, dict[str, Any]]) -> bytes:
    """An index, with what is said of each manifest in it."""
    entries = [
        {"mediaType": one.media_type, "digest": digest_of(one.manifest), "size": len(one.manifest), **more}
        for one, more in children
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


def push_artifact(address: str, repository: str, tag: str, artifact: Artifact) -> None:
    """Push a model to a registry as a client does: blobs first, then the manifest."""
    with urllib3.PoolManager(retries=False, timeout=30) as http:
        for content in artifact.blobs:
            push_blob(http, f"http://{address}/v2/{repository}", content)
        push_manifest(address, repository, tag, artifact.manifest, artifact.media_type)


def push_manifest(address: str, repository: str, tag: str, document: bytes, media_type: str) -> None:
    """Push a manifest or an index whose blobs are there."""
    url = f"http://{address}/v2/{repository}/manifests/{tag}"
    answer = urllib3.request("PUT", url, body=document, headers={"Content-Type": media_type}, retries=False)
    assert answer.status == 201, answer.data

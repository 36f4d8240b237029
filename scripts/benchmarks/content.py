"""Content: model files of a wanted size, and the tree that a static web server shows as a registry.

Every MiB differs from every other, so that a chunk in the wrong place is noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.benchmarks.machine import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHUNK = MIB
TENSORS = 200
GGUF_TYPE = "application/vnd.ollama.image.model"
FILE_TYPE = "application/vnd.fusefs.file"
_ALIGNMENT = 32
_TOKENS = 8000


@dataclass(frozen=True, slots=True)
class Model:
    """One model with one file.

    Attributes:
        name: of the model: `library/<name>:latest`.
        file: the name of its file in a mount and under /plain/.
        plain: the file itself, as the server has it.
        digest: `sha256:…` of all of it.
        size: in bytes.
        header: bytes before the data of the first tensor.
    """

    name: str
    file: str
    plain: Path
    digest: str
    size: int
    header: int

    @property
    def blob(self) -> str:
        """The path of its blob on the server."""
        return f"/v2/library/{self.name}/blobs/{self.digest}"


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies in its file: offset and length in bytes."""

    name: str
    off: int
    size: int


def blocks(size: int) -> Iterator[bytes]:
    """`size` bytes that do not compress, in pieces that all differ."""
    noise = random.Random(3).randbytes(MIB)
    for number in range(-(-size // MIB)):
        yield (number.to_bytes(8, "little") + noise[8:])[: size - number * MIB]


def gguf_header(size: int, path: Path) -> int:
    """Write the metadata of a language model with tensors of `size` bytes together; returns its length in bytes."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("benchmark")
    writer.add_context_length(4096)
    writer.add_embedding_length(2048)
    writer.add_block_count(TENSORS)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"token{number}" for number in range(_TOKENS)])
    writer.add_token_scores([float(number) for number in range(_TOKENS)])
    each = size // TENSORS // 128 * 128
    for number in range(TENSORS):
        writer.add_tensor_info(f"blk.{number}.weight", [each // 4], np.dtype(np.float32), each)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    length = path.stat().st_size
    padding = -length % _ALIGNMENT
    with path.open("ab") as file:
        file.write(bytes(padding))
    return length + padding


def safetensors_header(size: int, path: Path) -> int:
    """Write the header of a file with tensors of `size` bytes together; returns its length in bytes."""
    each = size // TENSORS // 4 * 4
    header = {
        f"layers.{number}.weight": {
            "dtype": "F32",
            "shape": [each // 4],
            "data_offsets": [number * each, (number + 1) * each],
        }
        for number in range(TENSORS)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    return 8 + len(text)


def tensors_of(model: Model) -> list[Tensor]:
    """Where the tensors of a safetensors file lie, in file order."""
    with model.plain.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return [
        Tensor(name, 8 + length + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in header.items()
    ]


def chunks_of(off: int, size: int) -> set[int]:
    """The numbers of the chunks that hold a part of a file."""
    return set(range(off // CHUNK, (off + size - 1) // CHUNK + 1))


def make_model(www: Path, name: str, file: str, size: int) -> Model:
    """Write a model of `size` bytes, its manifest and its chunksums, below `www`."""
    data = (size - MIB) // TENSORS // 128 * 128 * TENSORS

    def write(path: Path) -> int:
        header = gguf_header(data, path) if file.endswith(".gguf") else safetensors_header(data, path)
        with path.open("ab", buffering=0) as out:
            for block in blocks(data):
                out.write(block)
        return header

    return make_written(www, name, file, write)


def make_written(www: Path, name: str, file: str, write: Callable[[Path], int | None]) -> Model:
    """Have a file written, which returns the length of its header where that matters, and make a model of it."""
    folder = www / "v2/library" / name
    for part in ("blobs", "manifests", "chunksums"):
        (folder / part).mkdir(parents=True)
    (www / "plain").mkdir(exist_ok=True)
    plain = www / "plain" / file
    header = write(plain) or 0
    digest, lines = _hash(plain)
    os.link(plain, folder / "blobs" / digest)
    (folder / "chunksums" / digest).write_text("".join(lines))
    layer = {
        "mediaType": GGUF_TYPE if file.endswith(".gguf") else FILE_TYPE,
        "digest": digest,
        "size": plain.stat().st_size,
        "name": file,
        "annotations": {"org.opencontainers.image.title": file},
    }
    write_manifest(folder / "manifests/latest", [layer])
    return Model(name, file, plain, digest, plain.stat().st_size, header)


def write_manifest(path: Path, layers: list[dict[str, object]]) -> None:
    """As a registry keeps it."""
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    path.write_text(json.dumps({"schemaVersion": 2, "mediaType": kind, "layers": layers}))


def _hash(path: Path) -> tuple[str, list[str]]:
    """The digest of a file, and its chunksums."""
    whole, lines, off = hashlib.sha256(), [], 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            whole.update(chunk)
            lines.append(f"sha256:{hashlib.sha256(chunk).hexdigest()} {off}-{off + len(chunk) - 1}\n")
            off += len(chunk)
    return f"sha256:{whole.hexdigest()}", lines

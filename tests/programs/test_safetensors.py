"""safetensors and tokenizers on a mount."""

from __future__ import annotations

import json
import struct
import sys
from typing import TYPE_CHECKING

import pytest
import urllib3

from fusefs.values.chunks import ChunkList
from tests.programs.world import run, shell

if TYPE_CHECKING:
    from pathlib import Path

    from tests.programs.world import World

pytestmark = pytest.mark.reads

ONE_TENSOR = """
import hashlib, sys
from safetensors import safe_open
with safe_open(sys.argv[1], framework="numpy") as file:
    print(hashlib.sha256(file.get_tensor("b").tobytes()).hexdigest())
"""

EMBED = """
import hashlib, json, sys
from pathlib import Path
from safetensors import safe_open
from tokenizers import Tokenizer
folder = Path(sys.argv[1])
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
encoded = tokenizer.encode("A file system that fetches what is read.")
with safe_open(folder / "model.safetensors", framework="numpy") as file:
    words = file.get_slice("embeddings.word_embeddings.weight")
    rows = [words[i:i + 1].tobytes() for i in encoded.ids]
    names = sorted(file.keys())
    digests = {name: hashlib.sha256(file.get_tensor(name).tobytes()).hexdigest() for name in names[:8]}
print(json.dumps([encoded.tokens, [hashlib.sha256(row).hexdigest() for row in rows], names, digests]))
"""


def chunks_needed(path: Path, tensor: str, chunks: ChunkList) -> set[int]:
    """The chunks that hold the header of a safetensors file or the tensor."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        start, stop = json.loads(file.read(length))[tensor]["data_offsets"]
    data = 8 + length
    return {*chunks.covering(0, data), *chunks.covering(data + start, stop - start)}


@pytest.mark.slow
def test_one_tensor_fetches_the_header_that_tensor_and_the_chunks_they_share(
    world: World, server: str, models: Path
) -> None:
    plain = models / "tensors" / "model.safetensors"
    with world.mount(f"{server}/tensors:latest") as mounted:
        file = mounted.file("model.safetensors")
        answer = urllib3.request("GET", f"{server.replace('/local', '/v2/local')}/tensors/chunksums/{file['digest']}")
        chunks = ChunkList.parse(file["size"], answer.data)
        needed = chunks_needed(plain, "b", chunks)
        assert 3 < len(needed) < len(chunks) / 4, "the test needs a tensor over several chunks, and many other chunks"
        before = mounted.counter("bytes_fetched")
        read = run(sys.executable, "-c", ONE_TENSOR, mounted.path / "model.safetensors")
        assert mounted.counter("bytes_fetched") - before <= sum(chunks[i].size for i in needed)
        assert mounted.file("model.safetensors")["present"] == sum(chunks[i].size for i in needed)
    assert read == run(sys.executable, "-c", ONE_TENSOR, plain)


def test_a_real_model_loads_through_tokenizers_and_safetensors(world: World, server: str, models: Path) -> None:
    plain = models / "minilm"
    with world.mount(f"{server}/minilm:latest") as mounted:
        read = run(sys.executable, "-c", EMBED, mounted.path)
        assert mounted.counter("bytes_fetched") < (plain / "model.safetensors").stat().st_size
        assert read == run(sys.executable, "-c", EMBED, plain)
        tokens, *_ = json.loads(read)
        assert tokens[:4] == ["[CLS]", "a", "file", "system"]
        for command in (
            "find . -type f -printf '%P %s\\n' | sort",
            "find . -type f -print0 | sort -z | xargs -0 sha256sum",
        ):
            assert shell(command, mounted.path) == shell(command, plain)
        assert mounted.counter("chunks_rejected") == 0

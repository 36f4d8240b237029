"""GGUF files on a mount: the `gguf` package and llama.cpp itself, on a model of llama architecture."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.programs.models import MIB
from tests.programs.world import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.programs.world import World

pytestmark = pytest.mark.reads

METADATA = """
import json, sys
from gguf import GGUFReader
reader = GGUFReader(sys.argv[1])
fields = {name: str(field.contents()) for name, field in reader.fields.items()}
tensors = [[t.name, [int(n) for n in t.shape], int(t.tensor_type), int(t.data_offset)] for t in reader.tensors]
print(json.dumps([fields, tensors]))
"""

ONE_TENSOR = """
import hashlib, sys
from gguf import GGUFReader
[tensor] = [t for t in GGUFReader(sys.argv[1]).tensors if t.name == "blk.3.ffn_up.weight"]
print(hashlib.sha256(tensor.data.tobytes()).hexdigest())
"""

GENERATE = """
import sys
from llama_cpp import Llama
llm = Llama(sys.argv[1], n_ctx=128, n_threads=2, seed=1, use_mmap=sys.argv[2] == "mmap", verbose=False)
prompt = llm.tokenize(b"The file system ")
def generate(**sampling):
    tokens = []
    for token in llm.generate(prompt, **sampling):
        tokens.append(token)
        if len(tokens) == 24:
            return tokens
print(generate(temp=0.0))
llm.reset()
llm.set_seed(5)
print(generate(temp=1.0, top_k=0, top_p=1.0))
"""


@pytest.mark.slow
def test_gguf_reads_the_same_metadata_and_fetches_little(world: World, server: str, models: Path) -> None:
    plain = models / "llama" / "model.gguf"
    with world.mount(f"{server}/llama:latest") as mounted:
        assert mounted.counter("bytes_fetched") < MIB, "nothing is downloaded at mount time"
        read = run(sys.executable, "-c", METADATA, mounted.path / "model.gguf")
        assert mounted.counter("bytes_fetched") <= plain.stat().st_size / 4
    assert read == run(sys.executable, "-c", METADATA, plain)
    fields, tensors = json.loads(read)
    assert fields["general.architecture"] == "llama"
    assert len(tensors) > 50


@pytest.mark.slow
def test_a_look_at_the_first_bytes_fetches_one_chunk(world: World, server: str) -> None:
    with world.mount(f"{server}/llama:latest") as mounted:
        assert run("head", "-c", "4", mounted.path / "model.gguf") == "GGUF"
        assert mounted.counter("bytes_fetched") == MIB


def test_gguf_reads_one_tensor_right_and_not_the_others(world: World, server: str, models: Path) -> None:
    plain = models / "llama" / "model.gguf"
    with world.mount(f"{server}/llama:latest") as mounted:
        read = run(sys.executable, "-c", ONE_TENSOR, mounted.path / "model.gguf")
        assert mounted.counter("bytes_fetched") <= plain.stat().st_size / 2
    assert read == run(sys.executable, "-c", ONE_TENSOR, plain)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["mmap", "read"])
def test_llama_cpp_generates_the_same_tokens(how: str, world: World, server: str, models: Path) -> None:
    expected = run(sys.executable, "-c", GENERATE, models / "llama" / "model.gguf", how)
    greedy, sampled = map(json.loads, expected.splitlines())
    assert len(set(greedy)) > 4, "the weights must matter"
    assert len(set(sampled)) > 12
    with world.mount(f"{server}/llama:latest") as mounted:
        for attempt in ("cold", "warm"):
            assert run(sys.executable, "-c", GENERATE, mounted.path / "model.gguf", how) == expected, attempt

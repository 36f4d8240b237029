"""A model of random weights that llama.cpp loads as it loads real ones, and the program that does."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import gguf

WIDTH, HEADS, INNER = 1024, 8, 2816
TOKENS = 16_000
"""As many as small models have: of 31 MiB of embeddings one row a token is read, and all of the output's 31 MiB."""

LAYER_BYTES = 2 * (4 * WIDTH * WIDTH + 3 * WIDTH * INNER)
LAYERS = 8
"""With the vocabulary 259 MiB in half precision: two seconds of the shaped link."""


def write(path: Path, layers: int = LAYERS) -> None:
    """Write a GGUF of llama architecture; the same bytes each time."""
    import gguf
    import numpy as np

    chance = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("benchmark")
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_tokens(writer)

    def add(name: str, *shape: int) -> None:
        # One over the root of the width keeps activations near one, so that the answer depends on every weight.
        weights = chance.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(shape[-1]))
        writer.add_tensor(name, weights.astype(np.float16))

    def add_norm(name: str) -> None:
        writer.add_tensor(name, np.ones(WIDTH, dtype=np.float32))

    add("token_embd.weight", TOKENS, WIDTH)
    for number in range(layers):
        add_norm(f"blk.{number}.attn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{number}.{part}.weight", WIDTH, WIDTH)
        add_norm(f"blk.{number}.ffn_norm.weight")
        add(f"blk.{number}.ffn_gate.weight", INNER, WIDTH)
        add(f"blk.{number}.ffn_up.weight", INNER, WIDTH)
        add(f"blk.{number}.ffn_down.weight", WIDTH, INNER)
    add_norm("output_norm.weight")
    add("output.weight", TOKENS, WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokens(writer: gguf.GGUFWriter) -> None:
    """A sentencepiece vocabulary: the control tokens, every byte, a space, and words that nobody says."""
    from gguf import TokenType as Kind

    tokens = [("<unk>", Kind.UNKNOWN), ("<s>", Kind.CONTROL), ("</s>", Kind.CONTROL)]
    tokens += [(f"<0x{byte:02X}>", Kind.BYTE) for byte in range(256)] + [("▁", Kind.NORMAL)]
    tokens += [(f"word{number}", Kind.NORMAL) for number in range(len(tokens), TOKENS)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([int(kind) for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_vocab_size(TOKENS)


def load(path: str, *, mmap: bool = True) -> dict[str, Any]:
    """Load a model, through a mapping or not, and compute what may follow one token: that reads every layer.

    Seconds until the model was loaded, until there was an answer, and the digest of the answer.
    """
    import numpy as np
    from llama_cpp import Llama

    start = time.monotonic()
    cores = len(os.sched_getaffinity(0))
    llm = Llama(path, n_ctx=64, n_threads=cores, seed=1, use_mmap=mmap, verbose=False, logits_all=True)
    loaded = time.monotonic()
    llm.eval([1, 300])
    answer = np.array(llm.scores[:2])
    done = time.monotonic()
    if not np.isfinite(answer).all() or answer.std() == 0:
        sys.exit("the model's answer is not one")
    return {
        "start": start,
        "loaded": loaded - start,
        "seconds": done - start,
        "sha256": hashlib.sha256(answer.tobytes()).hexdigest(),
    }

"""Models that the tests write: small ones with random weights that real programs load as they load real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gguf
import numpy as np
import safetensors.numpy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MIB = 1 << 20

LAYERS, WIDTH, HEADS, INNER = 11, 512, 8, 1408
"""71 MB in half precision: above the 64 MiB up to which a blob is its own only chunk, and loaded in a second."""


def write_llama(path: Path, seed: int = 7) -> None:
    """Write a GGUF of llama architecture that llama.cpp accepts: random weights, a tokenizer of single bytes."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random llama")
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    tokens = _add_byte_tokenizer(writer)
    writer.add_vocab_size(tokens)

    def add(name: str, *shape: int) -> None:
        # One over the root of the width keeps activations near one, so that the tokens depend on every weight.
        weights = random.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(shape[-1]))
        writer.add_tensor(name, weights.astype(np.float16))

    def add_norm(name: str) -> None:
        writer.add_tensor(name, np.ones(WIDTH, dtype=np.float32))

    add("token_embd.weight", tokens, WIDTH)
    for i in range(LAYERS):
        add_norm(f"blk.{i}.attn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{i}.{part}.weight", WIDTH, WIDTH)
        add_norm(f"blk.{i}.ffn_norm.weight")
        add(f"blk.{i}.ffn_gate.weight", INNER, WIDTH)
        add(f"blk.{i}.ffn_up.weight", INNER, WIDTH)
        add(f"blk.{i}.ffn_down.weight", WIDTH, INNER)
    add_norm("output_norm.weight")
    add("output.weight", tokens, WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_byte_tokenizer(writer: gguf.GGUFWriter) -> int:
    """A sentencepiece vocabulary of the three control tokens, every byte, and the printable characters."""
    kinds = gguf.TokenType
    tokens = [("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)]
    tokens += [(f"<0x{byte:02X}>", kinds.BYTE) for byte in range(256)]
    tokens += [("▁", kinds.NORMAL)] + [(chr(code), kinds.NORMAL) for code in range(0x21, 0x7F)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([int(kind) for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    return len(tokens)


def write_safetensors(path: Path, sizes: Mapping[str, int], seed: int = 11) -> None:
    """Write one tensor of random bytes for each name and size; they lie in the file in the order of their names."""
    random = np.random.default_rng(seed)
    safetensors.numpy.save_file(
        {name: random.integers(0, 256, size, dtype=np.uint8) for name, size in sizes.items()}, path
    )


def random_bytes(size: int, seed: int) -> bytes:
    """The same `size` bytes for the same seed; no two chunks are alike."""
    return np.random.default_rng(seed).bytes(size)


def write_tree(root: Path) -> None:
    """Write a model folder with what folders have: levels, odd names, an empty file, a file over several chunks."""
    files = {
        "config.json": b'{"hidden_size": 512}\n',
        ".hidden": b"a dot file\n",
        "empty": b"",
        "one": b"1",
        "weights/part-00001.bin": random_bytes(3 * MIB + 17, 1),
        "weights/part-00002.bin": random_bytes(2 * MIB, 2),
        "weights/again.bin": random_bytes(2 * MIB, 2),  # one blob under two names
        "docs/a name with spaces.txt": b"needle in a haystack\n" * 1000,
        "docs/\u00fcn\u00ef/c\u00f6de.txt": "n\u00e4\u00efve needle\n".encode() * 100,
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

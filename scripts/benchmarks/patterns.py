"""Patterns: ways to read a cold file whose cost is counted, not timed (`scripts/bench --counters`)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from scripts.benchmarks.content import CHUNK, chunks_of, tensors_of
from scripts.benchmarks.machine import MIB
from scripts.benchmarks.shaped import far_apart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scripts.benchmarks.content import Model

Span = tuple[int, int]
"""Offset and length."""

PAGE = 4096


@dataclass(frozen=True, slots=True)
class Pattern:
    """One way to read a file.

    Attributes:
        name: in the table.
        model: the file.
        spans: what is wanted of it.  A pattern without a program reads them one after the other.
        mapped: through a mapping instead of pread.
        program: of `readers`, which reads as it likes; empty for none.
        words: what the program is told beside the path.
    """

    name: str
    model: Model
    spans: list[Span]
    mapped: bool = False
    program: str = ""
    words: dict[str, Any] = field(default_factory=dict)

    @property
    def needed(self) -> int:
        """Bytes of the chunks that hold what is wanted: what a perfect reader would fetch."""
        chunks: set[int] = set().union(*(chunks_of(off, size) for off, size in self.spans))
        return sum(min(CHUNK, self.model.size - chunk * CHUNK) for chunk in chunks)


def in_pieces(spans: Iterable[Span], each: int = MIB) -> list[Span]:
    """The same spans, in pieces of at most a MiB."""
    return [(at, min(each, off + size - at)) for off, size in spans for at in range(off, off + size, each)]


def in_turns(*readers: Iterable[Span]) -> list[Span]:
    """What several readers read who take turns."""
    pieces = chain.from_iterable(zip_longest(*map(in_pieces, readers)))
    return [span for span in pieces if span is not None]


def synthetic(big: Model, tensors: Model) -> Iterator[Pattern]:
    """Twelve patterns, each of some hundred pieces, which are read when all that was asked for has come."""
    data = [(tensor.off, tensor.size) for tensor in tensors_of(tensors)]
    header = (0, tensors.header)
    part = big.size // 4 // MIB * MIB
    steps = range(0, big.size - MIB, MIB)
    yield Pattern("in order", big, in_pieces([(0, part * 2)], 8 * MIB))
    yield Pattern("in order, mmap", big, in_pieces([(0, part * 2)], 8 * MIB), mapped=True)
    yield Pattern("backward", big, [(off, MIB) for off in reversed(steps[-64:])])
    yield Pattern("4 readers in 4 parts", big, in_turns(*([(i * part, 16 * MIB)] for i in range(4))))
    yield Pattern("1 MiB of every 4", big, [(off, MIB) for off in steps[:256:4]])
    yield Pattern("64 KiB of every 5 MiB", big, [(off, 64 << 10) for off in steps[:320:5]])
    yield Pattern("single pages at random", big, [(off, PAGE) for off in far_apart(big.size, 40, seed=4)])

    def of_tensors(name: str, spans: list[Span]) -> Pattern:
        return Pattern(f"{name}, mmap", tensors, in_pieces([header, *spans]), mapped=True)

    yield of_tensors("tensors at random", random.Random(7).sample(data, len(data) // 6))
    yield of_tensors("every other tensor", data[: len(data) // 3 : 2])
    yield of_tensors("first half of each tensor", [(off, size // 2) for off, size in data[: len(data) // 4]])
    few = data[: len(data) // 6]
    yield of_tensors("tensors shared out to 3", in_turns(few[::3], few[1::3], few[2::3]))
    yield of_tensors("3 of every 5 tensors", [one for at, one in enumerate(data[: len(data) // 4]) if at % 5 < 3])


def programs(tensors: Model, llama: Model | None) -> Iterator[Pattern]:
    """Loads by real programs, which do not wait for anybody."""
    found = tensors_of(tensors)
    names = [tensor.name for tensor in found]
    whole = [(0, tensors.size)]
    if llama is not None:
        yield Pattern("llama.cpp, mmap", llama, [(0, llama.size)], program="llama")
        yield Pattern("llama.cpp, no mmap", llama, [(0, llama.size)], program="llama", words={"mmap": False})
    yield Pattern("safetensors, all in order", tensors, whole, program="loaded", words={"names": names})
    shuffled = random.Random(3).sample(names, len(names))
    yield Pattern("safetensors, all at random", tensors, whole, program="loaded", words={"names": shuffled})
    one = found[len(found) * 3 // 5]
    spans = [(0, tensors.header), (one.off, one.size)]
    yield Pattern("safetensors, one tensor", tensors, spans, program="loaded", words={"names": [one.name]})
    spans = [(0, tensors.header), *((tensor.off, tensor.size // 2) for tensor in found)]
    words = {"names": names, "part": 2}
    yield Pattern("safetensors, half of each", tensors, spans, program="loaded", words=words)

"""The counts of `scripts/bench --counters`: what a pattern needs, who reads when, and how it is printed."""

from __future__ import annotations

from pathlib import Path

from scripts.benchmarks.ablation import AGAIN, ALL, table, ways
from scripts.benchmarks.content import CHUNK, Model
from scripts.benchmarks.machine import MIB
from scripts.benchmarks.patterns import Pattern, in_pieces, in_turns
from scripts.benchmarks.results import Report

MODEL = Model("big", "model.gguf", Path("model.gguf"), "sha256:00", 10 * CHUNK + 5, 100)


def test_a_pattern_needs_each_chunk_once_that_holds_a_byte_of_it() -> None:
    assert Pattern("pages", MODEL, [(0, 4096), (CHUNK - 1, 2), (8192, 1)]).needed == 2 * CHUNK
    assert Pattern("end", MODEL, [(10 * CHUNK, 5)]).needed == 5, "the last chunk is short"


def test_readers_take_turns_piece_by_piece_until_the_last_has_ended() -> None:
    assert in_pieces([(5, 2 * MIB + 1)]) == [(5, MIB), (5 + MIB, MIB), (5 + 2 * MIB, 1)]
    assert in_turns([(0, 2 * MIB)], [(50 * MIB, MIB)]) == [(0, MIB), (50 * MIB, MIB), (MIB, MIB)]


def test_each_way_to_load_goes_without_what_it_is_called_after() -> None:
    pages = Pattern("pages", MODEL, [(0, 4096)])
    assert ways(("credit", "concurrency", "replay"), pages) == {ALL: (), AGAIN: (), "without credit": ("credit",)}
    program = Pattern("llama", MODEL, [(0, 4096)], program="llama")
    assert ways(("concurrency",), program) == {ALL: (), AGAIN: (), "without concurrency": ("concurrency",)}


def test_the_table_has_a_row_a_pattern_and_medians() -> None:
    report = Report({}, {})
    for pattern, called in (("in order", (ALL, AGAIN)), ("backward", (ALL,))):
        for how in called:
            for name, values in (("requests", [3, 5, 4]), ("fetched", [9 * MIB]), ("wasted", [MIB]), ("waited", [7])):
                report.raw(pattern, f"{name}: {how}", "", values)
    assert list(table(report)) == [
        "| pattern | all | all, again |",
        "|---|--:|--:|",
        "| in order | 4 / 9 / 1 / 7 | 4 / 9 / 1 / 7 |",
        "| backward | 4 / 9 / 1 / 7 |  |",
    ]

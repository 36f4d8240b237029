"""From the command to the first token (B15): mount and run llama.cpp, against download and run."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

from scripts.benchmarks import llama, mounts
from scripts.benchmarks.bench import Bench, check_equal, keep_starts, read
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.stage import clear, run

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.benchmarks.content import Model
    from scripts.benchmarks.servers import Server

HOW = ("cold", "replayed", "warm")
"""With an empty cache; when nothing is left of it but the access trace; when all of the model is in it."""

WORDS = "from the command to the first token of llama.cpp"


def first_token(bench: Bench, far: Server, *, quick: bool) -> None:
    """B15: the start of the programs counts, for who waits for an answer waits for that, too."""
    if find_spec("llama_cpp") is None:
        bench.report.add(Result("B15", WORDS, note="llama-cpp-python is not installed"))
        return
    model = llama.make(bench, quick=quick)
    wanted = read("llama", path=model.plain)["sha256"]
    times: dict[str, list[float]] = {how: [] for how in HOW}
    download: list[float] = []
    for turn in range(bench.runs):
        cache = bench.fresh("cache")
        bench.settle(model)
        download.append(_download(bench, far, model, wanted))
        for how in HOW:
            bench.settle(model)
            seconds = _mount(bench, far, model, cache, wanted)
            times[how].append(seconds)
            if how == "cold":
                recorded = keep_starts(cache)
        if turn == 0 and not recorded:
            bench.report.add(Result("B15", f"{WORDS}, replayed", note="no start was recorded: another first time"))
    clear(bench.folder / "cache")
    theirs = bench.report.raw("B15", "download by curl, then llama.cpp", "s", download)
    for how, found in times.items():
        ours = bench.report.raw("B15", f"fusefs mount, then llama.cpp, {how}", "s", found)
        bench.report.add(
            Result("B15", f"{WORDS}, {how}: time ÷ download, then run", ours / theirs, goal=Goal("≤", 1.0))
        )


def _mount(bench: Bench, far: Server, model: Model, cache: Path, wanted: object) -> float:
    with mounts.fusefs(bench.mnt, cache, [far.source(model)]) as mount:
        return mount.seconds + _answer(next(mount.folder.rglob("*.gguf")), wanted)


def _download(bench: Bench, far: Server, model: Model, wanted: object) -> float:
    out = bench.folder / "download"
    seconds = run(["curl", "-s", "-f", "-o", out, far.url + model.blob]).seconds
    seconds += _answer(out, wanted)
    clear(out)
    return seconds


def _answer(path: Path, wanted: object) -> float:
    """Seconds from the start of the program to its answer."""
    start = time.monotonic()
    found = read("llama", path=path)
    check_equal(found["sha256"], wanted, "B15")
    return float(found["start"] + found["seconds"] - start)

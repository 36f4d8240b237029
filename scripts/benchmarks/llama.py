"""A load by llama.cpp over the shaped link, against a download first: its load (B3), and from mount to token (B15)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from scripts.benchmarks import content, llamamodel, mounts
from scripts.benchmarks.bench import Bench, check_equal, keep_starts, read
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.stage import clear, run
from scripts.benchmarks.tensors import REPLAYED

if TYPE_CHECKING:
    from scripts.benchmarks.content import Model
    from scripts.benchmarks.servers import Server

QUICK_LAYERS = 2


def make(bench: Bench, *, quick: bool) -> Model:
    """The model, as the servers have it; made once in a run."""
    layers = QUICK_LAYERS if quick else llamamodel.LAYERS

    def write() -> Model:
        www = bench.www
        return content.make_written(www, "llama", "llama.gguf", lambda path: llamamodel.write(path, layers))

    return bench.once("llama", write)


def load(bench: Bench, far: Server, *, quick: bool) -> None:
    """B3: from the start of the program to the first answer, which reads every layer."""
    if find_spec("llama_cpp") is None:
        bench.report.add(Result("B3", "llama.cpp, load and first answer", note="llama-cpp-python is not installed"))
        return
    model = make(bench, quick=quick)
    wanted = read("llama", path=model.plain)
    ours: dict[str, list[float]] = {which: [] for which in REPLAYED}
    fetched: dict[str, list[float]] = {which: [] for which in REPLAYED}
    download: list[float] = []
    recorded = True
    for _ in range(bench.runs):
        cache = bench.fresh("cache")
        for which in REPLAYED:
            bench.settle(model)
            far.mark()
            with mounts.fusefs(bench.mnt, cache, [far.source(model)]) as mount:
                found = read("llama", path=next(mount.folder.rglob("*.gguf")))
            check_equal(found["sha256"], wanted["sha256"], "B3, llama.cpp")
            ours[which].append(found["seconds"])
            fetched[which].append(sum(request.sent for request in far.content()) / model.size)
            recorded = keep_starts(cache) and recorded
        bench.settle(model)
        download.append(_download(bench, far, model))
    theirs = bench.report.raw("B3", "llama.cpp after curl: download, load, first answer", "s", download)
    bench.report.raw("B3", "llama.cpp from the plain disk: load, first answer", "s", [wanted["seconds"]])
    for which in REPLAYED:
        seconds = bench.report.raw("B3", f"llama.cpp on fusefs: load, first answer{which}", "s", ours[which])
        share = bench.report.raw("B3", f"llama.cpp on fusefs: bytes fetched ÷ size{which}", "", fetched[which])
        note = f"{share:.2f} of the file fetched"
        if which and not recorded:
            note = "no start was recorded: this is another first time"
        what = f"llama.cpp, load and first answer{which}: time ÷ curl, then the same"
        bench.report.add(Result("B3", what, seconds / theirs, goal=Goal("≤", 1.0), note=note))
    clear(bench.folder / "cache")


def _download(bench: Bench, far: Server, model: Model) -> float:
    out = bench.folder / "download"
    seconds = run(["curl", "-s", "-f", "-o", out, far.url + model.blob]).seconds
    seconds += float(read("llama", path=out)["seconds"])
    clear(out)
    return seconds

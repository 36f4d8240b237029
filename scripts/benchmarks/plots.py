"""Plots: each access pattern, watched while it reads a cold file.  Nothing here is used for the table."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from scripts.benchmarks import llama, mounts, rclone
from scripts.benchmarks.bench import Bench, keep_starts, read, read_together
from scripts.benchmarks.content import tensors_of
from scripts.benchmarks.pictures import MIB, Picture, draw
from scripts.benchmarks.shaped import far_apart
from scripts.benchmarks.stage import TOP, CommandFailed, clear, run
from scripts.benchmarks.tensors import half_of_tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scripts.benchmarks.content import Model
    from scripts.benchmarks.servers import Server

STREAMS = 4
STARTING = 1.5
"""Seconds in which all readers have started."""

STRIDE = 4
IN_DOCS = ("in-order-loopback", "random-tensors")
DOCS_FOLDER = TOP / "scripts/benchmarks/plots"
Drawn = tuple[str, list[Picture]]
"""A title, and what is shown below it, side by side."""

Call = tuple[str, dict[str, Any]]
"""An operation of readers, and its words without the path."""


def draw_all(bench: Bench, folder: Path, *, quick: bool) -> str:
    """One PNG for each access pattern; returns what could not be drawn and why, or nothing."""
    if find_spec("matplotlib") is None:
        return "matplotlib is not installed"
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    facts = bench.report.machine
    caption = f"{facts['date']}, {facts['processor']}, {facts['cores']} cores, Linux {facts['kernel']}"
    for name, make in _makers(bench, quick=quick).items():
        bench.settle()
        try:
            title, pictures = make()
        except (CommandFailed, OSError) as exc:
            failed.append(f"{name}: {exc}")
        else:
            draw(pictures, folder / f"{name}.png", title=title, caption=caption)
    return "; ".join(failed)


def for_docs(folder: Path) -> list[Path]:
    """Copy the pictures of the page about performance to their place; returns those that are not there."""
    DOCS_FOLDER.mkdir(exist_ok=True)
    found = [folder / f"{name}.png" for name in IN_DOCS]
    for path in found:
        if path.exists() and path.parent.resolve() != DOCS_FOLDER:
            shutil.copyfile(path, DOCS_FOLDER / path.name)
    return [path for path in found if not path.exists()]


def _makers(bench: Bench, *, quick: bool) -> dict[str, Callable[[], Drawn]]:
    """The access patterns, by the names of their pictures."""
    near, far = bench.near, bench.far or bench.near
    where = "1 Gbit/s, 20 ms" if bench.far else "loopback"
    big, tensors = bench.big, bench.tensors
    steps = range(0, big.size - MIB, MIB)
    part = big.size // STREAMS // MIB * MIB
    metadata: Call = ("gguf", {})
    one_tensor: Call = ("safetensors", {"name": tensors_of(tensors)[120].name})
    backward: Call = ("pieces", {"spans": [(off, MIB) for off in reversed(steps)]})
    strided: Call = ("pieces", {"spans": [(off, MIB) for off in steps[::STRIDE]]})
    pages: Call = ("single", {"offs": far_apart(big.size, 30, seed=4), "pause": 0.02})
    in_tensors: Call = ("mapped", {"spans": half_of_tensors(tensors)})
    streams: list[Call] = [("order", {"off": number * part, "size": part}) for number in range(STREAMS)]

    def one(model: Model, title: str, *calls: Call) -> Callable[[], Drawn]:
        return lambda: ("", [_watched(bench, far, model, f"Cold, {title}, {where}", *calls)])

    makers = {
        "in-order-loopback": lambda: (
            "",
            [_beside_others(bench, near, "Cold, in order, loopback", beside_rclone=True)],
        ),
        "in-order-link": lambda: ("", [_beside_others(bench, far, f"Cold, in order, {where}", beside_rclone=False)]),
        "random-tensors": lambda: _replayed(
            bench, far, tensors, f"Cold, half of 200 tensors in random order by mmap, {where}", in_tensors
        ),
        "random-pages": one(big, "4 KiB reads at random", pages),
        "backward": one(big, "backward, 1 MiB reads", backward),
        "strided": one(big, f"1 MiB of every {STRIDE}", strided),
        "streams": one(big, f"{STREAMS} readers in order, in {STREAMS} parts", *streams),
        "header-gguf": one(big, "metadata of a GGUF", metadata),
        "header-safetensors": one(tensors, "one tensor of a safetensors file", one_tensor),
    }
    if find_spec("llama_cpp"):
        makers["llama"] = lambda: _replayed(
            bench,
            far,
            llama.make(bench, quick=quick),
            f"Cold, load and first answer of llama.cpp, {where}",
            ("llama", {}),
        )
    return makers


def _replayed(bench: Bench, server: Server, model: Model, title: str, call: Call) -> Drawn:
    """The first time, and again when nothing but the access trace is left."""
    cache = bench.fresh("cache")
    first = _watched(bench, server, model, "the first time", call, cache=cache)
    recorded = keep_starts(cache)
    bench.settle(model)
    title_of_second = "with its access trace" if recorded else "again: no trace was recorded"
    second = _watched(bench, server, model, title_of_second, call, cache=cache)
    clear(cache)
    return title, [first, second]


def _watched(
    bench: Bench, server: Server, model: Model, title: str, *calls: Call, cache: Path | None = None
) -> Picture:
    """Some reads of a file in a new mount, watched; in a new cache, unless there is one."""
    folder, stop = cache or bench.fresh("cache"), bench.fresh("stop")
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(read, "watch", folder=folder, stop=stop, seconds=120)
        try:
            with mounts.fusefs(bench.mnt, folder, [server.source(model)]) as mount:
                path = next(mount.folder.rglob(model.file), None) or next(mount.folder.rglob("*.gguf"))
                at = time.monotonic()
                if len(calls) > 1:  # of these every process has to start first
                    at += STARTING
                    found = read_together([(name, {"path": path, "at": at, **words}) for name, words in calls])
                else:
                    found = [read(name, path=path, **words) for name, words in calls]
        finally:
            stop.touch()
        arrivals = watching.result()["arrivals"]
    if cache is None:
        clear(folder)
    start = min(one.get("start", at) for one in found)
    reads = [event for one in found for event in one.get("trace", [])]
    fetched = sum(size for _, _, size in arrivals) / MIB
    return Picture(
        f"{title}\n{fetched:,.0f} of {model.size / MIB:,.0f} MiB fetched",
        model.size,
        [(max(0.0, at - start), off, size) for at, off, size in arrivals],
        sorted((at - start, off, size) for at, off, size in reads),
        linked=server is bench.far,
    )


def _beside_others(bench: Bench, server: Server, title: str, *, beside_rclone: bool) -> Picture:
    picture = _watched(bench, server, bench.big, title, ("order", {}))
    bench.settle()
    out = bench.folder / "download"
    grown: list[tuple[float, int, int]] = []
    with ThreadPoolExecutor(1) as pool:
        start = time.monotonic()
        curl = pool.submit(run, ["curl", "-s", "-o", out, server.url + bench.big.blob])
        reached = 0
        while not curl.done():
            size = out.stat().st_size if out.exists() else 0
            if size > reached:
                grown.append((time.monotonic() - start, reached, size - reached))
                reached = size
            time.sleep(0.005)
    picture.others["curl"] = grown
    proof = run(["openssl", "dgst", "-sha256", out]).seconds
    picture.others["curl + openssl"] = [(grown[-1][0] + proof, 0, bench.big.size)]
    clear(out)
    if beside_rclone and rclone.program():
        cache = bench.fresh("rclone")
        with rclone.mount(bench.mnt, cache, server.url + "/plain/", "full") as mount:
            found = read("order", path=mount.folder / bench.big.file)
        clear(cache)
        events = [(at - found["start"], off, size) for at, off, size in found["trace"]]
        picture.others["rclone full, best flags"] = events
    return picture

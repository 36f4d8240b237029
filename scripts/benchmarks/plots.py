"""Plots: how fast the bytes came, and in which order, for each access pattern.  Nothing here is used for the table."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scripts.benchmarks import mounts
from scripts.benchmarks.bench import Bench, read
from scripts.benchmarks.content import tensors_of
from scripts.benchmarks.shaped import far_apart, half_of_tensors
from scripts.benchmarks.stage import clear, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes

    from scripts.benchmarks.content import Model
    from scripts.benchmarks.servers import Server

MIB = 1 << 20
PAGE = 4096
FUSEFS, DEMAND = "#0072b2", "#d55e00"
OTHERS = {"curl": "#999999", "curl + openssl": "#444444", "rclone full, best flags": "#cc79a7"}
Event = tuple[float, int, int]
"""Seconds, offset, length."""


@dataclass(slots=True)
class Picture:
    """What one access pattern showed.

    Attributes:
        title: of the picture.
        size: of the file, in bytes.
        arrivals: when which verified part came to be in the cache.
        reads: when the program had which bytes.
        others: the same of other programs, by name; only how much, when.
        rates: show bytes a second over time, not bytes.
    """

    title: str
    size: int
    arrivals: list[Event] = field(default_factory=list)
    reads: list[Event] = field(default_factory=list)
    others: dict[str, list[Event]] = field(default_factory=dict)
    rates: bool = True


def draw_all(bench: Bench, folder: Path) -> None:
    """One PNG for each access pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    near, far = bench.near, bench.far or bench.near
    where = "1 Gbit/s, 20 ms" if bench.far else "loopback"
    makers: dict[str, Callable[[], Picture]] = {
        "in-order-loopback": lambda: _in_order(bench, near, "Cold, in order, loopback", rclone=True),
        "in-order-link": lambda: _in_order(bench, far, f"Cold, in order, {where}", rclone=False),
        "random-tensors": lambda: _pattern(
            bench,
            far,
            bench.tensors,
            f"Cold, half of 200 tensors in random order by mmap, {where}",
            "mapped",
            spans=half_of_tensors(bench.tensors),
        ),
        "random-pages": lambda: _pattern(
            bench,
            far,
            bench.big,
            f"Cold, 4 KiB reads at random, {where}",
            "single",
            offs=far_apart(bench.big.size, 30, seed=4),
            pause=0.02,
        ),
        "header-gguf": lambda: _pattern(bench, far, bench.big, f"Cold, metadata of a GGUF, {where}", "gguf"),
        "header-safetensors": lambda: _pattern(
            bench,
            far,
            bench.tensors,
            f"Cold, one tensor of a safetensors file, {where}",
            "safetensors",
            name=tensors_of(bench.tensors)[120].name,
        ),
    }
    for name, make in makers.items():
        bench.settle()
        _draw(make(), folder / f"{name}.png")


def _pattern(bench: Bench, server: Server, model: Model, title: str, operation: str, **words: Any) -> Picture:
    """One read of a file in a new mount, watched."""
    cache = bench.fresh("cache")
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(read, "watch", folder=cache, seconds=60)
        with mounts.fusefs(bench.mnt, cache, [f"{server.url}/library/{model.name}"]) as mount:
            start = time.monotonic()
            found = read(operation, path=mount.folder / model.file, **words)
        clear(cache)
        arrivals = watching.result()["arrivals"]
    start = found.get("start", start)
    return Picture(
        f"{title}\n{sum(size for _, _, size in arrivals) / MIB:,.0f} of {model.size / MIB:,.0f} MiB fetched",
        model.size,
        [(at - start, off, size) for at, off, size in arrivals],
        [(at - start, off, size) for at, off, size in found.get("trace", [])],
        rates=operation in {"order", "mapped"},
    )


def _in_order(bench: Bench, server: Server, title: str, *, rclone: bool) -> Picture:
    picture = _pattern(bench, server, bench.big, title, "order")
    bench.settle()
    out = bench.folder / "download"
    with ThreadPoolExecutor(1) as pool:
        start = time.monotonic()
        curl = pool.submit(run, ["curl", "-s", "-o", out, server.url + bench.big.blob])
        picture.others["curl"] = grown = []
        reached = 0
        while not curl.done():
            size = out.stat().st_size if out.exists() else 0
            if size > reached:
                grown.append((time.monotonic() - start, reached, size - reached))
                reached = size
            time.sleep(0.005)
    proof = run(["openssl", "dgst", "-sha256", out]).seconds
    picture.others["curl + openssl"] = [(grown[-1][0] + proof, 0, bench.big.size)]
    clear(out)
    if rclone and mounts.rclone_options():
        cache = bench.fresh("rclone")
        options = ["--vfs-cache-mode", "full", *mounts.rclone_best()]
        with mounts.rclone(bench.mnt, cache, server.url + "/plain/", *options) as mount:
            found = read("order", path=mount.folder / bench.big.file)
        clear(cache)
        events = [(at - found["start"], off, size) for at, off, size in found["trace"]]
        picture.others["rclone full, best flags"] = events
    return picture


def _draw(picture: Picture, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 7), sharex=True, height_ratios=[2, 3], layout="constrained")
    figure.suptitle(picture.title, fontsize=13)
    _amounts(top, picture)
    if picture.rates:
        _steps(top.twinx(), picture)
    _order(bottom, picture)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _cumulative(events: list[Event]) -> tuple[list[float], list[float]]:
    times, amounts, total = [0.0], [0.0], 0
    for at, _, size in sorted(events):
        total += size
        times.append(at)
        amounts.append(total / MIB)
    return times, amounts


def _amounts(axes: Axes, picture: Picture) -> None:
    """How much, when; lines of ours and of the others."""
    for name, events in picture.others.items():
        if len(events) == 1:  # nothing before it is proved
            axes.plot(
                [0, events[0][0], events[0][0]], [0, 0, events[0][2] / MIB], color=OTHERS[name], ls=":", label=name
            )
        else:
            axes.plot(*_cumulative(events), color=OTHERS[name], label=name)
    axes.plot(
        *_cumulative(picture.arrivals),
        color=FUSEFS,
        drawstyle="steps-post",
        lw=1,
        label="fusefs: verified, in the cache",
    )
    if picture.reads:
        axes.plot(
            *_cumulative(picture.reads), color=DEMAND, drawstyle="steps-post", label="fusefs: read by the program"
        )
    axes.set_ylabel("MiB so far")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")


def _steps(axes: Axes, picture: Picture) -> None:
    """Bytes a second in each of 40 parts of the time."""
    end = max(at for at, _, _ in picture.reads)
    width = end / 40
    parts = [0.0] * 40
    for at, _, size in picture.reads:
        parts[min(39, int(at / width))] += size / width / 1e6
    axes.bar([width * number for number in range(40)], parts, width, align="edge", color=DEMAND, alpha=0.15)
    axes.set_ylabel("read, MB/s (bars)")


def _order(axes: Axes, picture: Picture) -> None:
    """Where in the file, when."""
    for events, colour, size, label in (
        (picture.arrivals, FUSEFS, 7, "a MiB arrived, verified"),
        (picture.reads, DEMAND, 2, "the program has it"),
    ):
        if events:
            axes.scatter(
                [at for at, _, _ in events],
                [off / MIB for _, off, _ in events],
                s=size if len(events) > 100 else 4 * size,
                color=colour,
                label=label,
                alpha=0.7,
                linewidths=0,
            )
    axes.set_ylim(-0.02 * picture.size / MIB, 1.02 * picture.size / MIB)
    axes.set_ylabel("offset in the file, MiB")
    axes.set_xlabel("seconds since the program began to read")
    axes.grid(alpha=0.3)
    if picture.arrivals or picture.reads:
        axes.legend(fontsize=8, loc="best", markerscale=2 if len(picture.arrivals) > 100 else 1)

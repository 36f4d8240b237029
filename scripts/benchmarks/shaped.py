"""Cold reads over a link of 1 Gbit/s from a server that takes 20 ms to answer (B2, B4, B5)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from scripts.benchmarks import flow, mounts
from scripts.benchmarks.bench import Bench, Sample, check_equal, check_file, dd, read
from scripts.benchmarks.content import CHUNK, chunks_of, tensors_of
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.servers import PAYLOAD_RATE
from scripts.benchmarks.stage import clear, run
from scripts.benchmarks.threads import counted

if TYPE_CHECKING:
    from scripts.benchmarks.content import Model
    from scripts.benchmarks.servers import Request, Server

MIB, GIB = 1 << 20, 1 << 30
PAGE = 4096


def in_order(bench: Bench, far: Server) -> None:
    """B2: the share of the link's rate that a reader in order gets, and what was asked for meanwhile."""
    asked: list[list[Request]] = []
    counters: list[dict[str, object]] = []
    samples = bench.take_turns(
        "B2",
        {"fusefs mount": lambda: _order(bench, far, asked, counters), "curl": lambda: _curl(bench, far)},
        warm_up=False,
    )
    for name, goal in (("fusefs mount", Goal("≥", 0.97)), ("curl", None)):
        share = bench.big.size / bench.median(samples, name) / PAYLOAD_RATE
        bench.report.add(Result("B2", f"cold, in order: {name}, share of the link", share, goal=goal))
    flow.note_requests(bench.report, "B2", "fusefs mount", asked)
    spent = [sample.threads for sample in samples["fusefs mount"]]
    flow.note_threads(bench.report, "B2", "fusefs mount", spent, bench.big.size / GIB)
    flow.note_counters(bench.report, "B2", "fusefs mount", counters, ("reads_waited", "retries"))


def _order(bench: Bench, far: Server, asked: list[list[Request]], counters: list[dict[str, object]]) -> Sample:
    cache = bench.fresh("cache")
    far.mark()
    with mounts.fusefs(bench.mnt, cache, [far.source(bench.big)]) as mount:
        with counted(mount.pid) as threads:
            seconds, _ = dd(mount.folder / bench.big.file)
        asked.append(far.content())
        counters.append(mount.status()["counters"])
        check_file(mount.folder / bench.big.file, bench.big.digest)
    clear(cache)
    return Sample(seconds, threads=threads)


def _curl(bench: Bench, far: Server) -> Sample:
    out = bench.folder / "download"
    seconds = run(["curl", "-s", "-f", "-o", out, far.url + bench.big.blob]).seconds
    clear(out)
    return Sample(seconds)


def random_page(bench: Bench, far: Server) -> None:
    """B4: one page at a random offset, against curl of the chunk that holds it."""
    ours: list[float] = []
    first: list[float] = []
    theirs: list[float] = []
    fetched: list[float] = []
    for turn in range(bench.runs):
        bench.settle()
        offs = far_apart(bench.big.size, 4, seed=turn)
        cache = bench.fresh("cache")
        far.mark()
        with mounts.fusefs(bench.mnt, cache, [far.source(bench.big)]) as mount:
            path = mount.folder / bench.big.file
            found = read("single", path=path, offs=[PAGE, *offs], pause=0.3)
        check_equal(found["sha256"], read("single", path=bench.big.plain, offs=[PAGE, *offs])["sha256"], "B4")
        fetched.append(sum(request.sent for request in far.content()) / CHUNK / len(found["each"]))
        first.append(found["each"][0] * 1e3)
        ours += [seconds * 1e3 for seconds in found["each"][1:]]
        theirs += [curl_chunk(far, bench.big, off) * 1e3 for off in offs]
        clear(cache)
    bench.report.raw("B4", "fusefs mount, the first read after mount", "ms", first)
    mine = bench.report.raw("B4", "fusefs mount, later reads", "ms", ours)
    other = bench.report.raw("B4", "curl of the chunk", "ms", theirs)
    chunks = bench.report.raw("B4", "chunks fetched for one page", "", fetched)
    bench.report.add(
        Result("B4", "cold, one 4 KiB read: latency ÷ curl of its chunk", mine / other, goal=Goal("≤", 1.3)),
        Result("B4", "cold, one 4 KiB read: chunks fetched", chunks),
    )


def far_apart(size: int, count: int, *, seed: int) -> list[int]:
    """Offsets of pages in `count` different parts of a file, none at its beginning or end, in random order.

    Beginning and end are 4 MiB each, or an eighth of a small file.
    """
    chance = random.Random(seed)
    edge = min(4 * MIB, size // 8)
    part = (size - 2 * edge) // count
    offs = [(edge + number * part + chance.randrange(part // 2)) // PAGE * PAGE for number in range(count)]
    chance.shuffle(offs)
    return offs


def curl_chunk(far: Server, model: Model, off: int) -> float:
    """Seconds that curl takes for the chunk that holds an offset."""
    start = off // CHUNK * CHUNK
    span = f"{start}-{min(model.size, start + CHUNK) - 1}"
    return float(
        run(["curl", "-s", "-f", "-o", "/dev/null", "-w", "%{time_total}", "-r", span, far.url + model.blob]).out
    )


def curl_all(url: str) -> float:
    """Seconds that curl takes for all of something."""
    return float(run(["curl", "-s", "-f", "-o", "/dev/null", "-w", "%{time_total}", url]).out)


def header_only(bench: Bench, far: Server) -> None:
    """B5: the metadata of a GGUF, and one tensor of a safetensors file."""
    tensor = tensors_of(bench.tensors)[120]
    metadata = chunks_of(0, bench.big.header)
    one_tensor = chunks_of(0, bench.tensors.header) | chunks_of(tensor.off, tensor.size)
    programs: tuple[tuple[str, Model, str, dict[str, Any], set[int]], ...] = (
        ("GGUF metadata", bench.big, "gguf", {}, metadata),
        ("safetensors, one tensor", bench.tensors, "safetensors", {"name": tensor.name}, one_tensor),
    )
    for what, model, operation, words, needed in programs:
        times: list[float] = []
        beyond: list[float] = []
        wanted = read(operation, path=model.plain, **words)
        for _ in range(bench.runs):
            bench.settle()
            cache = bench.fresh("cache")
            far.mark()
            with mounts.fusefs(bench.mnt, cache, [far.source(model)]) as mount:
                found = read(operation, path=mount.folder / model.file, **words)
            times.append(found["seconds"])
            check_equal(_content(found), _content(wanted), "B5")
            beyond.append(sum(request.sent for request in far.content()) / CHUNK - len(needed))
            clear(cache)
        seconds = bench.report.raw("B5", f"{what}: time", "s", times)
        bench.report.raw("B5", f"{what}: on the plain disk", "s", [wanted["seconds"]])
        extra = bench.report.raw("B5", f"{what}: chunks beyond the {len(needed)} needed", "", beyond)
        whole = bench.report.raw("B5", f"{what}: curl of all", "s", [_curl(bench, far).seconds])
        bench.report.add(
            Result("B5", f"{what}: chunks beyond what is needed", extra, goal=Goal("≤", 2)),
            Result("B5", f"{what}: time ÷ full download", seconds / whole),
        )


def _content(found: dict[str, Any]) -> tuple[object, object]:
    return found["found"], found.get("sha256")

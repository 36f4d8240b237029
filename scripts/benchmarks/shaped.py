"""Cold reads over a link of 1 Gbit/s from a server that takes 20 ms to answer (B2, B3, B4, B5, B10)."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

from scripts.benchmarks import mounts
from scripts.benchmarks.bench import Bench, Sample, check_equal, check_file, dd, percentile, read
from scripts.benchmarks.content import CHUNK, tensors_of
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.servers import PAYLOAD_RATE
from scripts.benchmarks.stage import clear, run

if TYPE_CHECKING:
    from scripts.benchmarks.content import Model
    from scripts.benchmarks.servers import Server

MIB = 1 << 20
PAGE = 4096


def in_order(bench: Bench, far: Server) -> None:
    """B2: the share of the link's rate that a reader in order gets."""
    samples = bench.take_turns(
        "B2", {"fusefs mount": lambda: _order(bench, far), "curl": lambda: _curl(bench, far)}, warm_up=False
    )
    for name, goal in (("fusefs mount", Goal("≥", 0.97)), ("curl", None)):
        share = bench.big.size / bench.median(samples, name) / PAYLOAD_RATE
        bench.report.add(Result("B2", f"cold, in order: {name}, share of the link", share, goal=goal))


def _source(server: Server, model: Model) -> str:
    return f"{server.url}/library/{model.name}"


def _order(bench: Bench, far: Server) -> Sample:
    cache = bench.fresh("cache")
    with mounts.fusefs(bench.mnt, cache, [_source(far, bench.big)]) as mount:
        seconds, _ = dd(mount.folder / bench.big.file)
        check_file(mount.folder / bench.big.file, bench.big.digest)
    clear(cache)
    return Sample(seconds)


def _curl(bench: Bench, far: Server) -> Sample:
    out = bench.folder / "download"
    seconds = run(["curl", "-s", "-f", "-o", out, far.url + bench.big.blob]).seconds
    clear(out)
    return Sample(seconds)


def random_tensors(bench: Bench, far: Server) -> None:
    """B3: half of the tensors of a file, in random order, through a mapping; the other half tells what is wasted."""
    samples = bench.take_turns("B3", {"fusefs mount": lambda: _tensors(bench, far)}, warm_up=False)["fusefs mount"]
    touched = sum(size for _, size in half_of_tensors(bench.tensors))
    share = bench.report.raw("B3", "share of the link", "", [touched / one.seconds / PAYLOAD_RATE for one in samples])
    chunks = {chunk for off, size in half_of_tensors(bench.tensors) for chunk in _chunks(off, size)}
    bench.report.raw("B3", "the chunks that hold them ÷ bytes touched", "", [len(chunks) * CHUNK / touched])
    fetched = bench.report.raw("B3", "bytes fetched ÷ bytes touched", "", [one.ratio for one in samples])
    bench.report.add(
        Result("B3", "cold, tensors at random, mmap: share of the link", share, goal=Goal("≥", 0.90)),
        Result("B3", "cold, tensors at random: bytes fetched ÷ touched", fetched, goal=Goal("≤", 1.15)),
    )
    bench.peaks["B3"] = [one.peak for one in samples]


def half_of_tensors(model: Model) -> list[tuple[int, int]]:
    """Where they are, in the order they are touched; the same in each run."""
    all_of_them = [(tensor.off, tensor.size) for tensor in tensors_of(model)]
    return random.Random(7).sample(all_of_them, len(all_of_them) // 2)


def _tensors(bench: Bench, far: Server) -> Sample:
    cache = bench.fresh("cache")
    spans = half_of_tensors(bench.tensors)
    far.mark()
    with mounts.fusefs(bench.mnt, cache, [_source(far, bench.tensors)]) as mount:
        path = mount.folder / bench.tensors.file
        seconds = read("mapped", path=path, spans=spans)["seconds"]
        found = read("spans_sha256", path=path, spans=spans)
        peak = mount.peak()
    check_equal(found, read("spans_sha256", path=bench.tensors.plain, spans=spans), "B3")
    clear(cache)
    fetched = sum(request.sent for request in far.content())
    return Sample(seconds, peak=peak, ratio=fetched / sum(size for _, size in spans))


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
        with mounts.fusefs(bench.mnt, cache, [_source(far, bench.big)]) as mount:
            path = mount.folder / bench.big.file
            found = read("single", path=path, offs=[PAGE, *offs], pause=0.3)
        check_equal(found["sha256"], read("single", path=bench.big.plain, offs=[PAGE, *offs])["sha256"], "B4")
        fetched.append(sum(request.sent for request in far.content()) / CHUNK / len(found["each"]))
        first.append(found["each"][0] * 1e3)
        ours += [seconds * 1e3 for seconds in found["each"][1:]]
        theirs += [_curl_chunk(far, bench.big, off) * 1e3 for off in offs]
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
    """Offsets of pages in `count` different parts of a file, none at its beginning or end, in random order."""
    chance = random.Random(seed)
    part = (size - 8 * MIB) // count
    offs = [4 * MIB + number * part + chance.randrange(part // 2) // PAGE * PAGE for number in range(count)]
    chance.shuffle(offs)
    return offs


def _curl_chunk(far: Server, model: Model, off: int) -> float:
    start = off // CHUNK * CHUNK
    span = f"{start}-{min(model.size, start + CHUNK) - 1}"
    return float(
        run(["curl", "-s", "-f", "-o", "/dev/null", "-w", "%{time_total}", "-r", span, far.url + model.blob]).out
    )


def header_only(bench: Bench, far: Server) -> None:
    """B5: the metadata of a GGUF, and one tensor of a safetensors file."""
    tensor = tensors_of(bench.tensors)[120]
    metadata = _chunks(0, bench.big.header)
    one_tensor = _chunks(0, bench.tensors.header) | _chunks(tensor.off, tensor.size)
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
            with mounts.fusefs(bench.mnt, cache, [_source(far, model)]) as mount:
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


def _chunks(off: int, size: int) -> set[int]:
    return set(range(off // CHUNK, (off + size - 1) // CHUNK + 1))


def beside(bench: Bench, far: Server) -> None:
    """B10: listing, a warm read, and a demand read elsewhere, idle and while a cold read saturates the link."""
    idle: dict[str, list[float]] = {}
    busy: dict[str, list[float]] = {}
    outlived: list[float] = []
    for turn in range(max(1, bench.runs // 2)):
        bench.settle()
        cache = bench.fresh("cache")
        sources = [_source(far, bench.big), _source(far, bench.tensors)]
        with mounts.fusefs(bench.mnt, cache, sources) as mount:
            big, other = (next(mount.folder.rglob(model.file)) for model in (bench.big, bench.tensors))
            warm = min(16 * MIB, bench.tensors.size // 4)
            read("order", path=other, size=warm)
            offs = far_apart(bench.tensors.size - 2 * warm, 40, seed=turn)
            offs = [off + 2 * warm - 4 * MIB for off in offs]
            words: dict[str, Any] = {"folder": mount.folder, "path": other, "warm": warm, "pause": 0.08}
            _gather(idle, read("probe", **words, cold=offs[:15], seconds=10))
            reader = threading.Thread(target=dd, args=(big,), daemon=True)
            reader.start()
            _gather(busy, read("probe", **words, cold=offs[15:], seconds=0.6 * bench.big.size / PAYLOAD_RATE))
            outlived.append(float(reader.is_alive()))
            reader.join(120)
        clear(cache)
    bench.report.raw("B10", "the download outlived the probes (1: yes)", "", outlived)
    for what, name, goal in (("ls -lR", "listing", 5), ("warm 4 KiB read", "local", None)):
        bench.report.raw("B10", f"{what}, idle", "ms", idle[name])
        bench.report.raw("B10", f"{what}, busy", "ms", busy[name])
        value = percentile(busy[name], 0.99)
        bench.report.add(
            Result("B10", f"beside a cold read: {what}, p99", value, "ms", Goal("≤", goal) if goal else None)
        )
    before = bench.report.raw("B10", "demand read, idle", "ms", idle["demand"])
    bench.report.raw("B10", "demand read, busy", "ms", busy["demand"])
    value = percentile(busy["demand"], 0.99) / before
    bench.report.add(Result("B10", "beside a cold read: demand read, p99 ÷ idle", value, goal=Goal("≤", 2)))


def _gather(into: dict[str, list[float]], found: dict[str, list[float]]) -> None:
    for name, seconds in found.items():
        into.setdefault(name, []).extend(second * 1e3 for second in seconds)

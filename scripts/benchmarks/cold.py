"""Cold reads on loopback: in order against what people do today (B1, B13), and several readers at once (B6)."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmarks import mounts
from scripts.benchmarks.bench import Bench, Sample, check_file, dd, read_together
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.servers import twice
from scripts.benchmarks.stage import FUSEFS, CommandFailed, clear, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
READERS = 8


def in_order(bench: Bench) -> None:
    """B1: against curl, curl and openssl, and rclone; B13: CPU seconds."""
    contenders: dict[str, Callable[[], Sample]] = {
        "fusefs mount": lambda: _fusefs(bench),
        "curl": lambda: _curl(bench, prove=False),
        "fusefs pull": lambda: _pull(bench),
        "curl + openssl": lambda: _curl(bench, prove=True),
    }
    rclones = {
        "rclone full": ["--vfs-cache-mode", "full"],
        "rclone full, best flags": ["--vfs-cache-mode", "full", *mounts.rclone_best()],
        "rclone off, best flags": ["--vfs-cache-mode", "off", *mounts.rclone_best()],
    }
    if mounts.rclone_options():
        contenders.update({name: partial(_rclone, bench, options) for name, options in rclones.items()})
    bench.near.mark()
    samples = bench.take_turns("B1", contenders)
    bench.compare("B1", "cold, in order: time ÷ curl", samples, "fusefs mount", "curl", Goal("≤", 1.0))
    bench.compare(
        "B1", "cold, in order: time ÷ curl + openssl", samples, "fusefs mount", "curl + openssl", Goal("≤", 0.7)
    )
    if mounts.rclone_options():
        best = min(rclones, key=lambda name: bench.median(samples, name))
        bench.compare("B1", f"cold, in order: time ÷ {best}", samples, "fusefs mount", best, Goal("≤", 0.33))
    else:
        bench.report.add(Result("B1", "cold, in order: time ÷ rclone", note="rclone is not there"))
    bench.compare("B1", "fusefs pull: time ÷ curl + openssl", samples, "fusefs pull", "curl + openssl", None)
    _casync(bench)
    gigabytes = bench.big.size / 1e9
    cpu = {
        name: bench.report.raw("B13", name, "CPU s/GB", [sample.cpu / gigabytes for sample in found])
        for name, found in samples.items()
    }
    ratio = cpu["fusefs mount"] / cpu["curl + openssl"]
    bench.report.add(Result("B13", "CPU seconds, cold, in order: ÷ curl + openssl", ratio, goal=Goal("≤", 1.5)))
    bench.peaks["B1"] = [sample.peak for sample in samples["fusefs mount"]]


def _fusefs(bench: Bench) -> Sample:
    cache = bench.fresh("cache")
    with mounts.fusefs(bench.mnt, cache, [bench.near.source(bench.big)]) as mount:
        before = mount.cpu()
        seconds, cpu = dd(mount.folder / bench.big.file)
        # The proof of the whole may end after the last read; its work belongs to what is measured.
        sealed = cache / "blobs" / bench.big.digest.replace(":", "-")
        if not wait_until(sealed.exists, 30):
            raise CommandFailed("the blob that was read is not sealed")
        cpu += mount.cpu() - before
        peak = mount.peak()
        check_file(mount.folder / bench.big.file, bench.big.digest)
    clear(cache)
    return Sample(seconds, cpu, peak)


def _pull(bench: Bench) -> Sample:
    cache = bench.fresh("cache")
    source = bench.near.source(bench.big)
    done = run([FUSEFS, "pull", "--cache-dir", cache, source])
    check_file(cache / "blobs" / bench.big.digest.replace(":", "-"), bench.big.digest)
    clear(cache)
    return Sample(done.seconds, done.cpu)


def _curl(bench: Bench, *, prove: bool) -> Sample:
    out = bench.folder / "download"
    done = run(["curl", "-s", "-f", "-o", out, bench.near.url + bench.big.blob])
    seconds, cpu = done.seconds, done.cpu
    if prove:
        proof = run(["openssl", "dgst", "-sha256", out])
        seconds, cpu = seconds + proof.seconds, cpu + proof.cpu
    check_file(out, bench.big.digest)
    clear(out)
    return Sample(seconds, cpu)


def _rclone(bench: Bench, options: list[str]) -> Sample:
    cache = bench.fresh("rclone")
    with mounts.rclone(bench.mnt, cache, bench.near.url + "/plain/", *options) as mount:
        before = mount.cpu()
        seconds, cpu = dd(mount.folder / bench.big.file)
        cpu += mount.cpu() - before
        if "full" in options:  # its cache is what it read; without a cache a second read is another download
            check_file(mount.folder / bench.big.file, bench.big.digest)
        peak = mount.peak()
    clear(cache)
    return Sample(seconds, cpu, peak)


def _casync(bench: Bench) -> None:
    """Once, on a part of the bytes: casync needs them cut and compressed beforehand into a store of its own."""
    part, folder = bench.folder / "part", bench.folder / "www/casync"
    clear(part, folder)
    part.mkdir()
    folder.mkdir()
    size = min(bench.big.size, 64 * MIB)
    with bench.big.plain.open("rb") as file:
        (part / "model").write_bytes(file.read(size))
    try:
        run(["casync", "make", f"--store={folder}/store.castr", folder / "part.caidx", part], limit=120)
        url = f"{bench.near.url}/casync"
        with mounts.casync(bench.mnt, f"{url}/part.caidx", f"{url}/store.castr") as mount:
            rate = size / 1e9 / dd(mount.folder / "model")[0]
            run(["cmp", mount.folder / "model", part / "model"], limit=120)
    except (CommandFailed, OSError) as exc:
        bench.report.add(Result("B1", "casync mount", note=f"could not do it: {exc}"))
    else:
        bench.report.raw("B1", f"casync mount, {size // MIB} MiB, from its own store", "GB/s", [rate])
    clear(part, folder)


def together(bench: Bench) -> None:
    """B6: eight readers of one cold file, in order or each in a part of its own, against one."""
    size = bench.big.size
    part = -(-size // READERS)
    parts = [(off, min(part, size - off)) for off in range(0, size, part)]
    samples = bench.take_turns(
        "B6",
        {
            "1 reader": lambda: _readers(bench, [(0, size)]),
            "8 readers, the same": lambda: _readers(bench, [(0, size)] * READERS),
            "8 readers, parts": lambda: _readers(bench, parts),
        },
        warm_up=False,
    )
    for name in ("8 readers, the same", "8 readers, parts"):
        bench.compare("B6", f"cold, {name}: time ÷ 1 reader", samples, name, "1 reader", Goal("≤", 1.1))
        most = max(sample.ratio for sample in samples[name])
        bench.report.add(Result("B6", f"cold, {name}: bytes fetched ÷ size", most, goal=Goal("=", 1)))
    bench.peaks["B6"] = [sample.peak for found in samples.values() for sample in found]


def _readers(bench: Bench, spans: list[tuple[int, int]]) -> Sample:
    cache = bench.fresh("cache")
    bench.near.mark()
    with mounts.fusefs(bench.mnt, cache, [bench.near.source(bench.big)]) as mount:
        path = mount.folder / bench.big.file
        at = time.monotonic() + 1.5  # until all processes have started
        found = read_together([("order", {"path": path, "off": off, "size": size, "at": at}) for off, size in spans])
        seconds = max(one["start"] + one["seconds"] for one in found) - min(one["start"] for one in found)
        peak = mount.peak()
        check_file(path, bench.big.digest)
    clear(cache)
    sent = bench.near.content()
    if again := twice(sent, bench.big.size):
        bench.report.raw("B6", f"{len(spans)} readers: bytes fetched twice", "MiB", [again / MIB])
    return Sample(seconds, peak=peak, ratio=sum(request.sent for request in sent) / bench.big.size)

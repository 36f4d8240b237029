"""A cold read in order on loopback (B1), its CPU seconds (B13), and the same by people who do not use fusefs."""

from __future__ import annotations

import contextlib
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmarks import flow, juicefs, mounts, product, rclone
from scripts.benchmarks.bench import Bench, Sample, check_file, dd
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.stage import CommandFailed, clear, run, wait_until
from scripts.benchmarks.threads import ENDED, KINDS, LOOP, counted

if TYPE_CHECKING:
    from collections.abc import Callable

MIB, GIB = 1 << 20, 1 << 30
OURS = "fusefs mount"
SERIAL = 0.25
"""Seconds for a GiB of the one thread that everything goes through: 4 GiB/s, whatever the number of cores."""

Contenders = dict[str, "Callable[[], Sample]"]


def in_order(bench: Bench) -> None:
    """B1: against curl, curl and openssl, rclone and JuiceFS; B13: CPU seconds."""
    contenders: Contenders = {
        OURS: lambda: _fusefs(bench),
        "curl": lambda: _curl(bench, prove=False),
        "fusefs pull": lambda: _pull(bench),
        "curl + openssl": lambda: _curl(bench, prove=True),
    }
    with contextlib.ExitStack() as stack:
        rivals, reasons = _rivals(bench, stack) if bench.rivals else ({}, {})
        bench.near.mark()
        samples = bench.take_turns("B1", contenders | rivals)
    bench.compare("B1", "cold, in order: time ÷ curl", samples, OURS, "curl", Goal("≤", 1.0))
    bench.compare("B1", "cold, in order: time ÷ curl + openssl", samples, OURS, "curl + openssl", Goal("≤", 0.7))
    for name in rivals:
        goal = Goal("≤", 1.0) if name.endswith("best flags") else None
        bench.compare("B1", f"cold, in order: time ÷ {name}", samples, OURS, name, goal)
    for name, reason in reasons.items():
        bench.report.add(Result("B1", f"cold, in order: time ÷ {name}", note=reason))
    bench.compare("B1", "fusefs pull: time ÷ curl + openssl", samples, "fusefs pull", "curl + openssl", None)
    late = [(one.seconds + one.unsealed) / one.seconds for one in samples[OURS]]
    bench.report.raw("B1", f"{OURS}: time until sealed ÷ time of the read", "", late)
    words = "cold, in order: time until sealed ÷ time of the read"
    bench.report.add(Result("B1", words, statistics.median(late)))
    if bench.rivals:
        _casync(bench)
    _cpu(bench, samples)
    bench.peaks["B1"] = [sample.peak for sample in samples[OURS]]


def _cpu(bench: Bench, samples: dict[str, list[Sample]]) -> None:
    """B13: of everybody, and of each kind of thread of the daemon."""
    gigabytes = bench.big.size / 1e9
    cpu = {
        name: bench.report.raw("B13", name, "CPU s/GB", [sample.cpu / gigabytes for sample in found])
        for name, found in samples.items()
    }
    ratio = cpu[OURS] / cpu["curl + openssl"]
    bench.report.add(Result("B13", "CPU seconds, cold, in order: ÷ curl + openssl", ratio, goal=Goal("≤", 1.3)))
    spent = [sample.threads for sample in samples[OURS]]
    flow.note_threads(bench.report, "B13", OURS, spent, bench.big.size / GIB)
    for kind in KINDS:
        median = bench.report.median("B13", f"{OURS}: CPU of the {kind}")
        goal = Goal("≤", SERIAL) if kind == LOOP else None
        words = "the event loop, which is the serial part" if kind == LOOP else f"the {kind}"
        if kind != ENDED or median:
            bench.report.add(Result("B13", f"CPU, cold, in order, of {words}", median, "s/GiB", goal))


def _rivals(bench: Bench, stack: contextlib.ExitStack) -> tuple[Contenders, dict[str, str]]:
    """Other mounts, and why some are not there."""
    contenders: Contenders = {}
    reasons: dict[str, str] = {}
    if rclone.program():
        contenders["rclone full"] = partial(_rclone, bench, "full", ())
        contenders["rclone full, best flags"] = partial(_rclone, bench, "full", None)
        contenders["rclone off, best flags"] = partial(_rclone, bench, "off", None)
    else:
        reasons["rclone"] = "rclone is not there"
    reason = juicefs.why_not()
    if not reason:
        try:
            stack.enter_context(bench.volume.served(bench.mnt, bench.big.plain))
            contenders["JuiceFS"] = partial(_juicefs, bench)
        except (CommandFailed, OSError) as exc:
            reason = f"could not do it: {exc}"
    if reason:
        reasons["JuiceFS"] = reason
    return contenders, reasons


def _fusefs(bench: Bench) -> Sample:
    cache = bench.fresh("cache")
    with mounts.fusefs(bench.mnt, cache, [bench.near.source(bench.big)]) as mount:
        before = mount.cpu()
        with counted(mount.pid) as threads:
            seconds, cpu = dd(mount.folder / bench.big.file)
            ended = time.monotonic()
            # The proof of the whole may end after the last read; its work belongs to what is measured.
            sealed = cache / "blobs" / bench.big.digest.replace(":", "-")
            if not wait_until(sealed.exists, 30):
                raise CommandFailed("the blob that was read is not sealed")
            unsealed = time.monotonic() - ended
        cpu += mount.cpu() - before
        peak = mount.peak()
        check_file(mount.folder / bench.big.file, bench.big.digest)
    clear(cache)
    return Sample(seconds, cpu, peak, threads=threads, unsealed=unsealed)


def _pull(bench: Bench) -> Sample:
    cache = bench.fresh("cache")
    source = bench.near.source(bench.big)
    done = run(product.command("pull", "--cache-dir", cache, source))
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


def _rclone(bench: Bench, mode: rclone.Mode, flags: rclone.Flags | None) -> Sample:
    cache = bench.fresh("rclone")
    with rclone.mount(bench.mnt, cache, bench.near.url + "/plain/", mode, flags) as mount:
        # Without a cache a second read would be another download.
        sample = _read(bench, mount, prove=mode == "full")
    clear(cache)
    return sample


def _juicefs(bench: Bench) -> Sample:
    cache = bench.fresh("juicefs-cache")
    with bench.volume.mount(bench.mnt, cache, "--read-only") as mount:
        sample = _read(bench, mount, prove=True, name=bench.big.plain.name)
    clear(cache)
    return sample


def _read(bench: Bench, mount: mounts.Mount, *, prove: bool, name: str = "") -> Sample:
    """What a mount of others takes for all of the file."""
    path = mount.folder / (name or bench.big.file)
    before = mount.cpu()
    seconds, cpu = dd(path)
    cpu += mount.cpu() - before
    if prove:
        check_file(path, bench.big.digest)
    return Sample(seconds, cpu, mount.peak())


def _casync(bench: Bench) -> None:
    """Once, on a part of the bytes: casync needs them cut and compressed beforehand into a store of its own."""
    part, folder = bench.folder / "part", bench.www / "casync"
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

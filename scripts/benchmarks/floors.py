"""Floors: what each part of a cold read takes by itself on this machine, and so what nobody can be faster than.

A virtual machine gets memory from its host when it is first written, and gives back what has been free for some
seconds.  Pages that come from the host cost many times what pages cost that were in use a moment ago, so whatever fills
pages is measured both ways.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scripts.benchmarks import machine, mounts
from scripts.benchmarks.bench import Bench, dd
from scripts.benchmarks.results import Floor
from scripts.benchmarks.stage import clear, module, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.benchmarks.parts import Took

GIB = 1 << 30
MIB = 1 << 20
PAUSE = 8.0
"""Seconds in which a host takes back what a machine does not use; Linux reports free pages every two seconds."""

WINDOW_KIB = 4096
MOST_RUNS = 3
FRESH, REUSED, NO_PAGES = "pages new from the host", "pages in use a moment ago", "no pages"


class Floors:
    """Measures the parts one after another."""

    def __init__(self, bench: Bench, *, quick: bool) -> None:
        self.bench = bench
        self.size = bench.big.size // MIB * MIB
        self.runs = min(MOST_RUNS, bench.runs)
        self.pause = 0.0 if quick else PAUSE
        self.file = bench.folder / "part-of-a-read"

    def take(self, part: str, measure: Callable[[], Took], *, note: str = "", size: int = 0) -> Floor:
        """Measure one part some times, and add its medians."""
        took = [measure() for _ in range(self.runs)]
        per = GIB / (size or self.size)
        wall, cpu = (statistics.median(one[key] for one in took) * per for key in ("seconds", "cpu"))
        floor = Floor(part, wall, cpu, note)
        self.bench.report.floors.append(floor)
        return floor

    def add_sum(self, kind: str, *parts: Floor) -> None:
        """What a perfect implementation needs: every processor busy all the time, or as long as the longest part."""
        cores = len(os.sched_getaffinity(0))
        cpu = sum(part.cpu for part in parts)
        wall = max(cpu / cores, *(part.wall for part in parts))
        longest = "all cores busy" if wall == cpu / cores else "as long as its longest part"
        note = f"4 connections, sha256, write, FUSE: {longest}"
        self.bench.report.floors.append(Floor(f"the least for all of it, {kind}", wall, cpu, note))

    def part(self, operation: str, **words: Any) -> Took:
        """One part, in a process of its own."""
        return dict(json.loads(run(module("parts", operation), stdin=json.dumps(words, default=str)).out))

    def receive(self, connections: int) -> Took:
        """From nginx, whose own CPU seconds count: on a loopback it uses the same processors."""
        server = urlsplit(self.bench.near.url)
        before = machine.family_cpu_seconds(self.bench.near.pid)
        took = self.part(
            "receive",
            host=server.hostname,
            port=server.port,
            path=self.bench.big.blob,
            size=self.size,
            connections=connections,
        )
        return took | {"cpu": took["cpu"] + machine.family_cpu_seconds(self.bench.near.pid) - before}

    def write(self, *, fresh: bool, over: bool = False, direct: bool = False) -> Took:
        """A file, into pages of one kind."""
        if over:
            machine.warm(self.file)
        else:
            clear(self.file)
            machine.sync()
            if fresh:
                time.sleep(self.pause)
        return self.part("write", path=self.file, size=self.size, direct=direct)

    def serve(self, *, fresh: bool) -> Took:
        """Read a file in memory through the bare server: request, pread, reply, and the reader's copy."""
        machine.warm(self.bench.big.plain)
        if fresh:
            time.sleep(self.pause)
        else:
            clear(self.file)
            self.part("write", path=self.file, size=self.size)
            clear(self.file)
        with mounts.bare(self.bench.mnt, self.bench.big.plain, WINDOW_KIB) as mount:
            before = mount.cpu()
            seconds, cpu = dd(mount.folder / self.bench.big.plain.name)
            return {"seconds": seconds, "cpu": cpu + mount.cpu() - before}

    def fusefs(self) -> Took:
        """All of it: a cold read through fusefs, with the server's CPU seconds."""
        cache = self.bench.fresh("cache")
        self.bench.settle()
        with mounts.fusefs(self.bench.mnt, cache, [self.bench.near.source(self.bench.big)]) as mount:
            before = mount.cpu() + machine.family_cpu_seconds(self.bench.near.pid)
            seconds, cpu = dd(mount.folder / self.bench.big.file)
            cpu += mount.cpu() + machine.family_cpu_seconds(self.bench.near.pid) - before
        clear(cache)
        return {"seconds": seconds, "cpu": cpu}

    def curl(self) -> Took:
        """The download that fusefs is measured against, with the server's CPU seconds."""
        out = self.bench.folder / "download"
        self.bench.settle()
        before = machine.family_cpu_seconds(self.bench.near.pid)
        done = run(["curl", "-s", "-f", "-o", out, self.bench.near.url + self.bench.big.blob])
        cpu = done.cpu + machine.family_cpu_seconds(self.bench.near.pid) - before
        clear(out)
        return {"seconds": done.seconds, "cpu": cpu}


def measure(bench: Bench, *, quick: bool) -> None:
    """All parts, their sums, and what fusefs and curl take for the same bytes."""
    floors = Floors(bench, quick=quick)
    bench.settle()
    path, server = bench.big.plain, "with the server's own CPU seconds"
    floors.take("receive, 1 connection", lambda: floors.receive(1), note=server)
    receive = floors.take("receive, 4 connections", lambda: floors.receive(4), note=server)
    sha256 = floors.take("sha256", lambda: floors.part("sha256", size=floors.size))
    write_fresh = floors.take("write to a new file", lambda: floors.write(fresh=True), note=FRESH)
    write_reused = floors.take("write to a new file", lambda: floors.write(fresh=False), note=REUSED)
    floors.take("write over a file in the page cache", lambda: floors.write(fresh=False, over=True))
    direct = floors.take("write to a new file, O_DIRECT", lambda: floors.write(fresh=False, direct=True), note=NO_PAGES)
    clear(floors.file)
    fuse_fresh = floors.take("bare FUSE server and its reader", lambda: floors.serve(fresh=True), note=FRESH)
    fuse_reused = floors.take("bare FUSE server and its reader", lambda: floors.serve(fresh=False), note=REUSED)
    floors.take("the reader's copy alone", lambda: floors.part("copy", path=path, size=floors.size), note="part of it")
    floors.add_sum(FRESH, receive, sha256, write_fresh, fuse_fresh)
    floors.add_sum(REUSED, receive, sha256, write_reused, fuse_reused)
    floors.add_sum("O_DIRECT, FUSE's " + FRESH, receive, sha256, direct, fuse_fresh)
    floors.take("fusefs, cold, in order", floors.fusefs, note=server, size=bench.big.size)
    floors.take("curl to disk", floors.curl, note=server, size=bench.big.size)

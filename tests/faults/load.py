"""Load: 64 readers of 20 models through one mount, whose server plays faults in one request of twenty.

    python -m tests.faults.load [--seconds 600] [--seed N] [--json FILE]

Every byte is compared.  The cache may hold a third of the models, so that eviction runs all the time.  The daemon is
the command's own; its memory and file descriptors are sampled from outside.  Ends with 1 when a check fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.load_content import MIB, Content
from tests.faults.load_readers import Tally
from tests.faults.load_server import LoadServer
from tests.patience import eventually
from tests.programs.world import REPOSITORY, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.programs.world import Mounted

# A blob of up to 64 MiB is its own only chunk, so there are both kinds.
CONTENTS = tuple(
    Content(number, (1 + 2 * number) * MIB + 4321 if number < 12 else (53 + number) * MIB + 17 * number)
    for number in range(20)
)
FAULTY = 0.05
TIMEOUT = 120.0
"""Seconds of --timeout: four stalls, of which each takes 30."""

CACHE = 256 * MIB
MEMORY = 64 * MIB
WARNINGS = "WARNING"
"""A server that lies is what a person should look at: the daemon must say so."""

ENOUGH = 500
"""Requests, of which 25 should go wrong: far more than half of that do."""

_ROUNDS = 10

READERS = (("pread", 12), ("pread", 12), ("pread", 12), ("whole", 12), *(("mapped", 1) for _ in range(16)))
"""Each is a process and how many readers it has: 64 in all."""

RSS_GROWTH = 48 * MIB
"""What the second half's peak may lie above the first half's: what malloc keeps after a burst of 8 requests.  A leak of
one read in a hundred would be more."""

FD_GROWTH = 40
"""As above: a file is open as often as readers have another one open in that moment."""


@dataclass
class Samples:
    """Memory and file descriptors of a process, once each half second, from another thread."""

    pid: int
    resident: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def take(self) -> tuple[int, int]:
        """Both, now."""
        match = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024, len(os.listdir(f"/proc/{self.pid}/fd"))

    def run(self) -> None:
        """Until `end`."""
        while not self._ended.wait(0.5):
            resident, descriptors = self.take()
            self.resident.append(resident)
            self.descriptors.append(descriptors)

    def end(self) -> None:
        self._ended.set()


def halves(values: list[int]) -> tuple[int, int]:
    """The peak of each half after the first fifth, in which everything warms up."""
    warm = values[len(values) // 5 :]
    middle = len(warm) // 2
    return max(warm[:middle]), max(warm[middle:])


@dataclass
class Outcome:
    """What a run found.

    Attributes:
        seconds: how long it read at least.
        tally: of all readers.
        requests: that the server got.
        injected: how often each fault was played.
        sent: bytes of blobs.
        resident: peak of the daemon's memory in both halves, in bytes.
        descriptors: peak of its open files in both halves.
        idle: its memory in bytes and its open files before anything was read, and when all was over.
        in_flight: requests that the status tells of when all was over.
        waiting: reads that wait and requests that run then, as the daemon's own dump tells.
        counters: of the daemon.
        last_error: that the daemon tells of.
        alarms: lines of its log at WARNING and above, the last hundred.
    """

    seconds: float
    tally: Tally
    requests: int
    injected: dict[str, int]
    sent: int
    resident: tuple[int, int]
    descriptors: tuple[int, int]
    idle: tuple[tuple[int, int], tuple[int, int]]
    in_flight: int
    waiting: tuple[int, int]
    counters: dict[str, int]
    last_error: str | None
    alarms: list[str]

    def problems(self) -> Iterator[str]:
        """What does not hold."""
        tally = self.tally
        if tally.wrong:
            yield f"wrong bytes: {tally.wrong[:5]}"
        if tally.failed:
            yield f"reads that failed: {len(tally.failed)}: {tally.failed[:5]}"
        # Wrong bytes twice running are proved corruption, which fails at once; that this was of pages which the kernel
        # read ahead, and asked for again, `failed` tells.
        if self.counters["read_errors"] and "content does not match" not in (self.last_error or ""):
            yield f"reads that failed in the daemon: {self.counters['read_errors']}, the last: {self.last_error}"
        if tally.longest >= TIMEOUT:
            yield f"a read took {tally.longest:.1f} s"
        if self.resident[1] > self.resident[0] + RSS_GROWTH:
            yield f"memory grew: {self.resident}"
        if self.descriptors[1] > self.descriptors[0] + FD_GROWTH:
            yield f"open files grew: {self.descriptors}"
        if self.in_flight or any(self.waiting):
            yield f"something is left: {self.in_flight} requests, {self.waiting} reads and chunks"
        if not self.counters["bytes_evicted"]:
            yield "nothing was evicted"


def run(root: Path, seconds: float, seed: int = 1) -> Outcome:
    """Serve, mount, read, compare, unmount (which must be clean), and tell; the folder `root` is used for all."""
    world = World(root)
    limits = ("--cache-size", str(CACHE), "--keep-free", "1", "--memory", str(MEMORY), "--timeout", str(TIMEOUT))
    with LoadServer(CONTENTS, faulty=FAULTY, seed=seed) as server:
        sources = [server.source(content) for content in CONTENTS]
        with world.mount(*sources, options=(*limits,), logs=WARNINGS) as mount:
            samples = Samples(mount.status()["pid"])
            before = samples.take()
            sampler = threading.Thread(target=samples.run)
            sampler.start()
            try:
                tally = _read_until_enough(mount, seconds, seed)
            finally:
                samples.end()
                sampler.join()
            eventually("nothing is in flight", lambda: not mount.status()["in_flight"], 60)
            status = mount.status()
            waiting = _dumped(root / "log1", samples.pid)
            after = samples.take()
        log = (root / "log1").read_text()
        return Outcome(
            seconds=seconds,
            tally=tally,
            requests=server.requests,
            injected=dict(server.injected),
            sent=server.sent,
            resident=halves(samples.resident),
            descriptors=halves(samples.descriptors),
            idle=(before, after),
            in_flight=status["in_flight"],
            waiting=waiting,
            counters=status["counters"],
            last_error=status["last_error"],
            alarms=[line for line in log.splitlines() if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line)][-100:],
        )


def _read_until_enough(mount: Mounted, seconds: float, seed: int) -> Tally:
    """Read for `seconds`, and as long again and again on a machine so slow that too little has happened by then."""
    total = Tally()
    for again in range(_ROUNDS):
        total.add(_read(mount, seconds, seed + again))
        counters = mount.status()["counters"]
        if counters["requests"] >= ENOUGH and counters["bytes_evicted"] and counters["chunks_rejected"]:
            break
    return total


def _read(mount: Mounted, seconds: float, seed: int) -> Tally:
    files = [f"{c.number}:{c.size}:{_file(mount.path, c)}" for c in CONTENTS]
    command = [sys.executable, "-m", "tests.faults.load_readers"]
    readers = [
        subprocess.Popen(
            [*command, kind, str(count), str(seed * 100 + i), str(seconds), *files],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i, (kind, count) in enumerate(READERS)
    ]
    deadline = time.monotonic() + seconds + TIMEOUT + 60
    total = Tally()
    try:
        for reader in readers:
            text, _ = reader.communicate(timeout=deadline - time.monotonic())
            assert reader.returncode == 0, f"a reader ended with {reader.returncode}"
            total.add(Tally(**json.loads(text)))
    finally:
        for reader in readers:
            if reader.poll() is None:
                reader.kill()
    return total


def _file(mountpoint: Path, content: Content) -> Path:
    (found,) = [path for path in mountpoint.rglob("model.gguf") if content.name in str(path.relative_to(mountpoint))]
    return found


def _dumped(log: Path, pid: int) -> tuple[int, int]:
    """What the daemon's own dump says is left: reads that wait, and requests for chunks."""
    os.kill(pid, signal.SIGUSR1)
    found: list[re.Match[str]] = []

    def told() -> bool:
        text = log.read_text()
        match = re.search(r"reads that wait: (\d+).*?chunks on their way, requests: (\d+)", text, re.DOTALL)
        found.extend([match] if match else [])
        return match is not None and "counters:" in text[match.start() :]

    eventually("the daemon says what is going on", told)
    return int(found[0][1]), int(found[0][2])


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.load")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fusefs-load-") as root:
        os.environ["XDG_RUNTIME_DIR"] = str(Path(root) / "run")
        outcome = run(Path(root), options.seconds, options.seed)
    problems = list(outcome.problems())
    document: dict[str, Any] = {**asdict(outcome), "problems": problems}
    text = json.dumps(document, indent=2)
    if options.json:
        options.json.write_text(text)
    sys.stdout.write(text + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

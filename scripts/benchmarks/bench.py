"""Bench: what every row needs, and how contenders take turns."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scripts.benchmarks import machine
from scripts.benchmarks.juicefs import Volume
from scripts.benchmarks.results import Goal, Report, Result
from scripts.benchmarks.stage import clear, module, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from scripts.benchmarks.content import Model
    from scripts.benchmarks.servers import Server

MIB = 1 << 20
STARTS = "starts"
"""The folder of a cache that outlives the data: which parts of a blob were first asked for, in their order."""


class WrongContent(Exception):
    """What was read is not what the server has: nothing else matters then."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Attributes:
        seconds: wall clock.
        cpu: CPU seconds of all processes that took part, but for the server.
        peak: largest resident set of the daemon, in bytes.
        ratio: a second figure, where a row has one.
        threads: CPU seconds of the daemon's threads, by their kind.
        unsealed: seconds from the last byte read until the blob was sealed, where that is looked at.
    """

    seconds: float
    cpu: float = 0.0
    peak: float = 0.0
    ratio: float = 0.0
    threads: Mapping[str, float] = field(default_factory=dict)
    unsealed: float = 0.0


@dataclass(slots=True)
class Bench:
    """All that rows share.

    Attributes:
        folder: where this run works.
        www: what the servers show.
        report: where results go.
        runs: how often each contender is measured.
        big: a GGUF file, read in order.
        tensors: a safetensors file, read by tensor.
        near: nginx on loopback.
        far: the server behind the shaped link; None where there is none.
        why_not_far: the reason.
        peaks: largest resident sets of fusefs by row, in bytes.
        more: models that only some rows need.
        right: what programs find in plain files.
        rivals: rclone, JuiceFS and casync take part, too.
        warm_up: the first turn of each contender is not counted.
    """

    folder: Path
    www: Path
    report: Report
    runs: int
    big: Model
    tensors: Model
    near: Server
    far: Server | None
    why_not_far: str = ""
    peaks: dict[str, list[float]] = field(default_factory=dict)
    more: dict[str, Model] = field(default_factory=dict)
    right: dict[str, object] = field(default_factory=dict)
    rivals: bool = True
    warm_up: bool = True
    _volume: Volume | None = None

    @property
    def mnt(self) -> Path:
        """Where contenders mount."""
        return self.folder / "mnt"

    def fresh(self, name: str) -> Path:
        """A folder that is not there yet, for a cache."""
        path = self.folder / name
        clear(path)
        return path

    def once(self, name: str, make: Callable[[], Model]) -> Model:
        """A model that only some rows need, made when the first of them does."""
        if name not in self.more:
            self.more[name] = make()
        return self.more[name]

    @property
    def volume(self) -> Volume:
        """The volume of JuiceFS; nothing is in it until it is served."""
        if self._volume is None:
            self._volume = Volume(self.folder / "juicefs")
        return self._volume

    def settle(self, *models: Model) -> None:
        """Nothing waits to be written, and the server has its files, those two or others, in memory."""
        machine.sync()
        for model in models or (self.big, self.tensors):
            machine.warm(model.plain)

    def take_turns(
        self, row: str, contenders: dict[str, Callable[[], Sample]], *, settle: bool = True, warm_up: bool = True
    ) -> dict[str, list[Sample]]:
        """Measure A B A B …; the first turn of each is not counted when `warm_up`."""
        warm_up = warm_up and self.warm_up
        samples: dict[str, list[Sample]] = {name: [] for name in contenders}
        for turn in range(self.runs + warm_up):
            for name, contender in contenders.items():
                if settle:
                    self.settle()
                sample = contender()
                if turn >= warm_up:
                    samples[name].append(sample)
        for name, found in samples.items():
            self.report.raw(row, name, "s", [sample.seconds for sample in found])
        return samples

    def median(self, samples: dict[str, list[Sample]], name: str) -> float:
        """The median time of a contender, in seconds."""
        times = sorted(sample.seconds for sample in samples[name])
        return (times[len(times) // 2] + times[(len(times) - 1) // 2]) / 2

    def compare(
        self, row: str, what: str, samples: dict[str, list[Sample]], ours: str, theirs: str, goal: Goal | None
    ) -> None:
        """Add the ratio of two medians of time."""
        value = self.median(samples, ours) / self.median(samples, theirs)
        self.report.add(Result(row, what, value, goal=goal))


def read(operation: str, *, limit: float = 300.0, **words: Any) -> dict[str, Any]:
    """Run a reader in a process of its own."""
    done = run(module("readers", operation), stdin=json.dumps(words, default=str), limit=limit)
    return dict(json.loads(done.out))


def read_together(calls: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Run several readers at once."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(lambda call: read(call[0], **call[1]), calls))


def keep_starts(cache: Path) -> bool:
    """Remove all of a cache but the starts that were recorded; says whether there are any."""
    for path in cache.iterdir():
        if path.name != STARTS:
            clear(path)
    return any((cache / STARTS).glob("*"))


def check_file(path: Path, digest: str) -> None:
    """All of a file must be right.

    Raises:
        WrongContent: it is not.
    """
    found = read("sha256", path=path)["sha256"]
    if found != digest:
        raise WrongContent(f"{path}: read {found}, the server has {digest}")


def check_equal(found: object, wanted: object, what: str) -> None:
    """What one reader found in two files must be the same.

    Raises:
        WrongContent: it is not.
    """
    if found != wanted:
        raise WrongContent(f"{what}: read {found}, the server has {wanted}")


def dd(path: Path, block: str = "1M") -> tuple[float, float]:
    """Read a file in order; wall clock and CPU seconds."""
    done = run(["dd", f"if={path}", "of=/dev/null", f"bs={block}", "status=none"])
    return done.seconds, done.cpu


def percentile(values: Sequence[float], part: float) -> float:
    """The value that `part` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]

"""A model on the Hugging Face Hub (B19): cold, in order and by tensor, against the library that the Hub's client uses.

The Hub is the scripted one of the tests, with its content store (CAS): one program in Python that serves both sides.
"""

from __future__ import annotations

import contextlib
import json
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from scripts.benchmarks import content, mounts
from scripts.benchmarks.bench import Bench, Sample, check_equal, check_file, dd, read
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.stage import CommandFailed, background, clear, module, run, wait_until
from scripts.benchmarks.tensors import half_of_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from scripts.benchmarks.content import Model

MIB = 1 << 20
OURS, THEIRS = "fusefs mount", "hf_xet"
MOST = 256 * MIB
"""Bytes of the file: the scripted Hub, a program in Python, folds all of its tree for each proof that it gives."""


@dataclass(frozen=True, slots=True)
class Hub:
    """The running server.

    Attributes:
        url: of the Hub.
        hash: of the file in the Xet store.
        size: of the file, in bytes.
    """

    url: str
    hash: str
    size: int

    @property
    def source(self) -> str:
        """For `fusefs mount`."""
        return f"hf+{self.url}/models/org/bench"

    @property
    def words(self) -> dict[str, object]:
        """For `hubclient`."""
        token = f"{self.url}/api/models/org/bench/xet-read-token/main"
        return {"token_url": token, "hash": self.hash, "size": self.size}

    def sent(self) -> int:
        """Bytes of all answers so far, but for what tells this."""
        with urllib.request.urlopen(f"{self.url}/-/sent", timeout=60) as answer:
            return sum(size for kind, size in json.load(answer).items() if kind != "other")


def on_the_hub(bench: Bench) -> None:
    """B19."""
    if missing := [name for name in ("hf_xet", "numpy") if find_spec(name) is None]:
        bench.report.add(Result("B19", "a model on the Hub", note=f"{', '.join(missing)} is not installed"))
        return
    size = min(bench.big.size, MOST)
    model = bench.once("weights", lambda: _weights(bench, size))
    with serving(bench.folder, model.plain) as hub:
        _in_order(bench, model, hub)
        _by_tensor(bench, model, hub)


def _weights(bench: Bench, size: int) -> Model:
    """A model of numbers of 16 bits, as most on the Hub are: their chunks pack a little, and none comes twice."""
    import numpy as np

    data = (size - MIB) // content.TENSORS // 128 * 128 * content.TENSORS
    numbers = np.random.default_rng(5)

    def write(path: Path) -> int:
        header = content.safetensors_header(data, path)
        with path.open("ab") as out:
            for off in range(0, data, 8 * MIB):
                drawn = numbers.standard_normal(min(8 * MIB, data - off) // 2, dtype=np.float32) * np.float32(0.02)
                out.write((drawn.view(np.uint32) >> 16).astype(np.uint16).tobytes())
        return header

    return content.make_written(bench.www, "weights", "weights.safetensors", write)


@contextlib.contextmanager
def serving(folder: Path, path: Path) -> Iterator[Hub]:
    """The scripted Hub with one file, in a process of its own."""
    log = folder / "hub.log"
    with background(module("hubserver", str(path)), log=log) as process:
        wait_until(lambda: process.poll() is not None or "\n" in log.read_text(), 300)
        try:
            words = json.loads(log.read_text())
        except ValueError:
            raise CommandFailed(f"the scripted Hub does not start: {log.read_text()[-300:]}") from None
        yield Hub(**words)


def _in_order(bench: Bench, model: Model, hub: Hub) -> None:
    fetched: list[float] = []
    contenders: dict[str, Callable[[], Sample]] = {
        OURS: lambda: _fusefs(bench, model, hub, fetched),
        THEIRS: lambda: _hf_xet(bench, model, hub, prove=False),
        f"{THEIRS} + openssl": lambda: _hf_xet(bench, model, hub, prove=True),
    }
    samples = bench.take_turns("B19", contenders)
    words = f"on the Hub, {model.size // MIB} MiB, cold, in order: "
    bench.compare("B19", f"{words}time ÷ {THEIRS}", samples, OURS, THEIRS, Goal("≤", 1.0))
    bench.compare("B19", f"{words}time ÷ {THEIRS} + openssl", samples, OURS, f"{THEIRS} + openssl", None)
    bench.report.add(
        Result(
            "B19", f"{words}bytes fetched ÷ size", bench.report.raw("B19", f"{OURS}: bytes fetched ÷ size", "", fetched)
        )
    )


def _fusefs(bench: Bench, model: Model, hub: Hub, fetched: list[float]) -> Sample:
    cache = bench.fresh("cache")
    with mounts.fusefs(bench.mnt, cache, [hub.source]) as mount:
        cpu_before, sent_before = mount.cpu(), hub.sent()
        seconds, cpu = dd(mount.folder / model.file)
        cpu += mount.cpu() - cpu_before
        fetched.append((hub.sent() - sent_before) / model.size)
        check_file(mount.folder / model.file, model.digest)
        peak = mount.peak()
    clear(cache)
    return Sample(seconds, cpu, peak)


def _hf_xet(bench: Bench, model: Model, hub: Hub, *, prove: bool) -> Sample:
    out = bench.folder / "download"
    found = client(bench.fresh("hf"), "whole", {**hub.words, "path": str(out)})
    seconds, cpu = float(found["seconds"]), float(found["cpu"])
    if prove:
        proof = run(["openssl", "dgst", "-sha256", out])
        seconds, cpu = seconds + proof.seconds, cpu + proof.cpu
    check_file(out, model.digest)
    clear(out)
    return Sample(seconds, cpu)


def _by_tensor(bench: Bench, model: Model, hub: Hub) -> None:
    spans = half_of_tensors(model)
    touched = sum(size for _, size in spans)
    wanted = read("spans_sha256", path=model.plain, spans=spans)
    fetched: dict[str, list[float]] = {OURS: [], THEIRS: []}
    contenders: dict[str, Callable[[], float]] = {
        OURS: lambda: _ours(bench, model, hub, spans, wanted),
        THEIRS: lambda: _theirs(bench, hub, spans, wanted),
    }
    times: dict[str, list[float]] = {OURS: [], THEIRS: []}
    for _ in range(bench.runs):
        for name, contender in contenders.items():
            bench.settle(model)
            before = hub.sent()
            times[name].append(contender())
            fetched[name].append((hub.sent() - before) / touched)
    medians = {name: bench.report.raw("B19", f"{name}, by tensor", "s", found) for name, found in times.items()}
    words = "on the Hub, tensors at random, mmap: "
    bench.report.add(Result("B19", f"{words}time ÷ {THEIRS}", medians[OURS] / medians[THEIRS]))
    for name, found in fetched.items():
        value = bench.report.raw("B19", f"{name}, by tensor: bytes fetched ÷ touched", "", found)
        goal = Goal("≤", 1.15) if name == OURS else None
        bench.report.add(Result("B19", f"{words}bytes fetched ÷ touched, {name}", value, goal=goal))


def _ours(bench: Bench, model: Model, hub: Hub, spans: list[tuple[int, int]], wanted: object) -> float:
    cache = bench.fresh("cache")
    with mounts.fusefs(bench.mnt, cache, [hub.source]) as mount:
        path = mount.folder / model.file
        seconds = float(read("mapped", path=path, spans=spans)["seconds"])
        check_equal(read("spans_sha256", path=path, spans=spans), wanted, "B19")
    clear(cache)
    return seconds


def _theirs(bench: Bench, hub: Hub, spans: list[tuple[int, int]], wanted: object) -> float:
    found = client(bench.fresh("hf"), "spans", {**hub.words, "spans": spans})
    check_equal({"sha256": found["sha256"]}, wanted, "B19")
    return float(found["seconds"])


def client(home: Path, operation: str, words: Mapping[str, object]) -> dict[str, Any]:
    """What `hubclient` measures, with a home of its own that is removed."""
    environment = {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = run(module("hubclient", operation), stdin=json.dumps(words), env=environment)
    clear(home)
    return dict(json.loads(done.out))

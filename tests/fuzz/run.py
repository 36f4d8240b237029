"""Running one target with libFuzzer's limits: what it is given, and what came of it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz.targets import target_of

if TYPE_CHECKING:
    from tests.fuzz.target import Target

MEMORY = 1024
"""MiB that a target may take at most: two thirds of it are the interpreter, its instruments and the corpus."""

ONE_INPUT = 10
"""Seconds that one input may take at most."""

_TOP = Path(__file__).parents[2]
_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        target: its name.
        executions: inputs that were tried.
        coverage: places in the code that were reached.
        features: those, and how often each was, as libFuzzer counts them.
        crashes: inputs that broke a promise.
        output: what was printed, for a person.
        status: of the process.
    """

    target: str
    executions: int
    coverage: int
    features: int
    crashes: tuple[Path, ...]
    output: str
    status: int

    @property
    def good(self) -> bool:
        """Whether it ran to its end and nothing broke."""
        return self.status == 0 and not self.crashes

    def __str__(self) -> str:
        found = "ok" if self.good else f"FAILED: {', '.join(map(str, self.crashes)) or f'status {self.status}'}"
        counts = f"{self.executions:>11,} runs  {self.coverage:>5} covered  {self.features:>5} features"
        return f"{self.target:<16} {counts}  {found}"


def run(name: str, directory: Path, limits: list[str], *, seed: int = 1) -> Outcome:
    """Run a target in a process of its own.

    Args:
        name: of the target.
        directory: keeps the corpus between runs, and the inputs that broke something.
        limits: when libFuzzer has enough: `-runs=N`, `-max_total_time=S`.
        seed: of libFuzzer's dice: the same gives the same inputs as long as the code is the same.
    """
    target = target_of(name)
    corpus, found = directory / "corpus" / name, directory / "crashes" / name
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for data in target.seeds():
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)  # as libFuzzer names them
    before = set(found.iterdir())
    with tempfile.TemporaryDirectory(prefix="fusefs-fuzz-", dir=_in_memory()) as scratch:
        words = Path(scratch, "words")
        words.write_text("".join(f'"{_quoted(word)}"\n' for word in target.words))
        done = subprocess.run(
            [
                *_BY_A_SHELL,
                sys.executable,
                "-m",
                "tests.fuzz.harness",
                name,
                *_options(target, words, found, seed),
                *limits,
                str(corpus),
            ],
            cwd=_TOP,
            env={**os.environ, "PYTHONHASHSEED": "0", "TMPDIR": scratch},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
            check=False,
        )
    crashes = tuple(sorted(set(found.iterdir()) - before))
    executions = _EXECUTIONS.search(done.stdout)
    reached = _COVERAGE.findall(done.stdout)
    coverage, features = map(int, reached[-1]) if reached else (0, 0)
    count = int(executions[1]) if executions else 0
    return Outcome(name, count, coverage, features, crashes, done.stdout, done.returncode)


def _options(target: Target, words: Path, found: Path, seed: int) -> list[str]:
    return [
        f"-max_len={target.longest}",
        f"-seed={seed}",
        *([f"-dict={words}"] if target.words else []),  # an empty one is an error
        f"-rss_limit_mb={MEMORY}",
        f"-timeout={ONE_INPUT}",
        f"-artifact_prefix={found}/",
        "-print_final_stats=1",
    ]


# The peak of memory that libFuzzer looks at begins with that of the process that it was forked from: a small one.
_BY_A_SHELL = ("sh", "-c", '"$@"; exit $?', "sh")


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _in_memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

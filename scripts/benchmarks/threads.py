"""Threads of a daemon: CPU seconds of each kind.  A kind that is one thread bounds a read, whatever the cores."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks.machine import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOP, WORKERS, OTHERS, ENDED = "event loop", "workers", "wire and others", "threads that ended"
KINDS = (LOOP, WORKERS, OTHERS, ENDED)
_NS = 1e9


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread: its kind, and CPU seconds so far."""

    kind: str
    cpu: float


def threads(pid: int) -> dict[int, Thread]:
    """The living threads of a process, by their numbers."""
    found = {}
    tasks = Path(f"/proc/{pid}/task")
    own = _name(tasks / str(pid))
    for task in tasks.iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            number = int(task.name)
            # trio names its threads for the work they do; threads of our own keep the name of the program.
            kind = LOOP if number == pid else OTHERS if _name(task) == own else WORKERS
            found[number] = Thread(kind, _seconds(task))
    return found


def _name(task: Path) -> str:
    return (task / "comm").read_text().strip()


def _seconds(task: Path) -> float:
    """CPU seconds, by the nanosecond where the kernel counts them; else by its clock tick."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        if spent := int((task / "schedstat").read_text().split()[0]):
            return spent / _NS
    fields = (task / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def counted(pid: int) -> Iterator[dict[str, float]]:
    """CPU seconds that the threads of a process spend meanwhile, by kind; known when it is over."""
    spent: dict[str, float] = {}
    before, total = threads(pid), cpu_seconds(pid)
    yield spent
    after = threads(pid)
    all_of_it = cpu_seconds(pid) - total
    kinds = dict.fromkeys(KINDS, 0.0)
    for number, thread in after.items():
        kinds[thread.kind] += thread.cpu - (before[number].cpu if number in before else 0.0)
    # What the process spent beyond its living threads, those spent that have ended since.
    kinds[ENDED] = max(0.0, all_of_it - sum(kinds.values()))
    spent.update(kinds)

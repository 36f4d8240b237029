"""Dump: what a mount is doing, as text for its log: tasks, reads, requests, memory, counters.

Nothing in it is secret: names, paths and numbers, no header, no URL's query, no content.  Its size is bounded.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from fusefs.system import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fusefs.engine.engine import Engine
    from fusefs.vfs.reads import Reads

MOST = 100
"""Lines of each part."""

_FRAMES = 4
"""Of a task's stack, the innermost."""

_TRIO = (("trio",), ("_core",))
"""Folders of its files."""

_OF_INTEREST = ("VmRSS", "VmHWM", "RssAnon", "Threads")


def dump(reads: Reads, engine: Engine) -> str:
    """All of it.  On the event loop; short."""
    now, fetcher = trio.current_time(), engine.fetcher
    root = trio.lowlevel.current_root_task()
    parts: list[tuple[str, Iterable[str]]] = [
        ("tasks", _tasks(root, 0) if root else ()),
        (f"reads that wait: {len(reads)}", (f"{read}, for {now - read.since:.1f} s" for read in reads)),
        (f"chunks on their way, requests: {fetcher.in_flight}", fetcher.flights()),
        ("requests", engine.pool.in_flight()),
        ("memory", (*_memory(), f"open blobs {fetcher.open_blobs}")),
        ("counters", (f"{name} {count}" for name, count in engine.counters.snapshot().items())),
    ]
    return "\n".join(line for title, lines in parts for line in (f"{title}:", *_bounded(lines)))


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    left = 0
    for number, line in enumerate(lines):
        if number < MOST:
            yield f"  {line[:400]}"
        else:
            left += 1
    if left:
        yield f"  and {left} more"


def _tasks(task: trio.lowlevel.Task, depth: int) -> Iterator[str]:
    """A task and its children, indented; of those that wait at the same place one stands for all."""
    yield f"{'  ' * depth}{_described(task)}"
    for nursery in task.child_nurseries:
        alike = Counter(_described(child) for child in nursery.child_tasks if not child.child_nurseries)
        yield from (f"{'  ' * (depth + 1)}{text}" + (f" (x {n})" if n > 1 else "") for text, n in alike.items())
        for child in nursery.child_tasks:
            if child.child_nurseries:
                yield from _tasks(child, depth + 1)


def _described(task: trio.lowlevel.Task) -> str:
    frames = [(Path(frame.f_code.co_filename), line, frame.f_code.co_name) for frame, line in task.iter_await_frames()]
    # Where trio itself waits says little; which of its functions was called does.
    ours = [number for number, (file, _, _) in enumerate(frames) if file.parts[-2:-1] not in _TRIO]
    frames = frames[: ours[-1] + 2 if ours else 1][-_FRAMES:]
    return f"{task.name}: {' > '.join(f'{file.name}:{line} {name}' for file, line, name in frames) or 'running'}"


def _memory() -> Iterator[str]:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in _OF_INTEREST:
                yield f"{name} {value.strip()}"
        yield f"file descriptors {sum(1 for _ in Path('/proc/self/fd').iterdir())} of {descriptors.limit()}"
    except OSError as exc:  # most of all when there is no descriptor left this text is wanted
        yield f"not to be had: {exc.strerror}; {descriptors.limit()} file descriptors are allowed"

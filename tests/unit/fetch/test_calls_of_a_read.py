"""How much Python one read is: `scripts/calls` counts it, and it must not grow unseen.

Not a matter of time but of how far a reader of the code has to go: each call is a step of the way.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[3]

MARGIN = 1.05
"""Versions of Python differ by a comprehension here and there, and once a second the fetcher looks round."""


@pytest.fixture(scope="module")
def counted() -> dict[str, Any]:
    """What the script counts, by read; in a process of its own, because it watches every thread."""
    command = [sys.executable, "-m", "scripts.benchmarks.readcalls", "--json"]
    found: dict[str, Any] = json.loads(subprocess.check_output(command, cwd=TOP, timeout=120))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "place", "most"),
    [
        ("first cold read of a blob", "total", 874),
        ("later cold read, one chunk", "total", 255),
        ("later cold read, one chunk", "event loop", 149),
        ("warm read, not sealed", "total", 40),
        ("warm read, sealed", "total", 37),
    ],
)
def test_a_read_takes_no_more_calls_than_it_took(counted: dict[str, Any], what: str, place: str, most: int) -> None:
    found = counted[what][place]
    calls = found if isinstance(found, int) else found[0]
    assert calls <= most * MARGIN


@pytest.mark.slow
def test_a_chunk_goes_through_six_files_on_the_way_to_its_worker(counted: dict[str, Any]) -> None:
    assert counted["later cold read, one chunk"]["way"] == [
        "fuse/operations.py",
        "vfs/filesystem.py",
        "vfs/blobfile.py",
        "fetch/fetcher.py",
        "fetch/flights.py",
        "fetch/dispatcher.py",
    ]


@pytest.mark.slow
def test_a_warm_read_stays_on_the_event_loop(counted: dict[str, Any]) -> None:
    for what in ("warm read, not sealed", "warm read, sealed"):
        assert counted[what]["worker"] == counted[what]["other threads"] == [0, 0, 0]

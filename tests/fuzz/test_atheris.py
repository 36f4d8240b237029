"""Every target under libFuzzer, which keeps what reaches new code: the same few thousand inputs each time."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.fuzz import run
from tests.fuzz.targets import BROKEN, TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUNS = 2000
"""Inputs a target: a second or less, of which a process with its instruments takes two more to begin."""


@pytest.mark.slow
def test_p10_nothing_that_reaches_new_code_breaks_a_promise(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda name: run.run(name, tmp_path, [f"-runs={RUNS}"]), TARGETS))
    record_property("faults.fuzz_executions", sum(outcome.executions for outcome in outcomes))
    record_property("faults.fuzz_targets", len(outcomes))
    for outcome in outcomes:
        assert outcome.good, f"{outcome}\n{outcome.output[-4000:]}"
        assert outcome.executions >= RUNS, outcome
        # Without instruments nothing is covered, and a run is worth nothing.
        assert outcome.coverage >= len(TARGETS[outcome.target].seeds()) // 2, outcome


@pytest.mark.slow
def test_a_target_that_breaks_is_found_and_its_input_kept(tmp_path: Path) -> None:
    """The test of the tests."""
    outcome = run.run(BROKEN.name, tmp_path, ["-runs=1000000"])
    assert not outcome.good
    (crash,) = outcome.crashes
    assert re.fullmatch(r"crash-[0-9a-f]{40}", crash.name)
    with pytest.raises(AssertionError):
        BROKEN.check(crash.read_bytes())
    assert "FAILED" in str(outcome)

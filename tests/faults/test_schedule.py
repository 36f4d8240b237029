"""Any interleaving of reads, faults, cancels, two processes, restarts, damage and full disks."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from tests.faults.damage import KINDS
from tests.faults.schedule import DATA, PROCESSES, TROUBLES, Machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.damage import Damage

PATIENCE = 30.0
"""Seconds for one schedule; `--timeout` of the machine's fetchers is 5 s, and nothing in here should run into it."""


def _step(name: str, **arguments: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[str, dict[str, object]]]:
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


_number = st.integers(0, PROCESSES - 1)
_off = st.integers(0, len(DATA) - 1)

Steps = list[tuple[str, dict[str, object]]]

_READ = _step("read", number=_number, off=_off, size=st.integers(1, len(DATA)))
_STEP = st.one_of(
    _READ,
    _READ,
    _step("trouble", number=_number, trouble=st.sampled_from(TROUBLES)),
    _step("silence", number=_number),
    _step("cancel", number=_number),
    _step("settle"),
    _step("disk", full=st.booleans()),
    _step("stop", number=_number),
)
_DAMAGE = _step("damage", kinds=st.lists(st.sampled_from(KINDS), max_size=3), where=_off, reboot=st.booleans())


@st.composite
def schedules(draw: st.DrawFn) -> Steps:
    """One to three times: something is read while things go wrong, and then perhaps files are damaged."""
    steps: Steps = []
    for _ in range(draw(st.integers(1, 3))):
        steps += [draw(_READ), *draw(st.lists(_STEP, max_size=8))]
        steps += draw(st.sampled_from([[], [("settle", {})]]))
        steps += draw(st.lists(_DAMAGE, max_size=1))
    return steps


def _part_then(*kinds: Damage, reboot: bool = True) -> Steps:
    """Chunks 1 to 5 are present, the machine goes down, and chunk 3 is what the damage is about."""
    part: dict[str, object] = {"number": 0, "off": 150, "size": 400}
    damage: dict[str, object] = {"kinds": list(kinds), "where": 350, "reboot": reboot}
    return [("read", part), ("settle", {}), ("damage", damage), ("read", part | {"number": 1})]


_FAILED_ONCE: Steps = [
    ("trouble", {"number": 0, "trouble": "error"}),
    ("read", {"number": 0, "off": 0, "size": 100}),
    ("settle", {}),
]
_SILENT_AND_KILLED: Steps = [
    ("silence", {"number": 0}),
    ("read", {"number": 0, "off": 0, "size": 300}),
    ("read", {"number": 1, "off": 100, "size": 300}),
    ("cancel", {"number": 0}),
    ("stop", {"number": 0}),
]


_ROTTEN_BESIDE_ANOTHER: Steps = [
    ("read", {"number": 0, "off": 70, "size": 534}),
    ("settle", {}),
    ("read", {"number": 1, "off": 403, "size": 103}),
    ("settle", {}),
    ("damage", {"kinds": ["flip-sealed"], "where": 440, "reboot": True}),
    ("read", {"number": 1, "off": 296, "size": 616}),
    ("read", {"number": 0, "off": 354, "size": 814}),
    ("settle", {}),
]
"""One process finds the rot and takes the final name away; to the other one the blob is sealed all the time."""


async def _run(root: Path, steps: Steps, listed: bool) -> None:
    with pytest.MonkeyPatch.context() as patch, trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            machine = Machine(root, nursery, patch, listed=listed)
            for name, arguments in steps:
                await getattr(machine, name)(**arguments)
            await machine.finish()


@dataclass
class _Tally:
    """What was played, for the report."""

    rounds: int = 0
    injected: int = 0

    def count(self, steps: Steps) -> None:
        self.rounds += 1
        self.injected += sum(name not in ("read", "settle") for name, _ in steps)


@example(steps=_part_then("flip-data"), listed=True)
@example(steps=_part_then("zero-data", "no-map"), listed=True)
@example(steps=_part_then("flip-data", "noise-list"), listed=True)
@example(steps=_part_then("no-data", reboot=False), listed=True)
@example(steps=_part_then("zero-data"), listed=False)
@example(steps=_FAILED_ONCE, listed=True)
@example(steps=_SILENT_AND_KILLED, listed=True)
@example(steps=_ROTTEN_BESIDE_ANOTHER, listed=False)
@given(steps=schedules(), listed=st.sampled_from([True, True, True, False]))
def _play(tally: _Tally, steps: Steps, listed: bool) -> None:
    tally.count(steps)
    with tempfile.TemporaryDirectory() as root:
        trio.run(partial(_run, Path(root), steps, listed))


@pytest.mark.logs(
    "does not match its digest|changed on disk|no list today|No space left|its chunk list was wrong|fetched again"
    "|replaced the data of this blob"
)
def test_p2_whatever_goes_wrong_a_read_gives_the_right_bytes_or_an_error(
    record_property: Callable[[str, object], None],
) -> None:
    tally = _Tally()
    _play(tally)
    record_property("faults.rounds", tally.rounds)
    record_property("faults.injected", tally.injected)
    record_property("faults.bytes_wrong", 0)  # or it would have failed

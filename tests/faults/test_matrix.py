"""Every fault at every place for every kind of reader: see `tests.faults.matrix` for the table and what it means."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.certificate import make_certificate
from tests.faults.matrix import DEFAULT_ELSEWHERE, DEFAULT_RUN, KINDS, RIGHT, Cell, cells, rows
from tests.faults.matrix_cell import Player, Tally, check_credentials, check_moved
from tests.faults.matrix_places import SCENES

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.mark.structures import ParameterSet

    from tests.certificate import Certificate

CELLS = tuple(cells())
ALL = bool(os.environ.get("FUSEFS_FAULTS_ALL"))
"""Whether every cell is played; else of the places that are no registry of Ollama's only one for each row."""


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One that nobody trusts."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


Play = Callable[[Cell], None]


@pytest.fixture
def play(
    tmp_path: Path,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> Play:
    """Plays a cell; it leaves its name and its numbers to `scripts/faults`."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    def played(cell: Cell) -> None:
        record_property("faults.cell", str(cell))
        tally = Tally()
        with SCENES[cell.kind](cell, certificate, monkeypatch) as scene:
            player = Player(cell, scene, tmp_path, tally)
            try:
                player.play()
                if cell.row.does == "elsewhere":
                    check_credentials(scene)
                if cell.row.does == "moved-tag":
                    check_moved(scene, player)
            finally:
                tally.record(scene, record_property)

    return played


def _cells(*, right: bool) -> list[ParameterSet]:
    return [
        pytest.param(cell, marks=() if cell.fast else pytest.mark.slow, id=str(cell))
        for cell in CELLS
        if (cell.outcome is RIGHT) is right and (ALL or cell.kind == "ollama" or cell.spare)
    ]


@pytest.mark.logs(".")  # what is said of a fault is other tests' concern
@pytest.mark.parametrize("cell", _cells(right=True))
def test_p2_a_fault_that_can_be_got_over_ends_in_the_right_bytes(cell: Cell, play: Play) -> None:
    """No byte of it was wrong on the way, and it took the stated time at most (P1, P6)."""
    play(cell)


@pytest.mark.logs(".")
@pytest.mark.parametrize("cell", _cells(right=False))
def test_p6_a_fault_that_cannot_be_got_over_is_its_errno_in_time_and_is_forgotten(cell: Cell, play: Play) -> None:
    """Nothing wrong is marked, and what was right is neither lost nor fetched again when the fault is gone (P1, P5)."""
    play(cell)


def test_the_rows_of_the_default_run_are_rows_of_the_matrix() -> None:
    for kind in KINDS:
        titles = {row.title for row in rows(kind)}
        assert titles >= DEFAULT_RUN if kind == "ollama" else titles & DEFAULT_ELSEWHERE
    assert len({str(cell) for cell in CELLS}) == len(CELLS)

"""Many readers, many models, a bad server, for as long as FUSEFS_LOAD_SECONDS says; see tests.faults.load."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.faults import load
from tests.faults.load_content import MIB, Content

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECONDS = float(os.environ.get("FUSEFS_LOAD_SECONDS", "30"))


@pytest.mark.slow
def test_p4_sixty_four_readers_of_twenty_models_are_all_answered_rightly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    assert sum(count for _, count in load.READERS) == 64
    assert len(load.CONTENTS) == 20
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    outcome = load.run(tmp_path, SECONDS)
    record_property("faults.rounds", outcome.tally.reads)
    record_property("faults.injected", sum(outcome.injected.values()))
    record_property("faults.bytes_compared", outcome.tally.compared)
    record_property("faults.bytes_wrong", len(outcome.tally.wrong))
    assert not list(outcome.problems())
    assert outcome.tally.compared > load.CACHE
    assert outcome.counters["chunks_rejected"] > 0
    assert sum(outcome.injected.values()) >= outcome.requests * load.FAULTY / 2


def test_bytes_of_another_place_or_model_are_other_bytes() -> None:
    """Else the comparison would compare nothing."""
    content, other = Content(1, 300 * MIB), Content(2, 300 * MIB)
    pages = [c.part(off, 4096) for c in (content, other) for off in range(0, 40 * MIB, 4096)]
    assert len(set(pages)) == len(pages)
    assert b"".join(content.parts(5, 9 * MIB)) == b"".join(content.part(off, 1) for off in range(5, 9)) + b"".join(
        content.parts(9, 9 * MIB)
    )

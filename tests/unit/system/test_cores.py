"""Cores: what the kernel says of threads that run decides, and what it does not say is no reason to wait."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from fusefs.system import cores

if TYPE_CHECKING:
    from pathlib import Path

MANY = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "idle"),
    [
        (f"9.00 9.00 9.00 {MANY}/300 4711\n", True),
        (f"0.00 0.00 0.00 {MANY + 1}/300 4711\n", False),
        ("0.00 0.00\n", True),
        ("a b c d/e f\n", True),
        (None, True),
    ],
)
def test_a_core_is_idle_unless_more_threads_run_than_there_are(
    text: str | None, idle: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (tmp_path / "loadavg").write_text(text)
    monkeypatch.setattr(cores, "LOADAVG", tmp_path / "loadavg")
    assert cores.Cores().idle() is idle


def test_a_look_is_good_for_a_moment_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "LOADAVG", tmp_path / "loadavg")
    monkeypatch.setattr(cores, "_FRESH", 3600.0)
    (tmp_path / "loadavg").write_text(f"0 0 0 {MANY + 1}/300 4711\n")
    some = cores.Cores()
    assert not some.idle()
    (tmp_path / "loadavg").write_text("0 0 0 1/300 4711\n")
    assert not some.idle(), "it was looked at a moment ago"
    monkeypatch.setattr(cores, "_FRESH", 0.0)
    other = cores.Cores()
    assert other.idle()
    (tmp_path / "loadavg").write_text(f"0 0 0 {MANY + 1}/300 4711\n")
    assert not other.idle()

"""Tuning against folders laid out as sysfs is, so that every way it can fail is met without a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusefs.fuse import kernel

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """A sysfs with connection 42, as the kernel makes it."""
    for name, value in (
        ("class/bdi/0:42/read_ahead_kb", "128\n"),
        ("fs/fuse/connections/42/max_background", "12\n"),
        ("fs/fuse/connections/42/congestion_threshold", "9\n"),
        ("fs/fuse/connections/42/abort", ""),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(value)
    return tmp_path


def test_every_limit_is_set_and_read_back(sys: Path) -> None:
    tuning = kernel.tune(42, read_ahead_kb=512, max_background=100, congestion_threshold=75, sys=sys)
    assert [(knob.name, knob.wanted, knob.actual, knob.why_not) for knob in tuning.knobs] == [
        ("read_ahead_kb", 512, 512, ""),
        ("max_background", 100, 100, ""),
        ("congestion_threshold", 75, 75, ""),
    ]
    assert tuning.complaint == ""
    assert (sys / "class/bdi/0:42/read_ahead_kb").read_text() == "512\n"


def test_what_could_not_be_set_is_told_with_its_reason(sys: Path) -> None:
    (sys / "fs/fuse/connections/42/max_background").unlink()
    (sys / "fs/fuse/connections/42/max_background").mkdir()
    tuning = kernel.tune(42, sys=sys)
    assert tuning.as_dict()["max_background"] == {
        "wanted": kernel.MAX_BACKGROUND,
        "actual": None,
        "why_not": "Is a directory",
    }
    assert tuning.as_dict()["congestion_threshold"] == {"wanted": 48, "actual": 48, "why_not": ""}
    assert tuning.complaint == "max_background is None: Is a directory"


def test_a_machine_without_fusectl_and_bdi_is_no_error(tmp_path: Path) -> None:
    tuning = kernel.tune(42, sys=tmp_path)
    assert [knob.actual for knob in tuning.knobs] == [None] * 3
    assert all("No such file or directory" in knob.why_not for knob in tuning.knobs)
    assert not kernel.abort(42, sys=tmp_path)


def test_abort_writes_to_the_connection_of_that_number(sys: Path) -> None:
    assert kernel.abort(42, sys=sys)
    assert (sys / "fs/fuse/connections/42/abort").read_text() == "1\n"


def test_a_file_gets_its_window_as_it_is_opened(sys: Path) -> None:
    window = kernel.Window(42, sys=sys)
    knob = sys / "class/bdi" / "0:42" / "read_ahead_kb"
    for sealed, in_order, expected in (
        (False, False, 256),
        (True, False, 1024),
        (True, True, 1024),
        (False, False, 256),
        (False, True, 1024),
    ):
        window.choose(sealed=sealed, in_order=in_order)
        assert int(knob.read_text()) == expected


def test_a_window_that_may_not_be_set_is_left_alone(tmp_path: Path) -> None:
    kernel.Window(7, sys=tmp_path).choose(sealed=True, in_order=False)

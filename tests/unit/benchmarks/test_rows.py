"""The rows: each has a function, a real tree of small files, and a reason where a feature is off."""

from __future__ import annotations

import argparse
import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from scripts.benchmarks import arguments, machine, native, smallfiles
from scripts.benchmarks.rows import ROWS, plan

if TYPE_CHECKING:
    from pathlib import Path


def test_every_row_that_can_be_asked_for_is_measured() -> None:
    measured = set().union(*(rows for rows, _ in plan(argparse.Namespace(quick=True))))
    assert measured == set(ROWS)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--size", "15MiB"], "must be 16MiB or more"),
        (["--cores", "0"], "--cores must be 1 to"),
        (["--cores", "100000"], "--cores must be 1 to"),
        (["--against", "/nowhere"], "is no checkout of fusefs"),
        (["--only", "B99"], "no such row: B99"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(
    words: list[str], reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["scripts/bench", *words])
    with pytest.raises(SystemExit):
        arguments.parse()
    assert reason in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({}, "this fusefs has no passthrough"),
        ({"wire": {"threads": 2}}, "this fusefs has no passthrough"),
        ({"wire": {"passthrough": True, "no_passthrough": ""}}, ""),
        (
            {"wire": {"passthrough": False, "no_passthrough": "the kernel is older than 6.9"}},
            "the kernel is older than 6.9",
        ),
        ({"wire": {"passthrough": False}}, "the mount does not say why"),
    ],
)
def test_a_mount_says_why_it_has_no_passthrough(status: dict[str, object], reason: str) -> None:
    assert native.why_off(status) == reason


def test_the_small_files_are_real_ones_and_all_different(tmp_path: Path) -> None:
    real = list(smallfiles.real_files())
    assert {"tokenizer.json", "config.json", "vocab.txt"} <= {path.name for path in real}
    made = smallfiles.make(tmp_path, real)
    blobs = {path.name for path in (tmp_path / "v2/library/small/blobs").iterdir()}
    assert len(made) == smallfiles.FILES
    assert blobs == {"sha256:" + hashlib.sha256(content).hexdigest() for content in made.values()}
    assert len(blobs) == smallfiles.FILES


def test_pages_that_two_names_share_are_counted_once(tmp_path: Path) -> None:
    size = 1 << 20
    one, other, link = (tmp_path / name for name in ("one", "other", "link"))
    for path in (one, other):
        path.write_bytes(os.urandom(size))
    os.link(one, link)
    for path, pages in ((link, size), (other, 2 * size)):
        machine.warm(one)
        machine.warm(path)
        assert machine.copies(path, one) == pages

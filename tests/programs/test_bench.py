"""The benchmark runs from end to end.  Its figures mean nothing here: that it has all of them is what is tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmarks.markdown import SHORT

TOP = Path(__file__).parents[2]
HANGS = 900.0
"""Seconds: ten times what a run takes."""

LEAST = ["--size", "16MiB", "--runs", "1", "--quick"]


def bench(folder: Path, *words: str) -> dict[str, Any]:
    """What a run found; it leaves nothing behind in its folder."""
    work, found = folder / "work", folder / "found.json"
    work.mkdir()
    argv = [sys.executable, "-m", "scripts.benchmarks", *LEAST, "--dir", str(work), "--json", str(found), *words]
    with subprocess.Popen(argv, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said, _ = process.communicate(timeout=HANGS)
        except subprocess.TimeoutExpired:
            process.terminate()  # it ends its servers and mounts itself
            raise
    assert process.returncode == 0, said
    assert list(work.iterdir()) == []
    return dict(json.loads(found.read_text()))


@pytest.mark.slow
def test_a_run_has_a_figure_or_a_reason_for_each_of_its_rows(tmp_path: Path) -> None:
    rows = "B1,B8,B14,B17,B20,B21"
    found = bench(tmp_path, "--only", rows, "--cores", "1")
    results = found["results"]
    assert {one["row"] for one in results} >= set(rows.split(","))
    assert not [one for one in results if one["failed"]]
    assert all(one["note"] for one in results if one["value"] is None), "what was not measured says why"
    assert found["machine"]["cores"] == "1"
    named = {(one["row"], one["what"]) for one in results}
    assert not [row for row in SHORT if row[0] in rows.split(",") and row[:2] not in named], "README's rows exist"


@pytest.mark.slow
def test_a_checkout_is_measured_against_another_one(tmp_path: Path) -> None:
    found = bench(tmp_path, "--only", "B1,B13,B7c", "--against", str(TOP))
    assert found["failed"] == {"this": [], TOP.name: []}
    ratios = {(one["row"], one["what"], one["unit"]): one["ratio"] for one in found["changes"]}
    for key in (("B1", "fusefs mount", "s"), ("B1", "curl", "s"), ("B13", "fusefs mount", "CPU s/GB")):
        assert ratios[key] > 0

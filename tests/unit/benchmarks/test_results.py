"""Figures of several runs in one table."""

from __future__ import annotations

import pytest

from scripts.benchmarks.results import OtherSetting, Report, Result


def report_of(date: str, *results: Result, runs: str = "5") -> Report:
    report = Report({"date": date, "kernel": "6"}, {"runs": runs, "working folder": f"/tmp/{date}"})
    report.add(*results)
    for result in results:
        report.raw(result.row, result.what, "s", [result.value or 0.0])
    return report


def test_a_row_of_a_later_run_replaces_all_of_it() -> None:
    first = report_of("1", Result("B1", "a", 1.0), Result("B1", "b", 2.0), Result("B2", "a", 3.0))
    first.take(report_of("2", Result("B1", "a", 4.0)))
    first.take(report_of("3", Result("B9", "a", 5.0)))
    assert {(one.row, one.what, one.value) for one in first.results} == {
        ("B1", "a", 4.0),
        ("B2", "a", 3.0),
        ("B9", "a", 5.0),
    }
    assert first.median("B1", "a") == 4.0
    assert {one.row for one in first.series} == {"B1", "B2", "B9"}
    assert len(first.series) == 3
    assert first.machine["date"] == "1 to 3"


def test_the_row_that_is_measured_beside_others_is_replaced_by_its_lines() -> None:
    first = report_of("1", Result("B11", "in B1", 1.0), Result("B11", "in B3", 2.0))
    first.take(report_of("2", Result("B11", "in B3", 3.0)))
    assert {(one.what, one.value) for one in first.results} == {("in B1", 1.0), ("in B3", 3.0)}


def test_runs_that_were_not_made_alike_do_not_mix() -> None:
    first = report_of("1", Result("B1", "a", 1.0))
    with pytest.raises(OtherSetting, match="runs is '5' and '3'"):
        first.take(report_of("2", Result("B2", "a", 1.0), runs="3"))

"""The search for rclone's flags."""

from __future__ import annotations

from scripts.benchmarks import rclone, search
from scripts.benchmarks.results import Report, Result


def test_the_search_keeps_what_was_faster_and_measures_nothing_twice() -> None:
    tried: list[dict[str, str]] = []

    def take(flags: rclone.Flags) -> float:
        found = dict(flags)
        assert found not in tried
        tried.append(found)
        return 10.0 - 2.0 * (found["--vfs-read-chunk-size"] == "64M") - 1.0 * (found.get("--max-read-ahead") == "4Mi")

    best, seconds, known = search.climb(rclone.BEST["off"], take)
    assert dict(best) == dict(rclone.BEST["off"]) | {"--vfs-read-chunk-size": "64M", "--max-read-ahead": "4Mi"}
    assert (seconds, known) == (7.0, 10.0)
    values = {flag: {one[flag] for one in tried if flag in one} for flag in search.VALUES}
    assert all(values[flag] >= set(search.VALUES[flag]) for flag in search.VALUES), "each value was tried"


def test_where_nothing_is_faster_the_flags_in_use_stay() -> None:
    best, seconds, known = search.climb(rclone.BEST["full"], lambda _: 3.0)
    assert (best, seconds, known) == (rclone.BEST["full"], 3.0, 3.0)


def test_the_table_has_all_that_was_tried_and_marks_the_best() -> None:
    report = Report({"rclone": "1.75.2"}, {"runs": "3"})
    report.raw("rclone off", "--a 1", "s", [3.0, 1.0, 2.0])
    report.raw("rclone off", "--a 2", "s", [4.0])
    report.add(Result("rclone off", "best flags: --a 1", 2.0, "s"))
    lines = search.table(report).splitlines()
    assert lines[-2:] == ["| off | `--a 1` | 2 | ✓ |", "| off | `--a 2` | 4 |  |"]

"""The figures in README and the pages are written by programs, between marks, and nothing else is touched."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from scripts.benchmarks import markdown
from scripts.benchmarks.results import Goal, Report, Result
from scripts.benchmarks.rows import ROWS
from scripts.faultmatrix import table
from scripts.faultmatrix.__main__ import MATRIX, OTHERS
from scripts.faultmatrix.collect import Area, Collector

TOP = Path(__file__).parents[2]


def measured() -> Report:
    report = Report({"processor": "abacus", "cores": "2", "date": "2026-01-01"}, {})
    report.add(Result("B1", "cold, in order: time ÷ curl", 2.0))
    report.add(Result("B1", "cold, in order: time ÷ rclone off, best flags", 4.0))
    report.add(Result("B2", "cold, in order: fusefs mount, share of the link", 0.5, goal=Goal("≥", 0.97)))
    return report


def test_the_short_table_has_its_five_rows_whatever_was_measured() -> None:
    lines = markdown.short(measured()).splitlines()
    rows = [line for line in lines if line.startswith("| B")]
    assert [row.split()[1] for row in rows] == ["B1", "B2", "B5", "B14", "B15"]
    assert "| 0.5 | ≥ 0.97 | ✗ **missed** |" in rows[1]
    assert "| - |" in rows[2]


def test_the_picture_is_drawn_from_the_same_figures() -> None:
    bars = {line[:23].strip(): line for line in markdown.picture(measured()) if "█" in line}
    assert {title: bar.split()[-1] for title, bar in bars.items()} == {
        "curl: no check": "1.00",
        "rclone mount: no check": "0.50",
        "fusefs mount: verified": "2.00",
    }
    assert bars["fusefs mount: verified"].count("█") == 4 * bars["rclone mount: no check"].count("█")


def test_the_rows_that_readme_shows_are_rows_of_the_page() -> None:
    page = (TOP / "fusefs/docs/performance.md").read_text()
    for row, what, _ in markdown.SHORT:
        assert f"| {row} | {what} |" in page
    for _, bar in markdown.BARS:
        assert bar is None or f"| {bar} |" in page


def test_what_stands_outside_the_marks_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench: written -->\nold\n<!-- /bench -->\nafter\n")
    markdown.put(page, "new\n")
    assert page.read_text() == "before\n<!-- bench: written -->\n\nnew\n\n<!-- /bench -->\nafter\n"
    page.write_text("<!-- /bench -->\n<!-- bench: written -->\n")
    with pytest.raises(markdown.NoMarks):
        markdown.put(page, "new\n")


def test_readme_gets_the_sum_of_the_attacks_and_the_page_every_row(tmp_path: Path) -> None:
    page, readme = tmp_path / "page.md", tmp_path / "README.md"
    for path in (page, readme):
        path.write_text("a\n<!-- faults: written -->\nold\n<!-- /faults -->\nb\n")
    collector = Collector()
    for name in ("crash", "rot"):
        collector.areas[name] = Area(tests=2, green=2, numbers=Counter(bytes_compared=1_000, bytes_wrong=0))
    table.into_docs(page, readme, collector)
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[1:]] == [table.AREAS["crash"], "bit rot", "**all**"]
    short = [line for line in readme.read_text().splitlines() if line.startswith("| ")]
    assert short == [rows[0], rows[-1]]
    assert "| 4, 4 |" in short[1]
    assert "| 2,000 | 0 |" in short[1]
    for path in (page, readme):
        assert path.read_text().startswith("a\n<!-- faults: written -->\n\n")
        assert path.read_text().endswith("\n\n<!-- /faults -->\nb\n")


def test_the_page_has_a_row_of_every_attack_that_is_played() -> None:
    page = (TOP / "fusefs/docs/reliability.md").read_text()
    played = [table.AREAS[Path(test).stem.removeprefix("test_")] for test in (MATRIX, *OTHERS)]
    assert [title for title in played if f"\n| {title} | " not in page] == []
    assert set(played) == set(table.AREAS.values())


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("README.md", "bench"),
        *(("fusefs/docs/performance.md", mark) for mark in ("bench", "missed", "scaling", "rclone")),
    ],
)
def test_the_files_have_the_marks_of_the_benchmark(name: str, mark: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.md"
    copy.write_text((TOP / name).read_text())
    markdown.put(copy, "new\n", name=mark)
    assert f"\n\nnew\n\n<!-- /{mark} -->" in copy.read_text()


def test_a_run_fills_all_marks_of_the_pages_but_those_of_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, path in (("PAGE", "fusefs/docs/performance.md"), ("README", "README.md")):
        copy = tmp_path / f"{name}.md"
        copy.write_text((TOP / path).read_text())
        monkeypatch.setattr(markdown, name, copy)
    report = measured()
    report.raw("B13", "fusefs mount: CPU of the event loop", "s/GiB", [0.5])
    report.raw("B13", "fusefs mount: CPU of the workers", "s/GiB", [1.5])
    markdown.into_pages(report)
    page = (tmp_path / "PAGE.md").read_text()
    assert "| B2 | cold, in order: fusefs mount, share of the link | 0.5 | ≥ 0.97 |\n\n<!-- /missed -->" in page
    assert "| 16 | 1.16 GiB/s (link) | 2.00 GiB/s (event loop) | 2.00 GiB/s (event loop) |" in page
    assert "█" in (tmp_path / "README.md").read_text()


def test_goals_that_are_met_or_were_not_measured_are_not_called_missed() -> None:
    report = Report({}, {})
    report.add(Result("B1", "met", 0.5, goal=Goal("≤", 1)), Result("B2", "off", note="off", goal=Goal("≤", 1)))
    assert markdown.missed(report) == "None.\n"


def test_every_row_of_the_benchmark_is_explained_on_its_page() -> None:
    page = (TOP / "fusefs/docs/performance.md").read_text()
    table = page[page.index("## Rows") : page.index("## Figures")]
    explained = {line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| B")}
    assert explained == {"B7a, b, c", *ROWS} - {"B7a", "B7b", "B7c"}

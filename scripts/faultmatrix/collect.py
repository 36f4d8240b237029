"""A pytest plugin that collects what tests counted, by area.

A test that has numbers for the report records them:

    def test_p5_…(record_property):
        record_property("faults.rounds", 500)
        record_property("faults.bytes_wrong", 0)

The area of a test is the name of its file without `test_` (`tests/faults/test_crash.py`: `crash`); the numbers of an
area are the sums over its tests.  `faults.cell` with a text instead of a number names the cell of the fault matrix that
the test plays.  Names that mean the same in every area: `injected` (faults that happened), `rounds`, `bytes_compared`,
`bytes_wrong`, `bytes_refetched`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

PREFIX = "faults."


@dataclass
class Area:
    """What the tests of one file came to.

    Attributes:
        tests: how many ran.
        green: how many of them passed.
        numbers: sums of what they recorded.
        failures: the reports of those that did not pass: test and text.
    """

    tests: int = 0
    green: int = 0
    numbers: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)


class Collector:
    """The plugin.

    Attributes:
        areas: by name, in the order in which they ran.
        cells: of the fault matrix: whether each that was played is green.
    """

    def __init__(self) -> None:
        self.areas: dict[str, Area] = {}
        self.cells: dict[str, bool] = {}
        self._counted: dict[str, int] = {}

    def document(self) -> dict[str, dict[str, object]]:
        """The areas, for JSON."""
        return {
            name: {"tests": area.tests, "green": area.green, "numbers": dict(area.numbers), "failures": area.failures}
            for name, area in self.areas.items()
        }

    def restore(self, document: dict[str, Any]) -> None:
        """Take over what an earlier run found (the document of `--json`)."""
        self.cells.update(document["cells"])
        for name, found in document["areas"].items():
            failures = [(test, text) for test, text in found["failures"]]
            self.areas[name] = Area(found["tests"], found["green"], Counter(found["numbers"]), failures)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Told of the set-up, the call and the tear-down of each test."""
        area = self.areas.setdefault(Path(report.nodeid.partition("::")[0]).stem.removeprefix("test_"), Area())
        if not report.passed:  # a skipped test has shown nothing either
            area.failures.append((report.nodeid.partition("::")[2], report.longreprtext))
            area.green -= report.when == "teardown"
        counted = self._counted.pop(report.nodeid, 0) if report.when == "teardown" else 0
        found = report.user_properties[counted:]
        self._counted[report.nodeid] = len(report.user_properties) if report.when == "call" else 0
        properties = {key.removeprefix(PREFIX): value for key, value in found if PREFIX in key}
        cell = properties.pop("cell", None)
        if isinstance(cell, str):
            self.cells[cell] = report.passed and self.cells.get(cell, True)
        if report.when == "call":
            area.tests += 1
            area.green += report.passed
        elif report.when == "setup" and not report.passed:
            area.tests += 1
        if report.when != "setup":  # what a fixture sums up over a module is known when it is torn down
            area.numbers.update({key: value for key, value in properties.items() if isinstance(value, int)})

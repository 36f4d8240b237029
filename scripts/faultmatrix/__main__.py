"""The command: see --help."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

import pytest

from scripts.faultmatrix import table
from scripts.faultmatrix.collect import Collector

ROOT = Path(__file__).parents[2]
MATRIX = "tests/faults/test_matrix.py"
OTHERS = (
    *(f"tests/faults/test_{area}.py" for area in ("calls", "crash", "kill", "powercut", "rot", "rot_mounted", "many")),
    *(f"tests/faults/test_{area}.py" for area in ("schedule", "full_disk", "load")),
    "tests/faults/test_lying_list.py",
    "tests/faults/test_two_parsers.py",
    "tests/faults/test_moved_cache.py",
    "tests/faults/test_hostile_list.py",
    "tests/faults/test_starving_readers.py",
    "tests/faults/test_name_server.py",
    "tests/serve/test_serve_floods.py",
    "tests/fuzz/test_atheris.py",
    "tests/programs/test_native.py",
    "tests/cli/test_replace.py",
    "tests/faults/test_wire.py",
)
"""Every other attack whose tests count what they did."""


def main() -> int:
    """Run, print, and say by the exit status whether all of it is green."""
    arguments = _arguments()
    collector = Collector()
    with contextlib.redirect_stdout(sys.stderr):  # the tables alone go to stdout
        status = _run(arguments, collector)
    print()
    if collector.cells:
        print("\n".join([*table.lines(collector.cells), "", *table.LEGEND, ""]))
    for area in collector.areas.values():
        for test, text in area.failures:
            print(f"== {test}\n{text}\n")
    print("\n".join(table.numbers(collector)))
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(table.markdown(collector.cells)) + "\n")
    if arguments.readme:
        table.into_docs(ROOT / "fusefs/docs/reliability.md", ROOT / "README.md", collector)
    if arguments.json:
        document = {"cells": collector.cells, "areas": collector.document()}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    wrong = sum(area.numbers["bytes_wrong"] for area in collector.areas.values())
    return 0 if status == pytest.ExitCode.OK and collector.areas and not wrong else 1


def _run(arguments: argparse.Namespace, collector: Collector) -> int | pytest.ExitCode:
    options = ["-m", "", "-q", "--no-header", "--no-summary", "--tb=short", "-p", "no:cacheprovider"]
    options += ["--hypothesis-profile=ci", "-o", "faulthandler_timeout=0"]  # the load lasts as long as it shall
    os.environ["FUSEFS_LOAD_SECONDS"] = str(arguments.load)
    if arguments.all:
        os.environ["FUSEFS_FAULTS_ALL"] = "1"  # tests/faults/test_matrix.py: every cell of every kind of place
    if arguments.only:
        options += ["-k", arguments.only]
    tests = [MATRIX, *(OTHERS if arguments.all else ()), *arguments.more]
    if arguments.again:
        collector.restore(json.loads(arguments.again.read_text()))
        tests = arguments.more
        for test in tests:
            collector.areas.pop(Path(test).stem.removeprefix("test_"), None)
    return pytest.main([*options, *tests], plugins=[collector])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/faults", description=main.__doc__)
    parser.add_argument("--only", metavar="EXPRESSION", help="cells whose names match, as pytest's -k: '503 and read'")
    parser.add_argument(
        "--all", action="store_true", help="every other attack, too: calls that fail, crashes, rot, load"
    )
    parser.add_argument("--load", type=int, metavar="SECONDS", default=45, help="how long the load lasts (default: 45)")
    parser.add_argument("--readme", action="store_true", help="put the numbers into README.md and fusefs/docs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write cells and numbers there")
    parser.add_argument(
        "--again", type=Path, metavar="FILE", help="a --json of before, of which TEST alone is played again"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("more", nargs="*", metavar="TEST", help="other test files whose numbers are shown, too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""Two versions of fusefs, measured by turns: each runs its own code, and what both measured is compared."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.benchmarks import against, product
from scripts.benchmarks.against import Change, Side
from scripts.benchmarks.bench import Bench
from scripts.benchmarks.results import Report, Result
from scripts.benchmarks.servers import Server
from scripts.benchmarks.stage import CommandFailed, run
from tests.unit.benchmarks.models import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable


def version(folder: Path, words: str) -> Path:
    package = folder / "fusefs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        f"import os, sys\nprint({words!r}, os.environ['XDG_STATE_HOME'], sys.argv[1:])\n"
    )
    return folder


@pytest.mark.slow
def test_a_checkout_runs_its_own_code_in_homes_of_its_own(tmp_path: Path) -> None:
    old = product.checkout("old", version(tmp_path / "a", "the old one"), tmp_path / "homes")
    with product.measured(old):
        out = run(product.command("mount", "there")).out
    assert out.split(" /")[0] == "the old one"
    assert str(tmp_path / "homes/state") in out
    assert "['mount', 'there']" in out
    assert product.command("mount") == [*product.INSTALLED.argv, "mount"], "only as long as it is measured"


def test_a_folder_without_fusefs_is_not_measured_as_the_installed_one(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="has no fusefs"):
        product.checkout("none", tmp_path, tmp_path / "homes")


def side(name: str, tmp_path: Path) -> Side:
    server = Server("http://127.0.0.1:1", tmp_path / "log", 1)
    bench = Bench(tmp_path, tmp_path, Report({}, {}), 1, MODEL, MODEL, server, None)
    return Side(product.Product(name, (name,)), bench)


def test_the_two_take_turns_at_being_first_and_their_figures_are_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[object] = []

    def row(bench: Bench) -> None:
        (name,) = product.command()
        order.append(name)
        bench.report.add(Result("B1", "a ratio", 2.0 if name == "new" else 1.0))
        bench.report.raw("B1", "fusefs", "s", [float(len(order))])

    def fails(bench: Bench) -> None:
        raise OSError("no disk")

    rows: list[tuple[frozenset[str], Callable[[Bench], None]]] = [
        (frozenset({"B1"}), row),
        (frozenset({"B2"}), fails),
        (frozenset({"B3"}), lambda _: pytest.fail("nobody asked for it")),
    ]
    monkeypatch.setattr(against, "plan", lambda _: rows)
    new, old = side("new", tmp_path), side("old", tmp_path)
    against.by_turns(argparse.Namespace(runs=3, only=frozenset({"B1", "B2"})), (new, old))
    assert order == ["new", "old", "old", "new", "new", "old"]
    assert new.figures == {("B1", "a ratio", ""): [2.0] * 3, ("B1", "fusefs", "s"): [1.0, 4.0, 5.0]}
    assert new.failed == [f"B2 of new, turn {turn} of 3: OSError: no disk" for turn in (1, 2, 3)]
    assert list(against.changes(new, old)) == [
        Change("B1", "a ratio", "", 2.0, 1.0),
        Change("B1", "fusefs", "s", 4.0, 3.0),
    ]
    table = against.markdown(list(against.changes(new, old)), new, old)
    assert "| B1 | fusefs | 4 s | 3 s | 1.333 |" in table
    assert "failed: B2 of old, turn 3 of 3: OSError: no disk" in table


def test_what_only_one_has_is_left_out_but_its_reads_without_passthrough_meet_the_others_only_reads(
    tmp_path: Path,
) -> None:
    new, old = side("new", tmp_path), side("old", tmp_path)
    new.figures = {("B9", "p50", "µs"): [2.0], ("B9", "p50, without passthrough", "µs"): [8.0], ("B14", "x", ""): [1.0]}
    old.figures = {("B9", "p50", "µs"): [4.0]}
    assert [(one.what, one.ratio) for one in against.changes(new, old)] == [
        ("p50", 0.5),
        ("p50, without passthrough", 2.0),
    ]


def test_of_many_figures_the_slowest_are_compared_too(tmp_path: Path) -> None:
    new, old = side("new", tmp_path), side("old", tmp_path)
    new.figures = {("B10", "read", "ms"): [1.0] * 30 + [9.0]}
    old.figures = {("B10", "read", "ms"): [1.0] * 30 + [3.0]}
    assert [(one.what, one.ratio) for one in against.changes(new, old)] == [("read", 1.0), ("read, p99", 3.0)]

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.values.report import Item
from fusefs.view.progress import Tally, frame, meter
from fusefs.view.screen import LINE, Lines
from fusefs.view.table import text_of


def lines_of(items: list[Item], tally: Tally, width: int = 80, rows: int = 10) -> list[str]:
    return [text_of(line) for line in frame(items, tally, width=width, rows=rows)]


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 60))
def test_a_meter_is_full_only_when_all_is_done(done: int, size: int, cells: int) -> None:
    bar = meter(done, size, cells)
    assert len(bar) == cells
    assert (bar == "█" * cells) == (done >= size)


def test_rate_and_time_left_come_from_what_arrives_now() -> None:
    items = [Item(label="model.gguf", size=1000 << 20, done=400 << 20, state="fetching")]
    tally = Tally(started=0.0)
    tally.look(items, 0.0)
    for second in range(1, 60):
        items[0].done = (400 + 10 * second) << 20
        tally.look(items, float(second))
    assert tally.rate == pytest.approx(10 << 20, rel=0.01)
    assert tally.left == pytest.approx(1, rel=0.05)
    assert tally.line() == "990 MiB of 1.0 GiB, 99%, 10.0 MiB/s, 1 s left"


def test_when_nothing_comes_it_says_so() -> None:
    tally = Tally(started=0.0)
    items = [Item(label="x", size=10, done=5, state="fetching")]
    tally.look(items, 0.0)
    assert tally.line() == "5 B of 10 B, 50%, 0 B/s", "it has only begun"
    tally.look(items, 5.0)
    assert tally.line() == "5 B of 10 B, 50%, 0 B/s, stalled"


def test_when_all_is_done_there_is_no_rate() -> None:
    tally = Tally(started=0.0)
    tally.look([Item(label="x", size=10, done=10, state="sealed")], 0.0)
    assert tally.line() == "10 B of 10 B, 100%"


def test_a_frame_shows_what_is_at_work_first_and_fits() -> None:
    items = [Item(label=f"done{i}", size=10, done=10, state="sealed") for i in range(50)]
    items += [
        Item(label="later", size=10),
        Item(label="bad", size=10, done=3, state="failed", problem="404"),
        Item(label="x" * 200, size=100, done=50, state="fetching"),
    ]
    tally = Tally(started=0.0)
    tally.look(items, 0.0)
    lines = lines_of(items, tally, rows=4)
    assert len(lines) == 6
    assert lines[0].startswith("  xxx")
    assert lines[1].split()[0] == "bad"
    assert lines[2].split()[0] == "later"
    assert lines[4] == "  … and 49 done"
    assert max(map(len, lines)) <= 80


def test_a_pipe_gets_a_line_for_each_end_and_one_every_few_seconds() -> None:
    out = io.StringIO()
    items = [Item(label="a", size=10, done=5, state="fetching"), Item(label="b", size=20)]
    with Lines(0.0, out) as lines:
        lines.show(items, 0.0)
        lines.show(items, 1.0)
        assert out.getvalue() == ""
        items[0].done, items[0].state = 10, "sealed"
        lines.show(items, 2.0)
        lines.show(items, 2.5)
        assert out.getvalue() == "a: sealed, 10 B\n"
        lines.show(items, LINE)
        items[1].state, items[1].problem = "failed", "reg: 404\nnot found"
        lines.show(items, LINE + 1)
    assert out.getvalue().splitlines()[1].startswith("10 B of 30 B, 33%, ")
    assert out.getvalue().splitlines()[2] == "b: failed, 20 B: reg: 404�not found"

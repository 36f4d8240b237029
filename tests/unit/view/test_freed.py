"""What a clean-up came to, in words."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fusefs.values.report import Freed, GcReport
from fusefs.view.freed import freed, not_reached
from fusefs.view.table import text_of

DAY = 86_400.0
NOW = 1000 * DAY
REPORT = GcReport(
    cache_dir="/cache",
    dry_run=False,
    freed=(
        Freed(("old:1",), 5 << 20, NOW - 9 * DAY, forgotten=True),
        Freed(("a:1", "b:1", "c:1"), 1 << 20, NOW - DAY),
        Freed((), 4096, NOW - 40),
    ),
    freed_quarantine=2 << 20,
    freed_leftovers=1024,
    freed_total=8 << 20,
    pinned=("p:1",),
    in_use=("m:1", "n:1"),
    unnamed_in_use=1,
    used=3 << 30,
    free=9 << 30,
    limit=4 << 30,
    keep_free=2 << 30,
    excess=0,
)


def shown(report: GcReport, width: int | None = None) -> list[str]:
    return [text_of(line) for line in freed(report, NOW, width)]


def test_everything_that_went_and_what_stays() -> None:
    assert shown(REPORT) == [
        "old:1               5.0 MiB  last used 9 days ago      forgot",
        "a:1 and 2 more      1.0 MiB  last used 1 day ago",
        "blobs of no model   4.0 KiB  last used just now",
        "quarantine          2.0 MiB",
        "temporary files     1.0 KiB",
        "1 model is pinned and stays",
        "2 models and 1 blob of no model are in use and stay",
        "freed 8.0 MiB; now 3.0 GiB of 4.0 GiB used, 9.0 GiB of the disk free",
    ]


def test_a_dry_run_does_not_claim_to_have_done_it() -> None:
    assert (
        shown(replace(REPORT, dry_run=True))[-1]
        == "would free 8.0 MiB; then 3.0 GiB of 4.0 GiB used, 9.0 GiB of the disk free"
    )


def test_nothing_to_do_is_one_line() -> None:
    idle = replace(
        REPORT,
        freed=(),
        freed_quarantine=0,
        freed_leftovers=0,
        freed_total=0,
        pinned=(),
        in_use=(),
        unnamed_in_use=0,
        limit=None,
    )
    assert shown(idle) == ["freed nothing; now 3.0 GiB used, 9.0 GiB of the disk free"]


@pytest.mark.parametrize(
    ("pinned", "in_use", "unnamed", "small", "why"),
    [
        (("p:1",), (), 0, 0, "1 model is pinned"),
        (("p:1", "q:1"), ("m:1",), 0, 0, "2 models are pinned and 1 model is in use"),
        ((), (), 1, 0, "1 blob of no model is in use"),
        ((), (), 0, 4096, "4.0 KiB of manifests and other small blobs stay"),
        ((), (), 0, 0, "nothing more of the cache may go"),
    ],
)
def test_why_a_limit_is_not_reached(
    pinned: tuple[str, ...], in_use: tuple[str, ...], unnamed: int, small: int, why: str
) -> None:
    report = replace(REPORT, excess=1 << 20, pinned=pinned, in_use=in_use, unnamed_in_use=unnamed, small=small)
    assert not_reached(report) == f"1.0 MiB too much for the limits: {why}"
    assert not_reached(replace(report, excess=0)) == ""
    assert not any("stay" in row for row in shown(report)), "the failure says it"


def test_rows_fit_80_columns_and_carry_no_control_characters() -> None:
    long = replace(REPORT, freed=(Freed(("x" * 90 + "\x1b[2J",), 1, NOW, forgotten=True), *REPORT.freed))
    rows = shown(long, 80)
    assert max(map(len, rows)) <= 80
    assert not any(not char.isprintable() for row in rows for char in row)

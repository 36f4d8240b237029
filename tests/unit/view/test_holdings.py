"""The picture of a cache directory."""

from __future__ import annotations

from msgspec.structs import replace

from fusefs.values.report import BlobReport, HoldingsReport, ModelReport, QuarantineReport
from fusefs.view.cached import holdings
from fusefs.view.table import text_of

DAY = 86_400.0
NOW = 1000 * DAY
MODEL = ModelReport(
    name="registry.ollama.ai/library/llama3.2:1b",
    short="llama3.2:1b",
    digest="sha256:" + "1" * 64,
    size=1_321_082_688,
    present=851_443_712,
    last_use=NOW - 3 * DAY,
    pinned=True,
)
REPORT = HoldingsReport(
    cache_dir="/cache",
    models=(MODEL, replace(MODEL, short="a:1", present=0, pinned=False, last_use=NOW - 7200)),
    unnamed=(BlobReport("sha256:" + "2" * 64, 5000, 4000, 4096, False, NOW - DAY),),
    quarantine=(QuarantineReport("sha256-3", 1 << 20, NOW - 60),),
    blobs=7,
    used=3 << 30,
    shared=1 << 30,
    disk=100 << 30,
    free=50 << 30,
    keep_free=2 << 30,
)


def shown(report: HoldingsReport, width: int | None = None, *, everything: bool = False) -> list[str]:
    return [text_of(line) for line in holdings(report, NOW, width, everything=everything)]


def test_the_whole_picture() -> None:
    assert shown(REPORT) == [
        "MODEL            SIZE      HERE        LAST USE",
        "llama3.2:1b   1.2 GiB   812 MiB   64%  3 days ago      pinned",
        "a:1           1.2 GiB       0 B    0%  2 hours ago",
        "",
        "total       2 models, 7 blobs, 3.0 GiB on disk, 1.0 GiB of it shared",
        "no model    1 blob, 4.0 KiB on disk, last used 1 day ago",
        "quarantine  1 blob with a wrong chunk list, 1.0 MiB on disk, oldest 1 minute ago",
        "disk        50.0 GiB free of 100 GiB, 2.0 GiB to keep free",
        "cache       /cache",
    ]


def test_blobs_of_no_model_have_rows_when_everything_is_asked_for() -> None:
    assert any(
        row.startswith("sha256:222") and row.endswith("80%  1 day ago") for row in shown(REPORT, everything=True)
    )
    assert not any(row.startswith("sha256:222") for row in shown(REPORT))


def test_the_columns_line_up_on_a_narrow_terminal() -> None:
    long = replace(REPORT, models=(replace(MODEL, short="x" * 100), *REPORT.models))
    rows = shown(long, 80, everything=True)[:5]
    assert max(map(len, rows)) <= 80
    assert len({row.index("GiB") for row in rows[1:4]}) == 1
    assert "…" in rows[1]
    assert "x" * 100 in shown(long)[1]


def test_a_full_disk_says_what_to_do() -> None:
    assert "disk        1.0 GiB free of 100 GiB, 2.0 GiB to keep free: run `fusefs gc`" in shown(
        replace(REPORT, free=1 << 30)
    )


def test_a_name_cannot_move_the_cursor() -> None:
    evil = replace(REPORT, models=(replace(MODEL, short="a\x1b[2J\n"),), cache_dir="/\x1b]0;x\x07")
    assert not any(not char.isprintable() for row in shown(evil, 80) for char in row)

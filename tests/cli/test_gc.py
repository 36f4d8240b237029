"""`fusefs gc`, by the command line: what goes, what stays, and what it says."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fusefs.values.digest import Digest
from fusefs.values.names import Name
from tests.chunkers import blob_of, fill, holding
from tests.cli.cached import DAY, SIZE, Cached, cached, inside
from tests.cli.test_ls import on_terminal
from tests.fake_source import chunk_list
from tests.world import some_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell

__all__ = ["cached", "inside"]


def test_the_least_recently_used_goes_first_and_its_name_stays(fusefs: Shell, cached: Cached) -> None:
    old, new = cached.model("old:1", 30), cached.model("new:1", 1)
    done = fusefs("gc", "--cache-size", f"{SIZE + SIZE // 2}").stdout.splitlines()
    assert re.fullmatch(r"old:1 +196 KiB  last used 30 days ago", done[0]), done
    assert done[1].startswith("freed 196 KiB; now 204 KiB of 293 KiB used, ")
    assert (cached.has(old), cached.has(new)) == (False, True)
    assert cached.names() == ["new:1", "old:1"]


def test_p8_what_is_within_the_limits_stays_whole(fusefs: Shell, cached: Cached) -> None:
    cached.model("a:1", 300)
    before = cached.tree()
    assert fusefs("gc").stdout.startswith("freed nothing; now 200 KiB used, ")
    assert cached.tree().keys() == before.keys()


def test_a_dry_run_says_the_same_and_does_nothing(fusefs: Shell, cached: Cached) -> None:
    for days in (40, 30, 2):
        cached.model(f"m{days}:1", days)
    part(cached, "part:1", days=20)
    cached.blob(50)
    quarantine(cached, days=60)
    leftover(cached)
    before = cached.tree()
    args = ("gc", "--cache-size", "300KiB", "--older-than", "35d", "--json")
    planned = json.loads(fusefs(*args, "--dry-run").stdout)
    assert cached.tree() == before
    done = json.loads(fusefs(*args).stdout)
    assert planned.pop("dry_run")
    assert not done.pop("dry_run")
    assert abs(planned.pop("free") - done.pop("free")) < 64 << 20  # others use this disk, too
    assert planned == done
    assert done["freed_total"] > 3 * SIZE
    assert cached.names() == ["m2:1", "m30:1", "part:1"]


def test_a_blob_that_has_a_list_goes_from_its_end(fusefs: Shell, cached: Cached) -> None:
    data = part(cached, "part:1", days=20)
    blob = blob_of(data)
    args = ("gc", "--cache-size", f"{cached_used(fusefs) - 5000}", "--json")
    assert json.loads(fusefs(*args, "--dry-run").stdout)["freed_total"] == 2 * 4096
    assert json.loads(fusefs(*args).stdout)["freed_total"] == 2 * 4096
    with closing(cached.cache.chunker(blob, chunk_list(data, 4096))) as chunker:
        assert [i for i in range(25) if chunker.map[i]] == list(range(18))
        assert chunker.pread(0, 4096) == data[:4096]


def test_what_is_old_goes_with_its_name(fusefs: Shell, cached: Cached) -> None:
    old, new, nobodys = cached.model("old:1", 8), cached.model("new:1", 6), cached.blob(9)
    said = fusefs("gc", "--older-than", "7d").stdout
    assert re.search(r"^old:1 .* last used 8 days ago +forgot$", said, re.MULTILINE)
    assert re.search(r"^blobs of no model .* last used 9 days ago$", said, re.MULTILINE)
    assert [cached.has(one) for one in (old, new, nobodys)] == [False, True, False]
    assert cached.names() == ["new:1"]
    assert fusefs("ls").stdout.count("old:1") == 0


def test_what_a_newer_model_shares_stays(fusefs: Shell, cached: Cached) -> None:
    shared = cached.blob(30)
    old = cached.model("old:1", 30, shared)
    new = cached.model("new:1", 1, shared)
    fusefs("gc", "--older-than", "2w")
    assert [cached.has(one) for one in (old, new, shared)] == [False, True, True]
    assert cached.names() == ["new:1"]


def test_a_pinned_model_stays_although_it_is_the_oldest(fusefs: Shell, cached: Cached) -> None:
    old, new = cached.model("old:1", 300), cached.model("new:1", 1)
    fusefs("pin", "old:1")
    said = fusefs("gc", "--cache-size", f"{SIZE + SIZE // 2}").stdout
    assert "new:1 " in said
    assert "1 model is pinned and stays\n" in said
    assert (cached.has(old), cached.has(new)) == (True, False)
    assert "1 model is pinned and stays\n" in fusefs("gc", "--older-than", "1d").stdout
    assert cached.has(old)
    assert "old:1" in cached.names()


def test_a_limit_that_pins_do_not_allow_is_one_line_and_a_failure(fusefs: Shell, cached: Cached) -> None:
    old = cached.model("old:1", 300)
    fusefs("pin", "old:1")
    for more in ((), ("--dry-run",)):
        done = fusefs("gc", "--cache-size", "1KiB", *more, code=1)
        stays = " would stay" if more else ""
        assert done.stderr == f"fusefs: error: 199 KiB too much for the limits{stays}: 1 model is pinned\n"
    assert cached.has(old)


def test_p9_what_another_process_uses_stays_and_is_named(fusefs: Shell, cached: Cached) -> None:
    data = part(cached, "busy:1", days=50, chunk_size=100, count=900)
    idle = cached.model("idle:1", 40)
    with holding(cached.root, data, 24):
        report = json.loads(fusefs("gc", "--older-than", "30d", "--json").stdout)
        assert report["in_use"] == ["busy:1"]
        assert not cached.has(idle)
        assert cached.names() == ["busy:1"]
        said = fusefs("gc", "--older-than", "30d", "--dry-run").stdout.splitlines()
        assert said[0] == "1 model is in use and stays"
        assert said[1].startswith("would free nothing; then ")
        assert "1 model is in use\n" in fusefs("gc", "--cache-size", "1KiB", code=1).stderr
    assert fusefs("gc", "--older-than", "30d").returncode == 0
    assert cached.names() == []


def test_p9_a_live_mount_keeps_what_it_has_open_and_reads_right(
    fusefs: Shell, model: str, content: dict[str, bytes]
) -> None:
    cached = Cached(fusefs)
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt)
    weights = content["sub/weights.bin"]
    with (mnt / "sub/weights.bin").open("rb", buffering=0) as file:
        assert file.read(100_000) == weights[:100_000]
        age(cached, 50)
        before = json.loads(fusefs("ls", "--json").stdout)["models"][0]["present"]
        done = fusefs("gc", "--older-than", "30d", "--cache-size", "1KiB", code=1)
        assert "1 model is in use\n" in done.stderr
        assert json.loads(fusefs("ls", "--json").stdout)["models"][0]["present"] >= before - len(b'{"a": 1}')
        file.seek(0)
        assert b"".join(iter(lambda: file.read(50_000), b"")) == weights
    assert (mnt / "config.json").read_bytes() == content["config.json"]
    fusefs("umount", mnt)
    assert cached.names() == [Name.parse(model).short]


def test_quarantine_goes_when_it_is_old(fusefs: Shell, cached: Cached) -> None:
    quarantine(cached, days=10)
    fusefs("gc", "--cache-size", "1MiB")
    fusefs("gc", "--older-than", "11d")
    assert list((cached.root / "quarantine").iterdir())
    assert re.search(r"^quarantine +100 KiB$", fusefs("gc", "--older-than", "9d").stdout, re.MULTILINE)
    assert not list((cached.root / "quarantine").iterdir())


def test_a_link_in_quarantine_goes_and_not_what_it_leads_to(fusefs: Shell, cached: Cached) -> None:
    precious = fusefs.folder("precious")
    (precious / "file").write_text("x")
    (cached.root / "quarantine").mkdir()
    link = cached.root / "quarantine" / "link"
    link.symlink_to(precious)
    os.utime(link, (1, 1), follow_symlinks=False)
    fusefs("gc", "--older-than", "1d")
    assert not link.is_symlink()
    assert (precious / "file").read_text() == "x"


def test_temporary_files_of_the_dead_go_and_others_stay(fusefs: Shell, cached: Cached) -> None:
    import fcntl

    dead, future, alive, young = (leftover(cached, name) for name in ("dead", "future", "alive", "young"))
    os.utime(future, (time.time() + 366 * DAY,) * 2)  # the clock was set back
    os.utime(young)
    with alive.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert re.search(r"^temporary files +200 KiB$", fusefs("gc").stdout, re.MULTILINE)
    assert [path.exists() for path in (dead, future, alive, young)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--older-than", "7"], "invalid age '7': want something like 12h or 7d"),
        (["--older-than", "0d"], "invalid age '0d'"),
        (["--older-than", "-1d"], "invalid age '-1d'"),
        (["--cache-size", "much"], "invalid size 'much'"),
        (["--keep-free", "0"], "at least one byte"),
        (["old:1"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_and_loses_nothing(fusefs: Shell, cached: Cached, args: list[str], says: str) -> None:
    cached.model("old:1", 300)
    before = cached.tree()
    assert says in fusefs.fails("gc", *args, code=2)
    assert cached.tree() == before


def test_no_cache_is_one_line_and_none_is_made(fusefs: Shell) -> None:
    assert "does not exist" in fusefs.fails("gc", "--cache-dir", fusefs.root / "none")
    assert not (fusefs.root / "none").exists()


def test_a_terminal_of_80_columns_is_not_overrun(fusefs: Shell, cached: Cached) -> None:
    long = "host.invalid:8080/a-namespace/a-model-with-a-very-long-name-indeed-which-goes-on:q4_k_m"
    shared = cached.blob(70)
    cached.model(long, 70, shared)
    cached.model("other:1", 80, shared)
    rows = [
        re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip()
        for line in on_terminal(fusefs, "gc", "--dry-run", "--older-than", "1d", "--cache-size", "123KiB").splitlines()
    ]
    assert any("…" in row for row in rows)
    assert max(map(len, rows)) <= 80


def part(cached: Cached, name: str, *, days: float, chunk_size: int = 4096, count: int = 20) -> bytes:
    """A model of one blob of 100,000 bytes of which the first chunks are here."""
    data = some_bytes(100_000, seed=77)
    with closing(cached.cache.chunker(blob_of(data), chunk_list(data, chunk_size))) as chunker:
        fill(chunker, data, *range(count))
        chunker.map.note_use(int(time.time() - days * DAY))
    raw = json.dumps({"layers": [{"digest": str(Digest.of(data)), "size": len(data)}]}).encode()
    cached.cache.links.write(Name.parse(name), raw)
    return data


def age(cached: Cached, days: float) -> None:
    """Let everything have been used so long ago."""
    then = time.time() - days * DAY
    for path in cached.root.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))
        if path.name == "map":
            fd = os.open(path, os.O_RDWR)
            os.pwrite(fd, int(then).to_bytes(8, "little"), 112)
            os.close(fd)


def quarantine(cached: Cached, *, days: float) -> None:
    folder = cached.root / "quarantine" / Digest.of(b"x").file_name
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(some_bytes(102_400))
    for path in (folder / "data", folder):
        os.utime(path, (time.time() - days * DAY,) * 2)


def leftover(cached: Cached, name: str = "dead") -> Path:
    path = cached.root / "partial" / f".tmp-{name}"
    path.write_bytes(some_bytes(102_400))
    os.utime(path, (time.time() - 1000,) * 2)
    return path


def cached_used(fusefs: Shell) -> int:
    used = json.loads(fusefs("ls", "--json").stdout)["used"]
    assert isinstance(used, int)
    return used

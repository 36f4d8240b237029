"""`fusefs ls`, by the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fusefs.values.digest import Digest
from fusefs.values.names import Name
from tests.chunkers import blob_of, fill
from tests.cli.cached import DAY, SIZE, Cached, inside
from tests.cli.conftest import ORDINARY
from tests.fake_source import chunk_list
from tests.world import some_bytes

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

__all__ = ["inside"]


def test_a_row_a_model_with_size_presence_last_use_and_pin(fusefs: Shell) -> None:
    cached = Cached(fusefs)
    cached.model("big:1b", 3.1)
    cached.model("host.invalid/ns/old:q4", 40)
    cached.cache.pins.add(Name.parse("big:1b"), cached.cache.links.read(Name.parse("big:1b")))
    lines = fusefs("ls").stdout.splitlines()
    assert re.fullmatch(r"big:1b +195 KiB +195 KiB +100%  3 days ago +pinned", lines[1]), lines
    assert re.fullmatch(r"host\.invalid/ns/old:q4 +195 KiB +195 KiB +100%  1 month ago|.*40 days ago", lines[2]), lines
    assert "2 models, 4 blobs" in lines[4]


def test_shared_blobs_count_once_in_the_total(fusefs: Shell) -> None:
    cached = Cached(fusefs)
    shared = cached.blob(1)
    cached.model("a:1", 1, shared)
    cached.model("b:1", 1, shared)
    report = json.loads(fusefs("ls", "--json").stdout)
    assert [model["size"] for model in report["models"]] == [2 * SIZE, 2 * SIZE]
    assert report["used"] == cached.used()
    assert report["shared"] == os.lstat(cached.cache.path(shared)).st_blocks * 512


def test_of_a_part_exactly_the_part_is_here(fusefs: Shell) -> None:
    cached = Cached(fusefs)
    data = some_bytes(100_000, seed=99)
    with closing(cached.cache.chunker(blob_of(data), chunk_list(data, 4096))) as chunker:
        fill(chunker, data, 0, 3, 24)
    raw = json.dumps({"layers": [{"digest": str(Digest.of(data)), "size": len(data)}]}).encode()
    cached.cache.links.write(Name.parse("part:1"), raw)
    (model,) = json.loads(fusefs("ls", "--json").stdout)["models"]
    assert model["present"] == 2 * 4096 + len(data) - 24 * 4096


def test_what_no_model_names_is_one_line_or_a_row_each(fusefs: Shell) -> None:
    cached = Cached(fusefs)
    one, two = cached.blob(2), cached.blob(70)
    assert "no model    2 blobs, 392 KiB on disk, last used 2 days ago\n" in fusefs("ls").stdout
    shown = fusefs("ls", "--all").stdout
    assert str(one) in shown
    assert str(two) in shown
    assert {blob["digest"] for blob in json.loads(fusefs("ls", "--json").stdout)["unnamed"]} == {str(one), str(two)}


def test_quarantine_is_shown(fusefs: Shell) -> None:
    cached = Cached(fusefs)
    folder = cached.root / "quarantine" / Digest.of(b"x").file_name
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(bytes(1 << 20))
    assert "quarantine  1 blob with a wrong chunk list, 1.0 MiB on disk, oldest just now\n" in fusefs("ls").stdout


@pytest.mark.parametrize("damage", ["torn", "fifo", "link", "folder"])
def test_a_manifest_that_cannot_be_read_has_its_row(fusefs: Shell, damage: str) -> None:
    cached = Cached(fusefs)
    cached.model("good:1", 1)
    cached.model("bad:1", 1)
    path = cached.cache.links.path(Name.parse("bad:1"))
    path.unlink()
    if damage == "torn":
        path.write_bytes(b'{"layers": [')
    elif damage == "fifo":
        os.mkfifo(path)
    elif damage == "link":
        path.symlink_to("/etc/passwd")
    else:
        path.mkdir()
    lines = fusefs("ls").stdout.splitlines()
    assert lines[1].split(maxsplit=1) == ["bad:1", "unreadable manifest; pull it again"]
    assert lines[2].startswith("good:1 ")


def test_an_empty_cache_says_what_to_do(fusefs: Shell) -> None:
    Cached(fusefs)
    assert "the cache has no models; `fusefs pull` or `fusefs mount` brings one" in fusefs("ls").stdout


@pytest.mark.slow
def test_p9_it_looks_while_a_mount_is_read(fusefs: Shell, model: str, content: dict[str, bytes]) -> None:
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt)
    with (mnt / "sub/weights.bin").open("rb", buffering=0) as file:
        assert file.read(4096) == content["sub/weights.bin"][:4096]
        (shown,) = json.loads(fusefs("ls", "--json").stdout)["models"]
        assert file.read(4096) == content["sub/weights.bin"][4096:8192]
    assert 4096 <= shown["present"] <= shown["size"]
    fusefs("umount", mnt)


def test_looking_leaves_no_trace(fusefs: Shell) -> None:
    cached = Cached(fusefs)
    cached.model("a:1", 1)
    before = cached.tree()
    fusefs("ls", "--all")
    fusefs("ls", "--json")
    assert cached.tree() == before


def test_a_cache_that_nobody_may_write_is_shown(fusefs: Shell) -> None:
    cached = Cached(fusefs)
    cached.model("a:1", 1)
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    done = fusefs("ls", prefix=("unshare", "--mount", "sh", "-c", script, "sh", str(cached.root)))
    assert done.stdout.splitlines()[1].startswith("a:1 ")


def test_no_cache_and_a_cache_of_somebody_else_are_one_line(fusefs: Shell) -> None:
    assert "does not exist; name another with --cache-dir" in fusefs.fails("ls")
    file = fusefs.root / "file"
    file.write_text("x")
    assert "does not exist" in fusefs.fails("ls", "--cache-dir", file)
    closed = fusefs.folder("closed")
    closed.chmod(0o700)
    fusefs.root.chmod(0o755)
    if os.geteuid() == 0:
        assert str(closed) in fusefs.fails("ls", "--cache-dir", closed, prefix=("setpriv", *ORDINARY[1:4]))


def test_a_terminal_of_80_columns_is_not_overrun(fusefs: Shell) -> None:
    cached = Cached(fusefs)
    cached.model("host.invalid:8080/a-namespace/a-model-with-a-very-long-name-indeed-which-goes-on:q4_k_m", 400)
    cached.model("short:1", 0)
    cached.cache.links.write(Name.parse("bad-model-with-a-very-long-name-indeed-which-goes-on:1"), b"{")
    out = on_terminal(fusefs, "ls", "--all")
    rows = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in out.splitlines()]
    assert any("…" in row for row in rows)
    assert max(len(row.rstrip()) for row in rows if str(cached.root) not in row) <= 80
    assert "\x1b" not in fusefs("ls").stdout


def on_terminal(fusefs: Shell, *args: str) -> str:
    """What one command prints on a terminal of 80 columns."""
    import shlex

    command = shlex.join([sys.executable, "-m", "fusefs", *args])
    return subprocess.run(
        ["script", "--quiet", "--return", "--command", f"stty cols 80; {command}", "/dev/null"],
        env=fusefs.env | {"TERM": "xterm"},
        cwd=fusefs.root,
        capture_output=True,
        text=True,
        timeout=40,
        check=True,
        stdin=subprocess.DEVNULL,
    ).stdout


def test_days_are_counted_from_the_last_use_of_what_is_its_own(fusefs: Shell) -> None:
    """A blob that a newer model uses, too, says nothing of this one."""
    cached = Cached(fusefs)
    shared = cached.blob(0)
    cached.model("old:1", 30, shared)
    cached.model("new:1", 0, shared)
    report = json.loads(fusefs("ls", "--json").stdout)
    new, old = report["models"]
    assert 29 * DAY < new["last_use"] - old["last_use"] < 31 * DAY

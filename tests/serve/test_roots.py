"""Roots: a path that was resolved is a claim, and a link that came meanwhile is an error."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import ServeError
from fusefs.offers.roots import Roots
from fusefs.values.digest import Digest
from tests.serve.world import serving, write_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def top(tmp_path: Path) -> Path:
    write_tree(tmp_path / "top", {"m/deep/er/f": b"f", "m/g": b"g"})
    write_tree(tmp_path / "secret", {"deep/er/f": b"secret", "g": b"secret"})
    return tmp_path / "top"


def read(roots: Roots, path: Path) -> bytes:
    fd, stamp = roots.open(path)
    with open(fd, "rb") as file:
        content = file.read()
    assert stamp.size == len(content)
    return content


def test_files_are_read_from_the_folder_that_was_opened(top: Path) -> None:
    roots = Roots(top)
    assert read(roots, top / "m" / "deep" / "er" / "f") == b"f"
    assert [(name, stat.S_ISDIR(found.st_mode)) for name, found in roots.statuses(top / "m")] == [
        ("deep", True),
        ("g", False),
    ]
    assert [name for name, _ in roots.statuses(top)] == ["m"]
    moved = top.rename(top.with_name("moved"))
    top.symlink_to(top.with_name("secret"))
    assert read(roots, top / "m" / "g") == b"g"
    assert moved.is_dir()


@pytest.mark.parametrize("swapped", ["m", "m/deep", "m/deep/er", "m/deep/er/f"])
def test_p10_a_link_on_the_way_is_an_error(top: Path, swapped: str) -> None:
    path = top / "m" / "deep" / "er" / "f"
    roots = Roots(top)
    real = path.resolve()
    (top / swapped).rename(top / "aside")
    (top / swapped).symlink_to(top.with_name("secret") / swapped.removeprefix("m").lstrip("/"))
    assert path.read_bytes() == b"secret"
    for call in (roots.open, roots.stamp):
        with pytest.raises(ServeError, match="cannot read"):
            call(real)
    assert roots.mode(real) == 0
    assert not roots.others_may(real, 0o4, {})
    if swapped != "m/deep/er/f":
        with pytest.raises(OSError, match=r"Not a directory|No such file"):
            roots.statuses(real.parent)


@pytest.mark.parametrize("name", ["../secret/g", "/etc/passwd", "m/../../secret/g"])
def test_p10_what_lies_outside_is_not_reached(top: Path, name: str) -> None:
    roots = Roots(top)
    with pytest.raises(ServeError, match="cannot read"):
        roots.open(top / name)
    assert not roots.others_may(top.with_name("secret") / "g", 0o4, {})


def test_what_is_no_file_is_not_opened_and_blocks_nobody(top: Path) -> None:
    os.mkfifo(top / "fifo")
    for name, reason in (("fifo", "not a regular file"), ("m", "not a regular file"), ("none", "No such file")):
        with pytest.raises(ServeError, match=f"cannot read .*{reason}"):
            Roots(top).open(top / name)


def test_p10_a_file_that_others_may_not_read_is_not_opened_whenever_it_was_closed(top: Path) -> None:
    (top / "m" / "g").chmod(0o640)
    with pytest.raises(ServeError, match="others may not"):
        Roots(top).open(top / "m" / "g")
    assert read(Roots(top, closed_too=True), top / "m" / "g") == b"g"


def test_no_descriptor_is_left_behind_by_what_fails(top: Path) -> None:
    roots = Roots(top)
    before = len(os.listdir("/proc/self/fd"))
    for name in ("m/none", "m/g/x", "none/none", "m/deep/er/f", "m"):
        try:
            fd, _ = roots.open(top / name)
            os.close(fd)
        except ServeError:
            pass
        roots.mode(top / name)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.slow
@pytest.mark.logs("leads out|leads nowhere|cannot read|changed while|is not served")
def test_p10_a_folder_that_is_swapped_for_a_link_again_and_again_gives_nothing_away(top: Path, tmp_path: Path) -> None:
    """The race itself: between where a path leads and what is opened there."""
    stop = threading.Event()
    deep, aside, link = top / "m" / "deep", top / ".aside", top / ".link"
    link.symlink_to(tmp_path / "secret" / "deep")

    def swap() -> None:
        while not stop.is_set():
            deep.rename(aside)
            link.rename(deep)
            deep.rename(link)
            aside.rename(deep)

    secret = str(Digest.of(b"secret"))
    with serving(top, tmp_path / "index") as running:
        thread = threading.Thread(target=swap)
        thread.start()
        statuses = set()
        try:
            for _ in range(500):
                answer = running.client.get("/v2/local/m/manifests/latest")
                statuses.add(answer.status)
                assert secret.encode() not in answer.body
                assert running.client.get(f"/v2/local/m/blobs/{secret}").status in (404, 500, 503)
        finally:
            stop.set()
            thread.join()
        assert 200 in statuses

"""The cache of the Hub's library while it is filled: killed at every call, and refused every call."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.errors import ServeError
from fusefs.offers.hubwriter import HubWriter
from fusefs.values.digest import GIT_SHA1, SHA256, Digest
from tests.serve.hub import FIRST, tree_of, write_downloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FOLDER = "models--acme--tiny"
FILES = {"config.json": b'{"a": 1}', "sub/weights.bin": os.urandom(20_000), "empty.txt": b"", "same.txt": b'{"a": 1}'}
TREE = tree_of(FILES)

CALLS = ("open", "mkdir", "replace", "symlink", "pwrite", "fdatasync", "fsync", "unlink", "preadv")


@contextmanager
def at_call(number: int, act: Callable[[str], None]) -> Iterator[list[str]]:
    """Have `act` told of call `number` of those of `CALLS` before it is made; gives the names of all of them."""
    seen: list[str] = []
    real = {name: getattr(os, name) for name in CALLS}

    def watched(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            if len(seen) == number:
                act(name)
            return real[name](*args, **kwargs)

        return call

    try:
        for name in CALLS:
            setattr(os, name, watched(name))
        yield seen
    finally:
        for name in CALLS:
            setattr(os, name, real[name])


def fill(hub: Path, sources: Path) -> None:
    writer = HubWriter(hub, FOLDER)
    for file in TREE.files:
        with (sources / file.path.replace("/", "+")).open("rb") as source:
            writer.add_blob(file, source.fileno())
    writer.finish(TREE.commit, "main", TREE.files, TREE.files)


def check(hub: Path) -> None:
    """Whoever follows a name finds the right bytes, and whoever follows the reference all of them."""
    repository = hub / FOLDER
    for blob in (repository / "blobs").glob("*"):
        if not blob.name.endswith(".incomplete"):
            algorithm = SHA256 if len(blob.name) == 64 else GIT_SHA1
            assert Digest(algorithm, blob.name).matches(blob.read_bytes())
    snapshot = repository / "snapshots" / FIRST
    found = {str(path.relative_to(snapshot)): path.read_bytes() for path in snapshot.rglob("*") if not path.is_dir()}
    assert {path: data for path, data in found.items() if not path.endswith(".tmp")}.items() <= FILES.items()
    if (repository / "refs/main").exists():
        assert (repository / "refs/main").read_text() == FIRST
        assert found.keys() >= FILES.keys()


def state_of(root: Path) -> dict[str, str | bytes]:
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in root.rglob("*")
        if (path.is_symlink() or path.is_file()) and not path.name.endswith((".incomplete", ".tmp"))
    }


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    root = tmp_path / "sources"
    root.mkdir()
    for path, data in FILES.items():
        (root / path.replace("/", "+")).write_bytes(data)
    return root


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, str | bytes]:
    return state_of(write_downloaded(tmp_path / "theirs", FOLDER, FILES))


def count_of(hub: Path, sources: Path) -> int:
    with at_call(0, lambda _: None) as seen:
        fill(hub, sources)
    return len(seen)


def test_p4_killed_at_every_call_it_leaves_no_wrong_name_and_the_next_run_is_whole(
    tmp_path: Path, sources: Path, expected: dict[str, str | bytes]
) -> None:
    calls = count_of(tmp_path / "counted", sources)
    assert calls > 30
    for number in range(1, calls + 1):
        hub = tmp_path / str(number)
        pid = os.fork()
        if pid == 0:
            with at_call(number, lambda _: os._exit(9)):
                fill(hub, sources)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
        check(hub)
        fill(hub, sources)
        assert state_of(hub / FOLDER) == expected


@pytest.mark.slow
def test_p4_refused_every_call_it_says_so_and_leaves_nothing_behind(
    tmp_path: Path, sources: Path, expected: dict[str, str | bytes]
) -> None:
    refused = []

    def refuse(name: str) -> None:
        refused.append(name)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for number in range(1, count_of(tmp_path / "counted", sources) + 1):
        hub = tmp_path / str(number)
        with at_call(number, refuse), suppress(ServeError):  # one of ours, and no other
            fill(hub, sources)
        check(hub)
        if refused[-1] != "unlink":
            assert not [path for path in hub.rglob("*") if path.name.endswith((".incomplete", ".tmp"))]
        fill(hub, sources)
        assert state_of(hub / FOLDER) == expected
    assert {*refused} >= {"replace", "symlink", "pwrite", "fdatasync", "fsync"}

"""Temporary mount points: called after what is mounted, closed to others unless they shall read, gone in the end."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

from fusefs.daemon.temporary import make_place, remove_place
from fusefs.errors import MountError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where they are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
        ("llama3.2", "llama3.2"),
        ("..", "models"),
        ("", "models"),
        ("a/../b c\n\udcff", "a-..-b-c"),
        ("x" * 300, "x" * 64),
    ],
)
def test_a_place_is_called_after_the_model_as_far_as_that_can_be(around: Path, label: str, name: str) -> None:
    place = make_place(label, others=False)
    assert (place.name, place.parent.parent) == (name, around)
    assert list(place.iterdir()) == []
    remove_place(place)
    assert list(around.iterdir()) == []
    remove_place(place)


@pytest.mark.parametrize(("others", "mode"), [(False, 0o700), (True, 0o755)])
def test_others_reach_it_when_they_shall_read(others: bool, mode: int) -> None:
    assert make_place("m", others=others).parent.stat().st_mode & 0o777 == mode


def test_what_somebody_has_put_there_stays(around: Path) -> None:
    place = make_place("m", others=False)
    (place.parent / "mine").touch()
    remove_place(place)
    assert [path.name for path in next(around.iterdir()).iterdir()] == ["mine"]


def test_no_room_for_it_is_one_line_that_says_what_to_do(around: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(around / "not" / "there"))
    with pytest.raises(MountError, match=r"No such file or directory.*--at, or set TMPDIR"):
        make_place("m", others=False)

"""`--include` and `--exclude`: what is shown and fetched of a model, by the real commands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


def labels(fusefs: Shell, *args: str) -> set[str]:
    report = json.loads(fusefs("pull", "--json", *args).stdout)
    assert {blob["state"] for blob in report["blobs"]} <= {"sealed"}
    return {blob["label"] for blob in report["blobs"]}


def test_a_mount_shows_the_chosen_files_alone(fusefs: Shell, model: str, content: dict[str, bytes]) -> None:
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt, "--include", "*.bin", "--include", "empty", "--exclude", "e*")
    assert [str(path.relative_to(mnt)) for path in sorted(mnt.rglob("*"))] == ["sub", "sub/weights.bin"]
    assert (mnt / "sub/weights.bin").read_bytes() == content["sub/weights.bin"]
    (shown,) = json.loads(fusefs("status", mnt, "--json").stdout)["mounts"]
    assert [file["path"] for file in shown["files"]] == ["sub/weights.bin"]
    fusefs("umount", mnt)


def test_a_pull_fetches_the_chosen_files_alone(fusefs: Shell, model: str) -> None:
    assert labels(fusefs, model, "--exclude", "sub/") == {"config.json", "empty"}
    assert labels(fusefs, model, "--include", "sub/*") == {"sub/weights.bin"}


def test_a_choice_of_nothing_is_one_line(fusefs: Shell, model: str) -> None:
    says = "--include '*.gguf' leaves none of 3 files: "
    assert says in fusefs.fails("pull", model, "--include", "*.gguf")


@pytest.mark.slow
def test_a_choice_of_nothing_is_one_line_of_a_mount_as_well(fusefs: Shell, model: str) -> None:
    says = "--include '*.gguf' leaves none of 3 files: "
    assert says in fusefs.fails("mount", model, fusefs.folder("mnt"), "--include", "*.gguf")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["pull", "run"])
def test_a_pattern_that_matches_nothing_is_one_line_and_the_others_count(
    fusefs: Shell, model: str, command: str
) -> None:
    words = ["--", "ls", "{}"] if command == "run" else []
    done = fusefs(command, model, "--include", "*.json", "--include", "*.ggfu", *words)
    assert "config.json" in done.stdout
    assert "weights.bin" not in done.stdout
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("fusefs: warning: --include '*.ggfu' matches none of the files: config.json, ")


@pytest.mark.slow
def test_a_part_of_a_locked_model_is_that_model(fusefs: Shell, model: str) -> None:
    lock = fusefs.root / "lock"
    lock.write_text(fusefs("lock", model).stdout)
    assert labels(fusefs, "--lock", str(lock), "--include", "*.json") == {"config.json"}
    done = fusefs("run", "--lock", lock, "--exclude", "*.json", "--", "ls", "{}")
    assert done.stdout.split() == ["empty", "sub"]


@pytest.mark.slow
def test_a_folder_of_this_machine_is_shown_in_part(fusefs: Shell) -> None:
    folder = fusefs.folder("folder")
    for name in ("a.bin", "b.txt"):
        (folder / name).write_text(name)
    assert fusefs("run", "./folder", "--include", "*.txt", "--", "ls", "{}").stdout == "b.txt\n"

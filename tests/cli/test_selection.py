"""`--include` and `--exclude`: what is shown and fetched of a model, by the real commands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.fixture
def folder(fusefs: Shell) -> Path:
    """A folder of this machine with two files."""
    folder = fusefs.folder("folder")
    for name in ("a.bin", "b.txt"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.slow
def test_of_a_folder_of_this_machine_the_chosen_files_alone_are_hashed(fusefs: Shell, folder: Path) -> None:
    assert fusefs("run", "./folder", "--include", "*.txt", "--", "ls", "{}").stdout == "b.txt\n"
    assert len([*(fusefs.root / "cache/fusefs/serve").iterdir()]) == 1, "one list is kept"
    done = fusefs("run", folder, "--exclude", "*.bin", "--exclude", "*.ggfu", "--", "true")
    assert done.stderr == ("fusefs: warning: --exclude '*.ggfu' matches none of the files: a.bin, b.txt\n")
    assert "--include 'c*' leaves none of 2 files: a.bin, b.txt" in fusefs.fails(
        "run", folder, "--include", "c*", "--", "true"
    )


@pytest.mark.slow
def test_an_export_of_a_folder_has_the_chosen_files_alone(fusefs: Shell, folder: Path, model: str) -> None:
    fusefs("export", folder, "out", "--include", "*.txt")
    (manifest,) = {path.read_bytes() for path in (fusefs.root / "out/v2/local/folder/manifests").glob("latest")}
    titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in json.loads(manifest)["layers"]]
    assert titles == ["b.txt"]
    assert "a model that has a manifest goes whole" in fusefs.fails("export", model, "out", "--include", "*.txt")
    assert "leaves none of 2 files" in fusefs.fails("export", folder, "out2", "--exclude", "*")

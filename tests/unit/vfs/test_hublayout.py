"""Models of the Hub in the form of its library's cache."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

import pytest

from fusefs.artifacts.hublisting import parse_listing
from fusefs.artifacts.manifest import Manifest
from fusefs.artifacts.snapshots import snapshot_of
from fusefs.errors import InvalidName
from fusefs.values.hubname import HubName
from fusefs.values.names import Name
from fusefs.values.reference import LocalPath
from fusefs.vfs.layout import check_names, layout_of
from fusefs.vfs.tree import Tree
from tests.serve.hub import FIRST, SECOND, tree_of

if TYPE_CHECKING:
    from fusefs.values.snapshot import File, Snapshot

FILES = {"config.json": b"{}", "onnx/weights.bin": b"weights", "same.bin": b"weights"}
NEW = FILES | {"config.json": b"{ }"}


def model(name: str, files: dict[str, bytes] = FILES, commit: str = FIRST) -> Snapshot:
    read = HubName.read(name)
    assert read is not None
    return snapshot_of(read, Manifest.parse(tree_of(files, commit).document()), 5)


def shown(*models: Snapshot) -> dict[str, File]:
    found = {file.path: file for file in layout_of(models, "hf")}
    Tree(found.values())  # no two are in one place
    return found


def resolved(files: dict[str, File], path: str) -> File:
    """Where a path leads to in the end."""
    file = files[path]
    return (
        resolved(files, posixpath.normpath(posixpath.join(posixpath.dirname(path), file.target)))
        if file.target
        else file
    )


def test_a_model_has_its_files_below_its_commit_and_all_that_leads_there() -> None:
    files = shown(model("hf://acme/tiny"))
    root, tree = "models--acme--tiny", tree_of(FILES)
    assert files[f"{root}/refs/main"].content == FIRST.encode(), "without a newline, as the library reads it"
    for file in tree.files:
        end = resolved(files, f"{root}/snapshots/{FIRST}/{file.path}")
        assert not isinstance(end.content, bytes)
        assert end.content.blob == file.blob
        assert resolved(files, f"{root}/blobs/{file.blob.digest.hex}") is end
    listing = files[f"{root}/trees/{FIRST}.json"].content
    assert isinstance(listing, bytes)
    assert parse_listing(FIRST, listing) == tree
    assert b"8a477f597d28d172789f06886806bc55" in bytes(files["CACHEDIR.TAG"].content)  # type: ignore[arg-type]


def test_files_are_plain_under_their_own_names_and_what_is_there_twice_is_a_link() -> None:
    files = shown(model("hf://acme/tiny"))
    top = f"models--acme--tiny/snapshots/{FIRST}"
    assert not files[f"{top}/onnx/weights.bin"].target
    assert files[f"{top}/same.bin"].target == "onnx/weights.bin"
    assert {file.mtime_ns for file in files.values()} == {5}


def test_two_revisions_share_what_they_have_in_common() -> None:
    files = shown(model("hf://acme/tiny"), model("hf://acme/tiny@v2", NEW, SECOND))
    root = "models--acme--tiny"
    assert files[f"{root}/refs/main"].content == FIRST.encode()
    assert files[f"{root}/refs/v2"].content == SECOND.encode()
    common = f"{root}/snapshots/{SECOND}/onnx/weights.bin"
    assert files[common].target == f"../../{FIRST}/onnx/weights.bin"
    assert resolved(files, common) is files[f"{root}/snapshots/{FIRST}/onnx/weights.bin"]
    assert not files[f"{root}/snapshots/{SECOND}/config.json"].target
    both = shown(model("hf://acme/tiny"), model("hf://acme/tiny@v1"))
    assert both[f"{root}/refs/v1"].content == both[f"{root}/refs/main"].content


@pytest.mark.parametrize("revision", ["v1", FIRST, "refs/pr/1", "feature%2Fx"])
def test_without_main_the_first_revision_stands_for_it(revision: str) -> None:
    files = shown(model(f"hf://acme/tiny@{revision}"))
    assert files["models--acme--tiny/refs/main"].content == FIRST.encode()
    if revision != FIRST:
        assert files[f"models--acme--tiny/refs/{revision.replace('%2F', '/')}"].content == FIRST.encode()


def test_a_branch_below_main_leaves_no_place_for_it() -> None:
    assert "models--acme--tiny/refs/main" not in shown(model("hf://acme/tiny@main%2Fx"))
    with pytest.raises(InvalidName, match="has no place beside the others"):
        shown(model("hf://acme/tiny@x"), model("hf://acme/tiny@x%2Fy"))


def test_kinds_and_names_without_an_organization_have_their_folders() -> None:
    files = shown(model("hf://datasets/acme/words"), model("hf://gpt2"), model("hf://spaces/acme/app"))
    assert {path.partition("/")[0] for path in files} == {
        "CACHEDIR.TAG",
        "datasets--acme--words",
        "models--gpt2",
        "spaces--acme--app",
    }


def test_one_revision_that_is_two_commits_is_refused() -> None:
    with pytest.raises(InvalidName, match="hf://acme/tiny is asked for twice"):
        shown(model("hf://acme/tiny"), model("hf://acme/tiny", NEW, SECOND))


@pytest.mark.parametrize("other", [Name.parse("llama3.2:1b"), LocalPath.parse("./models")])
def test_what_is_not_of_the_hub_has_no_place(other: Name | LocalPath) -> None:
    with pytest.raises(InvalidName, match="is no model of the Hugging Face Hub"):
        check_names([other], "hf")
    check_names([other], "files")

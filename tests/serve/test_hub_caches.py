"""Caches of the Hugging Face Hub: one model for each, through its links, and nothing else of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir

from fusefs.errors import ServeError
from fusefs.offers.leftout import Allowed
from tests.serve.hub import FIRST, SECOND, write_repository
from tests.serve.world import noise, serving, write_tree

TINY = {"config.json": b"{}", "onnx/model.onnx": noise(3000, "onnx")}
LARGE = {"config.json": b'{"large": 1}', "model.safetensors": noise(9000, "large")}


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """As people have it, with an unfinished download, locks and a data set."""
    root = tmp_path / "huggingface" / "hub"
    write_repository(root, "models--acme--tiny", TINY)
    write_repository(root, "models--acme--large_model.v2", LARGE)
    write_repository(root, "datasets--acme--words", {"words.txt": b"w"})
    (root / "models--acme--tiny" / "blobs" / "0123.incomplete").write_bytes(b"half")
    (root / "models--acme--tiny" / ".no_exist" / FIRST).mkdir(parents=True)
    (root / ".locks" / "models--acme--tiny").mkdir(parents=True)
    (root / "version.txt").write_text("1")
    (root / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55")
    (root.parent / "token").write_text("hf_secret")
    return root


def test_what_the_tests_call_a_cache_is_one_to_the_library(hub: Path) -> None:
    found = scan_cache_dir(hub)
    assert {repo.repo_id for repo in found.repos} == {"acme/tiny", "acme/large_model.v2", "acme/words"}
    assert [str(warning).rpartition("/")[2] for warning in found.warnings] == ["version.txt"]  # of other versions


@pytest.mark.parametrize("above", [False, True])
def test_each_model_of_a_cache_is_a_model_and_its_blobs_are_none(hub: Path, tmp_path: Path, above: bool) -> None:
    with serving(hub.parent if above else hub, tmp_path / "index") as running:
        names = ["local/acme--large_model.v2", "local/acme--tiny"]
        assert running.client.get("/v2/_catalog").json() == {"repositories": names}
        assert running.client.tree("local/acme--tiny") == TINY
        assert running.client.tree("local/acme--large_model.v2") == LARGE
        assert [(offer.name, offer.folder) for offer in running.server.offers] == [
            ("local/acme--large_model.v2", "models--acme--large_model.v2"),
            ("local/acme--tiny", "models--acme--tiny"),
        ]
        assert (
            running.server.left_out.line() == "left out 1 (-v names all): 1 data set or space ('datasets--acme--words')"
        )


@pytest.mark.parametrize("below", ["", "snapshots", "blobs", "refs", f"snapshots/{FIRST}"])
def test_any_folder_of_a_model_in_a_cache_is_that_model(hub: Path, tmp_path: Path, below: str) -> None:
    with serving(hub / "models--acme--tiny" / below, tmp_path / "index") as running:
        assert running.client.get("/v2/_catalog").json() == {"repositories": ["local/acme--tiny"]}
        assert running.client.tree("local/acme--tiny") == TINY
        assert running.server.left_out.line() == ""


def test_a_folder_of_a_snapshot_is_a_model_by_its_own_name(hub: Path, tmp_path: Path) -> None:
    with serving(hub / "models--acme--tiny" / "snapshots" / FIRST / "onnx", tmp_path / "index") as running:
        assert running.client.tree("local/onnx") == {"model.onnx": TINY["onnx/model.onnx"]}


def test_a_link_to_a_snapshot_is_that_snapshot(hub: Path, tmp_path: Path) -> None:
    (tmp_path / "short").symlink_to(hub / "models--acme--tiny" / "snapshots" / FIRST)
    with serving(tmp_path / "short", tmp_path / "index") as running:
        assert running.client.tree("local/acme--tiny") == TINY


def test_a_cache_beside_plain_folders_does_not_hide_them(hub: Path, tmp_path: Path) -> None:
    write_tree(hub, {"mine/weights.bin": b"w", "stray.bin": b"s"})
    with serving(hub, tmp_path / "index") as running:
        assert running.client.tree("local/mine") == {"weights.bin": b"w"}
        assert "1 file beside the models ('stray.bin'" in running.server.left_out.line()


def test_what_lies_beside_a_cache_is_not_left_out_without_a_word(hub: Path, tmp_path: Path) -> None:
    """A folder of models with a folder `hub` among them was taken for the library's, and the models vanished."""
    write_tree(hub.parent, {"mine/weights.bin": b"w", "xet/log": b"x"})
    with serving(hub.parent, tmp_path / "index") as running:
        line = running.server.left_out.line()
    assert "1 beside the cache of the Hub ('mine', serve their folders one by one)" in line
    assert "xet" not in line
    assert "token" not in line, "the library's own"


def test_main_says_which_snapshot_it_is_and_is_asked_again(hub: Path, tmp_path: Path) -> None:
    new = TINY | {"config.json": b'{"new": true}'}
    write_repository(hub, "models--acme--tiny", new, SECOND, "pr/1".replace("/", "-"))
    with serving(hub, tmp_path / "index") as running:
        assert running.client.tree("local/acme--tiny") == TINY
        (hub / "models--acme--tiny" / "refs" / "main").write_text(SECOND)
        assert running.client.tree("local/acme--tiny") == new


@pytest.mark.logs("local/acme--several is not served: refs/main leads to none of its 2 snapshots")
@pytest.mark.logs("local/acme--none is not served: no snapshot of it is in the cache")
def test_without_main_the_only_snapshot_is_served_and_of_several_none(hub: Path, tmp_path: Path) -> None:
    write_repository(hub, "models--acme--one", TINY, SECOND, "v1.0")
    for commit in (FIRST, SECOND):
        write_repository(hub, "models--acme--several", TINY, commit, "")
    (hub / "models--acme--none" / "snapshots").mkdir(parents=True)
    with serving(hub, tmp_path / "index") as running:
        assert running.client.tree("local/acme--one") == TINY
        assert "local/acme--several" not in running.client.get("/v2/_catalog").json()["repositories"]
        line = running.server.left_out.line()
        assert "2 models that cannot be served ('models--acme--none', 'models--acme--several'" in line
    with serving(hub / "models--acme--several" / "snapshots" / FIRST, tmp_path / "index") as running:
        assert running.client.tree("local/acme--several") == TINY


@pytest.mark.parametrize("content", ["../../../../etc", "..", "", "x" * 5000, "\udcff", f"{FIRST}/onnx"])
def test_p10_a_reference_names_a_snapshot_and_no_path(hub: Path, tmp_path: Path, content: str) -> None:
    reference = hub / "models--acme--tiny" / "refs" / "main"
    reference.write_bytes(content.encode("utf-8", "surrogateescape"))
    with serving(hub / "models--acme--tiny", tmp_path / "index") as running:
        assert running.client.tree("local/acme--tiny") == TINY  # the only one


@pytest.mark.logs("refs/main leads to none")
def test_p10_a_reference_that_is_a_link_is_none(hub: Path, tmp_path: Path) -> None:
    write_repository(hub, "models--acme--tiny", LARGE, SECOND, "")
    reference = hub / "models--acme--tiny" / "refs" / "main"
    reference.unlink()
    reference.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text(SECOND)
    with pytest.raises(ServeError, match="holds no model"), serving(hub / "models--acme--tiny", tmp_path / "index"):
        pass


@pytest.mark.logs("leads out of the served directory")
def test_p10_from_a_snapshot_links_lead_to_its_own_blobs_and_nowhere_else(hub: Path, tmp_path: Path) -> None:
    snapshot = hub / "models--acme--tiny" / "snapshots" / FIRST
    (tmp_path / "weights").write_bytes(b"on another disk")
    (snapshot / "other-disk.bin").symlink_to(tmp_path / "weights")
    (snapshot / "other-model.bin").symlink_to(next((hub / "models--acme--large_model.v2" / "blobs").iterdir()))
    (snapshot / "token").symlink_to(hub.parent / "token")
    (snapshot / "main.txt").symlink_to("../../refs/main")
    with serving(snapshot, tmp_path / "index", allowed=Allowed(private=True)) as running:
        assert running.client.tree("local/acme--tiny") == TINY
        assert (
            "4 links that lead out ('main.txt', 'other-disk.bin', 'other-model.bin', …"
            in running.server.left_out.line()
        )
    with serving(hub, tmp_path / "index") as running:  # the other model is inside of what was named
        assert set(running.client.tree("local/acme--tiny")) == {*TINY, "other-model.bin", "main.txt"}


def test_what_a_download_leaves_in_a_plain_folder_is_left_out(tmp_path: Path) -> None:
    leavings = {
        ".cache/huggingface/download/config.json.metadata": b"m",
        ".cache/huggingface/download/w.bin.abc.incomplete": b"i",
        ".cache/huggingface/.gitignore": b"*",
        ".ipynb_checkpoints/x.ipynb": b"n",
        ".DS_Store": b"d",
        "w.bin.incomplete": b"i",
        "w.bin.lock": b"l",
    }
    write_tree(tmp_path / "models" / "m", {"config.json": b"{}"} | leavings)
    with serving(tmp_path / "models", tmp_path / "index", allowed=Allowed(hidden=True)) as running:
        assert running.client.tree("local/m") == {"config.json": b"{}"}
        assert re.match(r"left out 5 \(-v names all\): 5 leavings of tools ", running.server.left_out.line())

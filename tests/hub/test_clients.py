"""`huggingface_hub` and `hf_xet`, unmodified, are content with the scripted Hub."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.hub.contents import floats, noise, text
from tests.hub.repository import MASK
from tests.hub.scriptedhub import ScriptedHub
from tests.patience import HANGS

if TYPE_CHECKING:
    from pathlib import Path

OLD = noise(1 << 20)
FILES = {
    "README.md": b"# A model\n",
    "config.json": b'{"a": 1}',
    "onnx/model.onnx": text(300_000),
    "model.safetensors": floats(500_000),
    "twice.bin": OLD[:600_000] + noise(300_000, 3) + OLD[:600_000],
}


def _run(hub: ScriptedHub, root: Path, code: str, **variables: str) -> str:
    """Run a program of the library in a process of its own, whose home is below `root`.  Returns what it printed."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "HF_HOME": str(root / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **hub.environment,
        **variables,
    }
    program = [sys.executable, "-I", "-c", "from huggingface_hub import *\n" + code]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=2 * HANGS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _same(root: Path, files: dict[str, bytes]) -> None:
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert {path: data for path, data in found.items() if not path.startswith(".cache")} == files


def test_a_whole_snapshot_is_downloaded(hub: ScriptedHub, tmp_path: Path) -> None:
    """Its large files through the Xet store, from several xorbs, the others by redirects."""
    hub.api.page = 2
    hub.add("org/m", FILES, base=(OLD,))
    _run(hub, tmp_path, f"snapshot_download('org/m', local_dir={str(tmp_path / 'got')!r})")
    _same(tmp_path / "got", FILES)
    assert hub.count("tree") == 3
    assert hub.count("xorb") > 0
    assert hub.sent("bridge") == 0
    assert len(hub.cdn.xorbs) == 2
    assert not hub.storage.authorizations


@pytest.mark.slow
def test_a_file_is_downloaded_by_branch_and_by_commit(hub: ScriptedHub, tmp_path: Path) -> None:
    model = hub.add("org/m", {"config.json": b"{}"})
    second = model.push({"config.json": b"{ }"}, branch="refs/pr/1")
    code = """
for revision in ("main", "refs/pr/1", SECOND):
    print(open(hf_hub_download("org/m", "config.json", revision=revision)).read())
"""
    assert _run(hub, tmp_path, code.replace("SECOND", repr(second))).splitlines() == ["{}", "{ }", "{ }"]


@pytest.mark.slow
def test_a_tree_is_listed(hub: ScriptedHub, tmp_path: Path) -> None:
    hub.api.page = 2
    hub.add("org/m", FILES, kind="datasets")
    code = """
for entry in HfApi().list_repo_tree("org/m", recursive=True, repo_type="dataset"):
    print(entry.path, getattr(entry, "size", "-"))
print(*(one.path for one in HfApi().get_paths_info("org/m", ["config.json"], repo_type="dataset")))
print(*(branch.name for branch in HfApi().list_repo_refs("org/m", repo_type="dataset").branches))
print(*(one.rfilename for one in HfApi().dataset_info("org/m", files_metadata=True).siblings if one.lfs))
"""
    told = _run(hub, tmp_path, code).splitlines()
    sizes = {path: str(len(data)) for path, data in FILES.items()} | {"onnx": "-"}
    assert told[:-3] == [f"{path} {size}" for path, size in sorted(sizes.items())]
    assert told[-3:] == ["config.json", "main", "model.safetensors onnx/model.onnx twice.bin"]


@pytest.mark.slow
@pytest.mark.parametrize("xet", [True, False])
def test_a_large_file_is_downloaded_without_the_xet_store(hub: ScriptedHub, tmp_path: Path, xet: bool) -> None:
    hub.add("org/m", FILES, xet=xet)
    variables = {"HF_HUB_DISABLE_XET": "1"} if xet else {}
    _run(hub, tmp_path, f"snapshot_download('org/m', local_dir={str(tmp_path / 'got')!r})", **variables)
    _same(tmp_path / "got", FILES)
    assert hub.count("xorb") == 0
    assert hub.count("bridge" if xet else "lfs") > 0


@pytest.mark.slow
def test_refusals_are_the_errors_of_the_library(hub: ScriptedHub, tmp_path: Path) -> None:
    hub.add("org/m", FILES)
    hub.add("org/gated", FILES, gated="auto", readers={"hf_reader"})
    hub.gate.users.add("hf_other")
    code = """
from huggingface_hub.errors import *
for repo, path, revision, token in (
    ("org/none", "config.json", "main", "hf_other"),
    ("org/m", "none.json", "main", "hf_other"),
    ("org/m", "config.json", "none", "hf_other"),
    ("org/gated", "config.json", "main", "hf_other"),
    ("org/gated", "config.json", "main", False),
):
    try:
        hf_hub_download(repo, path, revision=revision, token=token)
    except Exception as exc:
        print(type(exc).__name__)
print(hf_hub_download("org/gated", "config.json", token="hf_reader") != "")
print(*{one.lfs.sha256 for one in HfApi().list_repo_tree("org/gated", token=False) if getattr(one, "lfs", None)})
"""
    errors = ["RepositoryNotFoundError", "RemoteEntryNotFoundError", "RevisionNotFoundError"]
    assert _run(hub, tmp_path, code).splitlines() == [*errors, *2 * ["GatedRepoError"], "True", MASK]


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_hf_xet_reads_ranges(hub: ScriptedHub, tmp_path: Path, version: int) -> None:
    """By its own streams, with tokens that the Hub gives, and URLs that end amid the reading."""
    hub.cas.version = version
    model = hub.add("org/m", FILES, base=(OLD,))
    packed = model.commits[model.commit].files["twice.bin"].packed
    assert packed is not None
    hub.fault("act", "xorb", act=hub.cdn.expire)
    code = f"""
import hashlib
from hf_xet import XetFileInfo, XetSession
url = "{hub.url}/api/models/org/m/xet-read-token/main"
session = XetSession()
for start, end in ((0, {packed.size}), (5, 500_000), (650_000, 1_300_000), ({packed.size - 1}, {packed.size})):
    group = session.new_download_stream_group(token_refresh_url=url)
    stream = group.download_stream(XetFileInfo("{packed.hash}", {packed.size}), start=start, end=end)
    print(start, end, hashlib.sha256(b"".join(stream)).hexdigest())
"""
    told = _run(hub, tmp_path, code).splitlines()
    assert len(told) == 4
    for line in told:
        start, end, digest = line.split()
        assert digest == hashlib.sha256(FILES["twice.bin"][int(start) : int(end)]).hexdigest()
    assert hub.storage.injected == 1
    assert not hub.storage.authorizations

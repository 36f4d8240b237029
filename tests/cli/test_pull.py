"""`pull`, `verify` and `index`, by the real command against a real registry."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fusefs.values.chunks import ChunkList
from tests.modes import without

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell


def blob(fusefs: Shell, data: bytes) -> Path:
    return fusefs.root / "cache" / "fusefs" / "blobs" / f"sha256-{hashlib.sha256(data).hexdigest()}"


def test_pull_keeps_everything_and_the_second_fetches_nothing(
    fusefs: Shell, model: str, content: dict[str, bytes]
) -> None:
    first = fusefs("pull", model).stdout
    assert "sub/weights.bin: sealed, 293 KiB\n" in first
    assert "sealed; fetched" in first.splitlines()[-1]
    for data in content.values():
        if data:
            assert blob(fusefs, data).read_bytes() == data
    second = json.loads(fusefs("pull", model, "--json").stdout)
    assert second["counters"]["bytes_fetched"] == 0
    assert second["counters"]["requests"] == 1
    assert {one["state"] for one in second["blobs"]} == {"sealed"}


@pytest.mark.slow
def test_p9_pull_shares_the_cache_with_a_live_mount(fusefs: Shell, model: str, content: dict[str, bytes]) -> None:
    mnt = fusefs.folder("mnt")
    fusefs.env |= without("siblings")  # or nothing is left to pull
    fusefs("mount", model, mnt)
    assert (mnt / "sub/weights.bin").read_bytes() == content["sub/weights.bin"]
    fetched = json.loads(fusefs("pull", model, "--json").stdout)["counters"]["bytes_fetched"]
    assert 0 < fetched < 10_000
    before = json.loads(fusefs("status", mnt, "--json").stdout)["mounts"][0]["counters"]["bytes_fetched"]
    assert (mnt / "config.json").read_bytes() == content["config.json"]
    after = json.loads(fusefs("status", mnt, "--json").stdout)["mounts"][0]["counters"]["bytes_fetched"]
    assert after == before
    fusefs("umount", mnt)


@pytest.mark.slow
def test_pull_of_an_unknown_model_is_one_line(fusefs: Shell, model: str) -> None:
    assert "not found" in fusefs.fails("pull", model.replace("tiny", "huge"))


@pytest.mark.slow
def test_verify_finds_nothing_wrong_in_what_was_pulled(fusefs: Shell, model: str) -> None:
    fusefs("pull", model)
    assert fusefs("verify").stdout.splitlines()[-1].endswith("nothing is damaged")


def test_p5_verify_drops_what_was_damaged_and_pull_mends_it(
    fusefs: Shell, model: str, content: dict[str, bytes]
) -> None:
    fusefs("pull", model)
    weights = content["sub/weights.bin"]
    path = blob(fusefs, weights)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(10_000)
        file.write(bytes([weights[10_000] ^ 1]))
    done = fusefs("verify", code=1)
    assert "300000 bytes did not match" in done.stdout
    assert "tiny:latest sub/weights.bin" in done.stdout
    assert done.stderr.count("\n") == 1
    report = json.loads(fusefs("verify", "--json").stdout)
    assert {one["state"] for one in report["blobs"]} == {"good"}
    mended = json.loads(fusefs("pull", model, "--json").stdout)
    assert mended["counters"]["bytes_fetched"] == len(weights)
    assert blob(fusefs, weights).read_bytes() == weights


@pytest.mark.slow
def test_verify_of_what_is_no_cache(fusefs: Shell) -> None:
    assert "does not exist" in fusefs.fails("verify", "--cache-dir", fusefs.root / "nowhere")
    assert not (fusefs.root / "nowhere").exists()


def test_index_prints_chunksums(fusefs: Shell) -> None:
    data = os.urandom(10_000)
    (fusefs.root / "file").write_bytes(data)
    text = fusefs("index", "file", "--chunk-size", "4KiB").stdout
    chunks = ChunkList.parse(len(data), text.encode())
    assert [str(chunk) for chunk in chunks] == ["0-4095", "4096-8191", "8192-9999"]
    assert chunks.raw_digest(1) == hashlib.sha256(data[4096:8192]).digest()


@pytest.mark.slow
def test_ctrl_c_is_quiet(fusefs: Shell, tmp_path: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "fusefs",
        "serve",
        tmp_path / "models",
        "--listen",
        "127.0.0.1:0",
    ]
    (tmp_path / "models" / "m").mkdir(parents=True)
    (tmp_path / "models" / "m" / "f").write_bytes(b"x")
    with subprocess.Popen(
        command, env=fusefs.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("", "")
    assert process.returncode in (0, 130)


@pytest.mark.slow
def test_p7_a_manifest_that_cannot_be_kept_is_told_in_one_line(fusefs: Shell, model: str) -> None:
    """All was sealed, and the next command without a network knew nothing of it."""
    (fusefs.root / "cache/fusefs").mkdir(mode=0o700)
    (fusefs.root / "cache/fusefs/manifests").mkdir(mode=0o700)
    (fusefs.root / "cache/fusefs/manifests" / model.split("/")[2]).write_text("in the way")
    done = fusefs("pull", model)
    assert "sealed" in done.stdout
    assert done.stderr.count("\n") == 1
    assert "warning: " in done.stderr
    assert "the manifest could not be kept, so it needs the network next time" in done.stderr

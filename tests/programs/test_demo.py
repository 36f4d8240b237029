"""The README's first command does what it says, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.components import OllamaLayer, docker_registry, push
from tests.conftest import fusefs_mounts
from tests.patience import eventually
from tests.programs.world import REPOSITORY, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

DEMO = REPOSITORY / "scripts" / "demo"


def test_the_demo_shows_the_main_job(tmp_path: Path) -> None:
    shown = run(DEMO, env={**os.environ, "TMPDIR": str(tmp_path)}, timeout=120)
    needed, fetched = (
        int(re.findall(rf"{word} +([\d,]+) bytes", shown)[-1].replace(",", "")) for word in ("needed", "fetched")
    )
    assert needed <= fetched < 10 * needed
    assert "no difference" in shown
    assert "refused: 0" in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_demo_shows_a_model_from_a_registry(tmp_path: Path, models: Path) -> None:
    with docker_registry(tmp_path / "registry") as address:
        push(address, "library/x", "latest", [OllamaLayer("model", (models / "llama" / "model.gguf").read_bytes())])
        shown = run(DEMO, f"http://{address}/library/x:latest", timeout=120)
    assert "general.architecture = llama" in shown


@pytest.mark.slow
def test_the_demo_says_that_a_registry_cannot_be_reached() -> None:
    done = subprocess.run(
        [DEMO, "http://127.0.0.1:1/library/x"], timeout=120, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "cannot be mounted from here" in done.stderr


@pytest.mark.slow
def test_an_interrupted_demo_cleans_up(tmp_path: Path) -> None:
    with subprocess.Popen(
        [DEMO], env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("$ ls"):
                break
        os.killpg(demo.pid, signal.SIGINT)
        demo.stdout.read()
        assert demo.wait(60) != 0
    assert not [path for path in fusefs_mounts() if path.startswith(str(tmp_path))]  # others have theirs
    eventually("the demo's folder is gone", lambda: not list(tmp_path.iterdir()))

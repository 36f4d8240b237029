"""What tests with real processes need: a place to run the command in, and a blob of many chunks."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.programs.world import World

MIB = 1 << 20


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The command line in an environment of its own; what is asked in this process (who serves a mount) is the same."""
    if not (Path("/dev/fuse").exists() or os.environ.get("FUSEFS_REQUIRE_MOUNT")):
        pytest.skip("no /dev/fuse on this machine (FUSEFS_REQUIRE_MOUNT=1 makes this a failure)")
    made = World(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", made.env["XDG_RUNTIME_DIR"])
    return made


@pytest.fixture(scope="session")
def large() -> bytes:
    """65 MiB and a bit: a blob of up to 64 MiB is its own only chunk, this one has 66."""
    return random.Random(3).randbytes(65 * MIB + 12_345)

"""The benchmark's Hub: `hf_xet` gets from it what was put there, and what it sent is counted."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from scripts.benchmarks import hub
from tests.hub.contents import floats

if TYPE_CHECKING:
    from pathlib import Path

DATA = floats(400_000)


@pytest.mark.slow
def test_the_rival_gets_the_right_bytes_and_all_that_is_sent_is_counted(tmp_path: Path) -> None:
    path, out = tmp_path / "weights.safetensors", tmp_path / "out"
    path.write_bytes(DATA)
    with hub.serving(tmp_path, path) as server:
        hub.client(tmp_path / "home", "whole", {**server.words, "path": str(out)})
        assert out.read_bytes() == DATA
        before = server.sent()
        spans = [(10, 1000), (200_000, 70_000)]
        found = hub.client(tmp_path / "home", "spans", {**server.words, "spans": spans})
        parts = b"".join(DATA[off : off + size] for off, size in spans)
        assert found["sha256"] == hashlib.sha256(parts).hexdigest()
        assert 0 < server.sent() - before < len(DATA) + 10_000

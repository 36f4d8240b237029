"""A model for tests that read none of its bytes."""

from __future__ import annotations

from pathlib import Path

from scripts.benchmarks.content import CHUNK, Model

MODEL = Model("big", "model.gguf", Path("model.gguf"), "sha256:00", 10 * CHUNK + 5, 100)

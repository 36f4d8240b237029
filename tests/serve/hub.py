"""A cache of the Hugging Face Hub's library, as that writes it."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND = "1" * 40, "2" * 40


def write_repository(
    hub: Path, folder: str, files: dict[str, bytes], commit: str = FIRST, reference: str = "main"
) -> Path:
    """Write a snapshot and a reference to it.

    Returns:
        The snapshot.
    """
    repository = hub / folder
    snapshot = repository / "snapshots" / commit
    for path in (repository / "blobs", repository / "refs", snapshot):
        path.mkdir(parents=True, exist_ok=True)
    if reference:
        (repository / "refs" / reference).write_text(commit)
    for name, content in files.items():
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot

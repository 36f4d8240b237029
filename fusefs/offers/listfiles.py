"""List files: chunk lists as files, each named by its blob, as `--index-from DIR` and a web server give them."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from fusefs.artifacts.listartifact import list_title
from fusefs.errors import ServeError

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.chunks import ChunkList
    from fusefs.values.digest import Digest


def write_list(folder: Path, blob: Digest, chunks: ChunkList) -> Path:
    """Write one list into a folder, made if need be; who reads it meanwhile has the old one or the new one whole.

    Raises:
        ServeError: it cannot be written.
    """
    path = folder / list_title(blob)
    scratch = folder / f".{path.name}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with scratch.open("x", encoding="ascii") as file:
            file.writelines(chunks.format())
        scratch.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise ServeError(f"cannot write {path}: {exc.strerror}") from exc
    return path

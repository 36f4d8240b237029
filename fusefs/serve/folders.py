"""Which models a plain folder holds, and which files a model has.  Looks at names and kinds, reads no content."""

from __future__ import annotations

import logging
import os
import re
import stat
from pathlib import Path

from fusefs.errors import InvalidName, ServeError
from fusefs.manifest import MAX_LAYERS
from fusefs.names import Name

log = logging.getLogger(__name__)

NAMESPACE = "local"

_LEFT_OUT = frozenset({".git", "__pycache__"})
"""Folders that are never part of a model."""


_DEEPEST = 64
"""Components of a file's name at most: what a mount takes."""


class Warnings:
    """Says each thing once: folders are looked at again for every manifest that somebody asks for."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def warn(self, text: str) -> None:
        """Log `text` unless it was logged before."""
        if text not in self._said:
            self._said.add(text)
            log.warning("%s", text)


def models_in(directory: Path, warnings: Warnings) -> dict[str, Path]:
    """Names of models and their folders.

    `directory` is itself one model when it has a regular file at its top (hidden ones do not count: a `.DS_Store`
    makes no model); otherwise each folder in it is one.

    Raises:
        ServeError: the directory cannot be read.
    """
    try:
        with os.scandir(directory) as entries:
            found = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
            if any(e.is_file() for e in found):
                return _named({directory: directory.resolve().name}, warnings)
            folders = {Path(e.path): e.name for e in found if e.name not in _LEFT_OUT and e.is_dir()}
            return _named(folders, warnings)
    except OSError as exc:
        raise ServeError(f"cannot read {directory}: {exc.strerror}") from exc


def _named(folders: dict[Path, str], warnings: Warnings) -> dict[str, Path]:
    models: dict[str, Path] = {}
    for folder, folder_name in folders.items():
        try:
            name = model_name(folder_name)
        except InvalidName:
            warnings.warn(f"The folder {folder} is not served: its name has no letter, digit or underscore.")
            continue
        if name.lower() in {other.lower() for other in models}:
            warnings.warn(f"The folder {folder} is not served: there is another model called {name}.")
            continue
        models[name] = folder
    return models


def model_name(folder_name: str) -> str:
    """The nearest name in the grammar: `My model (v2)` becomes `My-model-v2`.

    Raises:
        InvalidName: nothing is left of it.
    """
    text = re.sub(r"[^A-Za-z0-9_.]+", "-", folder_name).lstrip("-.")[:80].rstrip("-")
    return Name.from_path("localhost", NAMESPACE, text, "latest").model


def files_of(root: Path, folder: Path, warnings: Warnings) -> dict[str, Path]:
    """Relative names (with `/`) of a model's regular files, in order, and where each really lies.

    Symbolic links are followed as long as they stay inside `root`.  Sockets, fifos and devices are left out.

    Raises:
        ServeError: a folder cannot be read, or there are more files or levels than any model has.
    """
    walk = _Walk(root.resolve(), warnings)
    walk.take(folder, "", ())
    return dict(sorted(walk.found.items()))


class _Walk:
    """One look at a model's folder and all below it."""

    def __init__(self, root: Path, warnings: Warnings) -> None:
        self.found: dict[str, Path] = {}
        self._root = root
        self._warnings = warnings

    def take(self, folder: Path, prefix: str, above: tuple[Path, ...]) -> None:
        real_folder = self._resolve(folder)
        if real_folder is None:
            return
        if real_folder in above:
            self._warnings.warn(f"The link {folder} is left out: it leads back to a folder above it.")
            return
        if len(above) >= _DEEPEST:
            raise ServeError(f"{folder} lies deeper than {_DEEPEST} levels")
        try:
            names = sorted(os.listdir(real_folder))
        except OSError as exc:
            raise ServeError(f"cannot read {folder}: {exc.strerror}") from exc
        for name in names:
            self._take_one(folder / name, prefix, (*above, real_folder))

    def _take_one(self, path: Path, prefix: str, above: tuple[Path, ...]) -> None:
        if not _is_text(path.name):
            self._warnings.warn(
                f"The file {str(path)!r} is left out: its name is not UTF-8 without control characters."
            )
            return
        real = self._resolve(path)
        mode = _mode(real) if real is not None else 0
        if real is not None and stat.S_ISREG(mode):
            self.found[prefix + path.name] = real
            if len(self.found) > MAX_LAYERS:
                raise ServeError(f"it has more than {MAX_LAYERS} files")
        elif stat.S_ISDIR(mode) and path.name not in _LEFT_OUT:
            self.take(path, f"{prefix}{path.name}/", above)

    def _resolve(self, path: Path) -> Path | None:
        """Where `path` really lies; None, and a warning, when that is nowhere or outside."""
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: how Python 3.11 reports a loop of links
            self._warnings.warn(f"The link {str(path)!r} is left out: it leads nowhere.")
            return None
        if real.is_relative_to(self._root):
            return real
        self._warnings.warn(f"The link {str(path)!r} is left out: it leads out of the served directory.")
        return None


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0  # removed since the folder was listed: of no kind


def _is_text(name: str) -> bool:
    """A name that a mount takes: one other would make it refuse the whole model."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in name)

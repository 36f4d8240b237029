"""Which models a plain folder holds, and which files a model has.  Looks at names, kinds and modes, not into files."""

from __future__ import annotations

import logging
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import MAX_LAYERS
from fusefs.errors import InvalidName, ServeError
from fusefs.offers import hubcache
from fusefs.offers.leftout import Reason, is_hidden, is_key, is_leaving
from fusefs.offers.roots import Roots
from fusefs.offers.stamp import Stamp
from fusefs.values.names import Name

if TYPE_CHECKING:
    from fusefs.offers.leftout import Allowed, LeftOut

NAMESPACE = "local"

_DEEPEST = 64
"""Components of a file's name at most: what a mount takes."""

_FITS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII)
"""What `model_name` need not change: what a mount takes."""

_WHY = {
    Reason.HIDDEN: "it is hidden",
    Reason.KEY: "it is named like a key or a password",
    Reason.LEAVING: "it is what a tool leaves behind",
    Reason.DATASET: "it is a data set or a space, not a model",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a model.

    Attributes:
        path: where it really lies, without links.
        stamp: what it looked like a moment ago.
    """

    path: Path
    stamp: Stamp


class Folder:
    """A directory of models.

    Attributes:
        path: where it lies, as the person wrote it, or where the cache lies that they meant.
        roots: what it is read from.
        seen: names of files, each as in its own model, chosen or not; empty where nothing was chosen.
    """

    def __init__(self, directory: Path, allowed: Allowed, left_out: LeftOut) -> None:
        """Look where `directory` is.

        Raises:
            ServeError: it is not there, or cannot be entered.
        """
        self.path = hubcache.meant_by(directory)
        real = self.path.resolve()
        above = hubcache.repository_above(real)
        # The files of a snapshot are links to the blobs beside it.
        blobs = [above / "blobs"] if above is not None and (above / "blobs").is_dir() else []
        self.roots = Roots(real, blobs, closed_too=allowed.private)
        self.seen: set[str] = set()
        self._name = self._name_of(real, above)
        self._allowed = allowed
        self._left_out = left_out
        if self.path == directory / "hub":
            self._note_outside(directory)

    @staticmethod
    def _name_of(real: Path, above: Path | None) -> str:
        """The name of the one model that the directory may be."""
        repository = above if above is not None and real.parent == above / "snapshots" else real
        return hubcache.model_of(repository.name) or real.name

    def models(self) -> dict[str, Path]:
        """Names of models and their folders.

        The directory is itself one model when it has a regular file at its top, and when it is the folder of a model in
        a cache of the Hugging Face Hub, or a snapshot of one; otherwise each folder in it is one.
        What is hidden, a key or a leaving by its name makes no model of it (a `.DS_Store`), whatever may be served.

        Raises:
            ServeError: the directory cannot be read.
        """
        top = self.roots.top
        try:
            if hubcache.is_repository(top):
                return self._named({self.path: self._name})
            with os.scandir(self.path) as entries:
                found = sorted(entries, key=lambda e: e.name)
            is_hub = any(e.is_dir() and hubcache.is_repository(top / e.name) for e in found)
            if not is_hub and any(e.is_file() for e in found if not _is_aside(e.name)):
                return self._named({self.path: self._name})
            if is_hub:
                self._note_beside([e.name for e in found if e.is_file()])
            own = hubcache.OWN if is_hub else frozenset()
            folders = [e.name for e in found if e.name not in own and self._takes(e.name) and e.is_dir()]
            return self._named(
                {self.path / name: hubcache.model_of(name) or name for name in folders if self._may_enter(name)}
            )
        except OSError as exc:
            raise ServeError(f"cannot read {self.path}: {exc.strerror}") from exc

    def files_of(self, folder: Path) -> dict[str, Found]:
        """Relative names (with `/`) of a model's regular files, in order, and what each is.

        Symbolic links are followed as long as they stay inside the directory, or in the cache of the Hub that it is in.

        Raises:
            ServeError: a folder cannot be read, or there are more files or levels than any model has.
        """
        walk = _Walk(self.path, self.roots, self._allowed, self._left_out)
        real = walk.resolve(folder)
        if real is not None and hubcache.is_repository(real):
            snapshot = hubcache.snapshot_of(real, self.roots)
            folder = folder / snapshot.relative_to(real)
        walk.take(folder, "", ())
        self.seen |= walk.seen
        return dict(sorted(walk.found.items()))

    def check_chosen(self) -> None:
        """Where there is no model, see that this is not for want of chosen files.

        Raises:
            InvalidSetting: it is.
        """
        self._allowed.selection.check(sorted(self.seen))

    def _takes(self, name: str) -> bool:
        objection = Reason.DATASET if hubcache.is_other(name) else self._allowed.objection(name)
        if objection is not None:
            self._left_out.add(objection, name, f"{str(self.path / name)!r} is left out: {_WHY[objection]}.")
        return objection is None

    def _note_beside(self, names: list[str]) -> None:
        for name in names:
            if self._allowed.objection(name) is None and name not in hubcache.OWN:
                text = f"{str(self.path / name)!r} is left out: it lies beside the models, in none of them."
                self._left_out.add(Reason.BESIDE, name, text)

    def _note_outside(self, above: Path) -> None:
        """A folder that only looks like the library's own may have other models beside the cache."""
        try:
            names = sorted(os.listdir(above))
        except OSError:  # it may be entered, and not be read
            return
        for name in names:
            if self._allowed.objection(name) is None and name not in hubcache.OWN | hubcache.OWN_ABOVE:
                text = f"{str(above / name)!r} is left out: the cache {str(self.path)!r} beside it is served."
                self._left_out.add(Reason.OUTSIDE, name, text)

    def _may_enter(self, name: str) -> bool:
        path = self.path / name
        if self._allowed.private or _mode(path) & stat.S_IXOTH:
            return True
        self._left_out.add(Reason.CLOSED, name, f"{str(path)!r} is left out: others may not enter it.")
        return False

    def _named(self, folders: dict[Path, str]) -> dict[str, Path]:
        models: dict[str, Path] = {}
        taken: set[str] = set()
        for folder, folder_name in folders.items():
            try:
                name = model_name(folder_name)
            except InvalidName:
                self._refuse(folder, "its name has no letter, digit or underscore")
                continue
            if name.lower() in taken:
                self._refuse(folder, f"there is another model called {name}")
                continue
            taken.add(name.lower())
            models[name] = folder
        return models

    def _refuse(self, folder: Path, why: str) -> None:
        text = f"The folder {folder} is not served: {why}."
        self._left_out.add(Reason.MODEL, folder.name, text, level=logging.WARNING)


def _is_aside(name: str) -> bool:
    return is_hidden(name) or is_key(name) or is_leaving(name)


def model_name(folder_name: str) -> str:
    """The name itself, or the nearest one in the grammar: `My model (v2)` becomes `My-model-v2`.

    Raises:
        InvalidName: nothing is left of it.
    """
    if _FITS.fullmatch(folder_name):
        return folder_name
    text = re.sub(r"[^A-Za-z0-9_.]+", "-", folder_name).lstrip("-.")[:80].rstrip("-")
    return Name.from_path("localhost", NAMESPACE, text, "latest").model


class _Walk:
    """One look at a model's folder and all below it."""

    def __init__(self, top: Path, roots: Roots, allowed: Allowed, left_out: LeftOut) -> None:
        self.found: dict[str, Found] = {}
        self.seen: set[str] = set()
        self._top = top
        self._roots = roots
        self._allowed = allowed
        self._left_out = left_out
        self._open: dict[Path, bool] = {}

    def take(self, folder: Path, prefix: str, above: tuple[Path, ...]) -> None:
        real_folder = self.resolve(folder)
        if real_folder is None:
            return
        if real_folder in above:
            self._warn(Reason.LOOP, folder, f"The link {folder} is left out: it leads back to a folder above it.")
            return
        if not self._others_may_enter(real_folder):
            self._note(Reason.CLOSED, folder, "others may not enter it")
            return
        if len(above) >= _DEEPEST:
            raise ServeError(f"{folder} lies deeper than {_DEEPEST} levels")
        try:
            found = self._roots.statuses(real_folder)
        except OSError as exc:
            raise ServeError(f"cannot read {folder}: {exc.strerror}") from exc
        if not found and prefix:
            self._note(Reason.EMPTY, folder, "it is empty")
        for name, status in found:
            self._take_one(folder / name, real_folder / name, status, prefix, (*above, real_folder))

    def _take_one(
        self, path: Path, real: Path, status: os.stat_result | None, prefix: str, above: tuple[Path, ...]
    ) -> None:
        if not _is_text(path.name):
            text = f"The file {str(path)!r} is left out: its name is not UTF-8 without control characters."
            self._warn(Reason.NAME, path, text)
            return
        objection = self._allowed.objection(path.name, path.parent.name)
        if objection is not None:
            self._note(objection, path, _WHY[objection])
            return
        if status is not None and stat.S_ISLNK(status.st_mode):
            target = self.resolve(path)
            if target is None:
                return
            real, status = target, self._roots.status(target)
        mode = status.st_mode if status is not None else 0
        if stat.S_ISDIR(mode):
            self.take(path, f"{prefix}{path.name}/", above)
        elif status is not None and stat.S_ISREG(mode):
            self._take_file(path, real, status, prefix + path.name)
        elif mode:
            self._note(Reason.SPECIAL, path, "it is no file")

    def _take_file(self, path: Path, real: Path, status: os.stat_result, name: str) -> None:
        if self._allowed.selection:
            self.seen.add(name)
            if not self._allowed.selection.shows(name):
                return
        # Looked at again when the file is opened; a chmod after that moves ctime, and so its stamp.
        if not (self._allowed.private or (status.st_mode & stat.S_IROTH and self._others_may_enter(real.parent))):
            self._note(Reason.CLOSED, path, "others may not read it")
        elif is_key(real.name) and not self._allowed.private:
            self._note(Reason.KEY, path, f"it leads to {real.name!r}, which is named like a key or a password")
        else:
            self.found[name] = Found(real, Stamp.of(status))
            if len(self.found) > MAX_LAYERS:
                raise ServeError(f"it has more than {MAX_LAYERS} files")

    def _others_may_enter(self, real: Path) -> bool:
        return self._allowed.private or self._roots.others_may_enter(real, self._open)

    def resolve(self, path: Path) -> Path | None:
        """Where `path` really lies; None, and a warning, when that is nowhere or outside."""
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: how Python 3.11 reports a loop of links
            self._warn(Reason.NOWHERE, path, f"The link {str(path)!r} is left out: it leads nowhere.")
            return None
        if self._roots.has(real):
            return real
        text = f"The link {str(path)!r} is left out: it leads out of the served directory."
        self._warn(Reason.OUT, path, text)
        return None

    def _warn(self, reason: Reason, path: Path, text: str) -> None:
        self._left_out.add(reason, self._below(path), text, level=logging.WARNING)

    def _note(self, reason: Reason, path: Path, why: str) -> None:
        self._left_out.add(reason, self._below(path), f"{str(path)!r} is left out: {why}.")

    def _below(self, path: Path) -> str:
        return str(path.relative_to(self._top))


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

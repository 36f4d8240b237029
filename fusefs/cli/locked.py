"""Reading a lock that a person named (`--lock`), and the models by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from fusefs.cli.optionfile import read_option_file
from fusefs.errors import InvalidSetting
from fusefs.values.lockfile import MAX_LOCK_SIZE, Lock
from fusefs.values.names import BaseUrl, Name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusefs.values.reference import Reference

Model = TypeVar("Model", bound="Reference | BaseUrl")


def read_lock(file: Path) -> Lock:
    """The lock in a file.

    Raises:
        InvalidSetting: it cannot be read, or is none.
    """
    raw = read_option_file("--lock", file, MAX_LOCK_SIZE)
    try:
        return Lock.parse(raw, str(file.absolute()))
    except InvalidSetting as exc:
        raise InvalidSetting(f"--lock {file}: {exc}") from exc


def locked(sources: Sequence[Model], lock: Lock | None) -> tuple[Model | Name, ...]:
    """The sources as they are locked; without any all that are.

    Raises:
        InvalidSetting: one is not in the lock.
    """
    if lock is None:
        return tuple(sources)
    if not sources:
        return tuple(model.name for model in lock.models)
    return tuple(_pinned(source, lock) for source in sources)


def _pinned(source: Model, lock: Lock) -> Name:
    if not isinstance(source, Name):
        raise InvalidSetting(f"{source} is no model of a registry, and a lock has none but those")
    try:
        return lock.pinned(source)
    except InvalidSetting as exc:
        raise InvalidSetting(f"--lock {lock.file}: {exc}") from exc

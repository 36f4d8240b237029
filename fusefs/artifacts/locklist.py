"""A lock (`fusefs lock`) as the list of a folder: the files of the one model in it, with the digests of their lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.artifacts.listedfile import ListedFile, checked_name, each_once
from fusefs.errors import InvalidManifest, InvalidSetting
from fusefs.values.lockfile import Lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.values.lockfile import LockedModel


def parse_locked(raw: bytes, what: str = "the lock") -> tuple[ListedFile, ...]:
    """Read a lock.

    Args:
        raw: all of it.
        what: what to call it in messages.

    Raises:
        InvalidManifest: no lock, of several models, or one that names no files.
    """
    try:
        models = Lock.parse(raw).models
    except InvalidSetting as exc:
        raise InvalidManifest(f"{what}: {exc}") from exc
    if len(models) != 1:
        raise InvalidManifest(f"{what} has {len(models)} models, and a folder is one")
    if not models[0].paths:
        raise InvalidManifest(f"{what} names no files: it is of an older fusefs, or of a model in archives")
    return each_once(listed_of(models[0]), what)


def listed_of(model: LockedModel) -> Iterator[ListedFile]:
    """The whole files of a model that is locked.

    Raises:
        InvalidManifest: a path has no place in a folder.
    """
    for blob in model.blobs:
        for path in model.paths.get(blob.digest, ()):
            yield ListedFile(checked_name(path), blob.digest, blob.size, chunks=model.lists.get(blob.digest))

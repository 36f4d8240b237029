"""Opening the bytes of a blob: the sealed file, the partial one, or a new one; whatever else lies there is removed."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from fusefs.errors import CacheError
from fusefs.system.features import REFUSED
from fusefs.system.files import FOREIGN, hexdigest_of, remove_foreign
from fusefs.system.spot import open_at, unlink_at
from fusefs.system.steps import step

if TYPE_CHECKING:
    from fusefs.cache.place import HeldPlace
    from fusefs.system.spot import Spot


def open_regular(path: Spot, size: int) -> int:
    """Open a plain file of `size` bytes for reading; -1 when it cannot be had."""
    with contextlib.suppress(OSError):
        fd = open_at(path, os.O_RDONLY | os.O_NONBLOCK)
        info = _status(fd)
        if stat.S_ISREG(info.st_mode) and info.st_size == size:
            return fd
        os.close(fd)
    return -1


def open_data(place: HeldPlace, size: int) -> tuple[int, bool, bool]:
    """Open the blob's bytes: (fd, sealed, fresh); fresh says that nothing a map says of them can be true."""
    with contextlib.suppress(FileNotFoundError):
        fd = _open_sealed(place, size)
        if fd >= 0:
            return fd, True, False
    try:
        fd = _open_writable(place.data)
        info = _status(fd)
        # One that has another name as well (`cp -al` of a cache) is somebody else's, too: nothing is written to it.
        if stat.S_ISREG(info.st_mode) and info.st_size == size and info.st_nlink == 1:
            return fd, False, False
        # Replaced, not made longer: another process may have it open, and would read the new end as zeros.
        os.close(fd)
        unlink_at(place.data)
    except FileNotFoundError:
        pass
    except OSError as exc:
        if exc.errno not in FOREIGN:
            raise
        remove_foreign(place.data)
    fd = open_at(place.data, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        with step("data sized"):
            os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd, False, True


def _open_writable(spot: Spot) -> int:
    """Open our own file for writing, though a crash amid sealing, repair or eviction may have left its mode 0400.

    Only a process with cap_dac_override does not notice.

    Raises:
        OSError: there is none, or it is somebody else's.
    """
    try:
        return open_at(spot, os.O_RDWR)
    except PermissionError:
        fd = open_at(spot, os.O_RDONLY | os.O_NONBLOCK)
        if _status(fd).st_nlink > 1:
            return fd  # somebody else's mode, too; it is not written to
        try:
            with REFUSED:
                os.fchmod(fd, 0o600)
        finally:
            os.close(fd)
        return open_at(spot, os.O_RDWR)


def _status(fd: int) -> os.stat_result:
    """As fstat; when it fails, `fd` is closed."""
    try:
        return os.fstat(fd)
    except OSError:
        os.close(fd)
        raise


def _open_sealed(place: HeldPlace, size: int) -> int:
    """Open the sealed blob; -1 when what has its name is not it, and was removed.

    A size that differs from the manifest's may be the manifest's lie: the final name was proved, so the hash decides
    who is wrong, and a good blob is never thrown away.

    Raises:
        FileNotFoundError: there is none.
        CacheError: the blob is right and the size that was asked for is not.
    """
    try:
        fd = open_at(place.sealed, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno not in FOREIGN:
            raise
        remove_foreign(place.sealed)
        return -1
    info = _status(fd)
    if stat.S_ISREG(info.st_mode) and info.st_size == size:
        return fd
    try:
        if stat.S_ISREG(info.st_mode):
            with open(fd, "rb", closefd=False) as file:
                if hexdigest_of(file, place.digest, info.st_size) == place.digest.hex:
                    raise CacheError(f"{place.digest} has {info.st_size} bytes, not the {size} that the manifest says")
    finally:
        os.close(fd)
    if not remove_foreign(place.sealed):
        unlink_at(place.sealed)
    return -1

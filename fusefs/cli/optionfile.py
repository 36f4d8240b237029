"""Files that options name (`--lock`, `--signature`, `--key`): read whole, but never more than they may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.errors import InvalidSetting

if TYPE_CHECKING:
    from pathlib import Path


def read_option_file(option: str, file: Path, limit: int) -> bytes:
    """All of a file.

    Args:
        option: which names it, for messages.
        file: its path.
        limit: bytes that it may have.

    Raises:
        InvalidSetting: it cannot be read, or has more.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(limit + 1)
    except OSError as exc:
        raise InvalidSetting(f"{option} {file}: {exc.strerror}") from exc
    if len(raw) > limit:
        raise InvalidSetting(f"{option} {file}: more than {limit} bytes")
    return raw

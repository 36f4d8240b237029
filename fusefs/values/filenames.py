"""File names for the parts of a model's name, where a file system takes no colon (exFAT, FAT, SMB): `host%3A8080`.

Reversible, because no name in the grammar (`fusefs.names`) has a percent sign.
"""

from __future__ import annotations

_TAKEN_FOR = {":": "%3A"}


def portable(part: str) -> str:
    """The file name of `part` that every file system takes."""
    for char, code in _TAKEN_FOR.items():
        part = part.replace(char, code)
    return part


def part_of(file_name: str) -> str:
    """The part of a name for which `file_name` stands, whichever way it was written."""
    for char, code in _TAKEN_FOR.items():
        file_name = file_name.replace(code, char)
    return file_name

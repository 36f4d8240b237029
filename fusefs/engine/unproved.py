"""Which files of a mount or a pull nothing proves, because no digest says what they are: said before they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.values.settings import Settings
    from fusefs.values.snapshot import Snapshot

_SHOWN = 3
"""Files that a line names."""


def unproved_lines(models: Iterable[Snapshot], settings: Settings) -> list[str]:
    """One line a model that has such files."""
    lines = []
    for model in models:
        paths = [
            file.path
            for file in model.files
            if not isinstance(file.content, bytes) and not file.content.blob.digest.proves
        ]
        if paths:
            named = paths[:_SHOWN] + ([f"{len(paths) - _SHOWN} more"] if len(paths) > _SHOWN else [])
            text = ", ".join(named[:-1]) + (" and " if named[1:] else "") + named[-1]
            does = (
                "taken for what the server has now, each as one version by its ETag, and nothing else is checked "
                "(--unproved allow)"
                if settings.unproved == "allow"
                else f"not readable (--unproved {settings.unproved}): `--unproved allow` takes what is there"
            )
            is_ = "are" if paths[1:] else "is"
            lines.append(f"{model.reference}: its server keeps no sha256 of {text}, which {is_} {does}")
    return lines

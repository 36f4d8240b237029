"""Secret: what is shown to a server to be let in, and to nobody else."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Secret:
    """The value of an Authorization header; its text never appears in a message or a log by accident."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return "<secret>"

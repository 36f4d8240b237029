"""Every target, by name."""

from __future__ import annotations

from contextlib import suppress

from fusefs.errors import InvalidInput
from fusefs.values.chunks import Chunk
from tests.fuzz import (
    answers,
    archives,
    files,
    headers,
    hub,
    hublistings,
    listed,
    lists,
    manifests,
    screen,
    signed,
    travelling,
    words,
    xet,
)
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (
        lists,
        manifests,
        travelling,
        listed,
        signed,
        hub,
        hublistings,
        archives,
        words,
        answers,
        headers,
        files,
        screen,
        xet,
    )
    for target in module.TARGETS
}


def broken(data: bytes) -> None:
    """A promise that does not hold: no bytes are a range."""
    with suppress(InvalidInput):
        raise AssertionError(Chunk.parse(data.decode("latin-1")))


BROKEN = Target("broken", broken, lambda: [b"a"], longest=16)
"""What the fuzzer itself is tried with."""


def target_of(name: str) -> Target:
    """The target of that name, the broken one as well."""
    return BROKEN if name == BROKEN.name else TARGETS[name]

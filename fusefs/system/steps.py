"""Steps: the names of what changes a cache on disk, one by one, so that tests can kill the process at each.

`with step("data fsynced"):` stands round the call that does it.  It does nothing, in a quarter of a microsecond, until
a test has armed a hook, which is told which step begins and returns what is entered and left with it.  A step has a
name of its own, because functions are renamed and split while their deeds stay.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

Step: TypeAlias = Literal[
    # a chunk
    "chunk locked",
    "chunk written",
    "slot written",
    "chunk marked",
    "chunk unlocked",
    "claim proved",
    "hash read back",
    # the files of a partial blob
    "map made",
    "marks claimed",
    "data sized",
    # sealing
    "data fsynced",
    "list bound",
    "all marked",
    "map bound",
    "data read-only",
    "data sealed",
    "seal fsynced",
    # repair
    "seal taken away",
    "data writable",
    "data reopened",
    "liar put aside",
    # documents
    "blob written",
    "blob named",
    "name linked",
    "trace kept",
    "name pinned",
    # eviction
    "seal lifted",
    "victims absent",
    "hole punched",
]
"""Every step; a test dies at each."""


class Hook:
    """What tests arm.

    Attributes:
        armed: told of each step that begins; None outside tests.
    """

    armed: ClassVar[Callable[[Step], AbstractContextManager[None]] | None] = None


_NOTHING = nullcontext()


def step(name: Step) -> AbstractContextManager[None]:
    """Name what is done inside the `with`."""
    return _NOTHING if Hook.armed is None else Hook.armed(name)

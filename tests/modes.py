"""Modes: the suite with a part of fusefs switched off, by `FUSEFS_WITHOUT`, for every mount that a test makes.

`scripts/test --all` runs what is marked `reads` once in each: without the wire (pyfuse3 alone answers, so there is no
passthrough either), and without passthrough.  A test that is about such a part is marked `about`, and left out there.
"""

from __future__ import annotations

import os
from typing import Literal

Part = Literal["wire", "passthrough"]

_SWITCH = "FUSEFS_WITHOUT"

_NEEDS: dict[Part, tuple[Part, ...]] = {"wire": ("wire",), "passthrough": ("wire", "passthrough")}
"""A part is on while none of these is switched off."""


def _off() -> list[str]:
    return [name for name in os.environ.get(_SWITCH, "").split(",") if name]


def is_on(part: Part) -> bool:
    """Whether a mount of this run has the part, where the kernel can do it."""
    return not set(_NEEDS[part]).intersection(_off())


def without(*parts: str) -> dict[str, str]:
    """Variables for a command that does without these parts, and without those that the run does without."""
    return {_SWITCH: ",".join([*_off(), *parts])}

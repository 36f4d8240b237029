"""WireReport: how the requests of the kernel are answered; a part of `fusefs.values.report`."""

from __future__ import annotations

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
"""What a daemon may say there is: JSON has integers that are no floating-point number, and cannot be shown."""


class WireReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the requests of the kernel are answered.

    Attributes:
        threads: that answer reads at once; 0 when the event loop alone does.
        interrupts: a reader that is killed while it waits ends at once.
        why_not: why neither is so; empty when both are.
        passthrough: files that are proved are read by the kernel itself; `bytes_served` does not count what it reads.
        native: files that are open so now.
        no_passthrough: why they are not; empty when they are.
    """

    threads: Count = 0
    interrupts: bool = False
    why_not: str = ""
    passthrough: bool = False
    native: Count = 0
    no_passthrough: str = ""

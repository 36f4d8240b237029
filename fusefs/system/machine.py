"""Machine: what this machine's processors are called in documents of registries."""

from __future__ import annotations

import os

_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "i386": "386", "armv7l": "arm", "armv6l": "arm"}
"""The kernel's names, where Go's (and with them OCI's `platform.architecture`) differ."""


def architecture() -> str:
    """As Go calls it: `amd64`, `arm64`, `riscv64`."""
    machine = os.uname().machine
    return _NAMES.get(machine, machine)

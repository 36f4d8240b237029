"""Which hosts are this very machine, whose wires nobody taps."""

from __future__ import annotations

import re

# Digits of other scripts, or numbers that no address has, would make it a name that somebody else may answer to.
_ADDRESS = re.compile(r"127(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}", re.ASCII)
_PORT = re.compile(r":[0-9]*\Z", re.ASCII)


def is_loopback(host: str) -> bool:
    """Whether a host, without a port and in lower case, is this machine; IPv6 with or without brackets."""
    return host in ("localhost", "::1", "[::1]") or _ADDRESS.fullmatch(host) is not None


def without_port(host: str) -> str:
    """A host as it stands in a name, in lower case and without its port."""
    return _PORT.sub("", host).lower() if host.startswith("[") or host.count(":") == 1 else host.lower()

"""ClientLimits: what clients may take of a server's connections, time and memory."""

from __future__ import annotations

import resource
from dataclasses import dataclass, replace

from fusefs.values.settings import KIB

_FILES_ELSE = 32
"""Descriptors for the event loop, hashing, logs, and connections that are just being closed."""


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """The defaults are for a network of colleagues, some of them on slow links, with one of them hostile.

    Attributes:
        connections: at once, of all clients.  Each may hold one piece of a file (`body.PIECE`): 128 MiB in all.
        per_client: of one address, or of one /64 of IPv6, which is what one machine gets.  A mount has some dozens.
        head_time: seconds from the first byte of a request (from the connection, for the first one) to the end of its
            headers.  They fit into a few packets.
        head_bytes: of the request line and all headers.  A browser with many cookies sends 8 KiB.
        idle_time: seconds between two requests, as with nginx: longer than a reader thinks between two chunks.
        pace_time: seconds of waiting for a client in which it must take `pace_bytes`, again and again.
        pace_bytes: together 273 bytes a second; 1 kB/s is fast enough even where the kernel of a slow reader on
            loopback tells of its progress once in 64 KiB.
        stalled_time: seconds without progress after which an answer may have to make room for another connection; who
            takes it comes back.
        linger_time: seconds that a connection that is being closed gets to read the end of its answer.
    """

    connections: int = 512
    per_client: int = 128
    head_time: float = 10.0
    head_bytes: int = 16 * KIB
    idle_time: float = 75.0
    pace_time: float = 120.0
    pace_bytes: int = 32 * KIB
    stalled_time: float = 2.0
    linger_time: float = 1.0

    def within_descriptors(self) -> ClientLimits:
        """The same for a process that may open fewer files: a connection takes its socket and the file it is sent."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = max(8, (soft - _FILES_ELSE) // 2) if soft != resource.RLIM_INFINITY else self.connections
        connections = min(self.connections, room)
        # One client alone never takes all of it, however little there is.
        return replace(self, connections=connections, per_client=min(self.per_client, max(4, connections // 4)))

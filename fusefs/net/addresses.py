"""Which addresses everybody can reach, and which only who sits inside some network."""

from __future__ import annotations

import ipaddress
import socket

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address, as connected to, is one of the public Internet.

    Private, loopback, link-local, shared (CGNAT), multicast, unspecified and reserved ones are not, nor those of IPv6
    that stand for one of them; what is no address is not, either.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    site_local = isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or site_local)


def literal(host: str) -> str | None:
    """The address that `host` is, in whichever way resolvers read it (`127.1`, `0x7f000001`); None for a name."""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host)) if host[:1].isdecimal() and " " not in host else None
    except (OSError, ValueError):  # the second for a NUL
        return None

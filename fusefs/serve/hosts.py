"""Hosts: which names a server answers to.

A page of somebody else's in a browser reaches a server on this machine or its network by a name of its own whose
address it changes (DNS rebinding); to the browser the answers then belong to that page.  The Host header still has the
name.
Source: RFC 9110, sections 4.2.4 and 7.2; RFC 9112, section 3.2; RFC 3986, section 3.2.2.
"""

from __future__ import annotations

import ipaddress
import os
import re

from fusefs.errors import InvalidSetting

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{0,5})?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}", re.ASCII)

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Hosts:
    """Answers to loopback, to the address that a connection came to, to the listened one, and to what is named."""

    def __init__(self, listened: str, names: tuple[str, ...] = ()) -> None:
        """Allow `listened` and `names`.

        Raises:
            InvalidSetting: one of `names` is neither a host name nor an address.
        """
        self._names = {"localhost"} | {_plain(listened)} | {_plain(_checked(name)) for name in names}
        address = _address(_plain(listened))
        if address is None or not address.is_loopback:
            # Beyond loopback the machine's own name is how others call it; whoever else has it was given it by them.
            self._names.add(_plain(os.uname().nodename))

    def allows(self, authority: str, local: str) -> bool:
        """Whether a request for `authority` is meant for this server.

        Args:
            authority: as in a Host header: a name or an address, and a port or none.
            local: the address of this end of the connection.
        """
        match = _AUTHORITY.fullmatch(authority)
        if match is None:
            return False
        host = _plain(match[1])
        if host in self._names:
            return True
        address = _address(host)
        # An address in place of a name cannot be made to mean another machine.
        return address is not None and (address.is_loopback or address == _address(_plain(local)))


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) or _address(_plain(name)):
        return name
    raise InvalidSetting(f"invalid host {name[:80]!r}: want a name or an address without scheme and port")


def _plain(host: str) -> str:
    """In lower case, without brackets, a zone, and the dot of the root; addresses in their one form."""
    host = host.strip("[]").partition("%")[0].lower().removesuffix(".")
    address = _address(host)
    return host if address is None else str(address)


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address

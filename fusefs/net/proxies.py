"""Proxies: through which proxy a host is asked, and which hosts are asked past it.

The variables, in lower case or else in upper case: `http_proxy` and `https_proxy` for the scheme of what is asked,
`all_proxy` where there is none for it, and `no_proxy` for what is asked directly.  This machine itself always is.
`no_proxy` is a list; commas or white space separate its entries.  What curl or Go asks directly by it is asked directly
here, too, since that is what people have written it for:

    *                       everything
    10.0.0.0/8, fd00::/8    addresses of a network, where the URL has an address (names are not looked up for this)
    10.0.0.1, ::1, [::1]    one address
    example.org             this host, and every host below it
    .example.org            the same (as curl; Go has it for the hosts below alone)
    *.example.org           every host below it (as Go)
    example.org:8080, 10.0.0.1:8080, [::1]:8080    the same at this port alone

Sources: Go's golang.org/x/net/http/httpproxy; curl's manual, NO_PROXY; `_proxy` variables as Python's urllib reads them
(an empty one in lower case hides the other; `HTTP_PROXY` counts for nothing in a CGI program).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.request import getproxies_environment

from fusefs.errors import SourceError
from fusefs.net.origin import WebOrigin
from fusefs.net.url import Url

_SCHEMES = ("http", "https")
_SEPARATOR = re.compile(r"[\s,]+")
_ENTRY = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_MAX_SHOWN = 20

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy.

    Attributes:
        origin: where it is.
        login: `user:password` for it, percent-encoded, or nothing.
        variable: which says so.
    """

    origin: WebOrigin
    login: str = field(repr=False)
    variable: str

    @property
    def url(self) -> str:
        """Without the login."""
        return f"{self.origin.scheme}://{self.origin}"

    def __str__(self) -> str:
        return f"the proxy {self.origin} ({self.variable})"


def proxy_for(origin: WebOrigin) -> Proxy | None:
    """The proxy of the environment for this host; None where it is asked directly.

    Raises:
        SourceError: a variable names what is no proxy that can be used; its text, which may hold a password, is not
            shown.
    """
    proxies = getproxies_environment()
    kind = origin.scheme if proxies.get(origin.scheme) else "all"
    text = proxies.get(kind, "").strip()
    if not text or origin.loopback or is_direct(origin, proxies.get("no", "")):
        return None
    variable = f"{kind}_proxy"
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    if scheme.lower() not in _SCHEMES:
        shown = repr(scheme[:_MAX_SHOWN]) if _SCHEME.fullmatch(scheme) else "unknown"
        raise SourceError(
            f"the proxy that {variable} names is of the kind {shown}: want http or https", source=str(origin)
        )
    login, _, host = rest.partition("/")[0].rpartition("@")
    try:
        return Proxy(Url.parse(f"{scheme}://{host}").origin, login, variable)
    except SourceError:
        text = f"the proxy that {variable} names is no URL: want http://host:port"
        raise SourceError(text, source=str(origin)) from None


def is_direct(origin: WebOrigin, no_proxy: str) -> bool:
    """Whether `no_proxy` has an entry for this host; see the text of the module."""
    host, address = origin.host.rstrip("."), _address(origin.host)
    return any(_matches(entry, host, address, origin.port) for entry in _SEPARATOR.split(no_proxy.lower()) if entry)


def _matches(entry: str, host: str, address: _Address | None, port: int) -> bool:
    if "/" in entry:
        return address is not None and _in_network(address, entry)
    parts = _ENTRY.fullmatch(entry) if _address(entry) is None else None
    name, wanted = (entry, None) if parts is None else (parts[1], parts[2])
    if wanted is not None and int(wanted) != port:
        return False
    if name == "*":
        return True
    if address is not None:
        return address == _address(name)
    if name.startswith("*."):
        return host.endswith(name[1:].rstrip("."))
    name = name.strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _in_network(address: _Address, text: str) -> bool:
    try:
        network = ipaddress.ip_network(text.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return False
    return address in network


def _address(host: str) -> _Address | None:
    """IPv4 within IPv6 is the IPv4 address: it is what is connected to."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address

"""Route: how one origin is asked, found once for all its requests: through which proxy, over which connections."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import urllib3
from urllib3.util import make_headers

from fusefs.net.addresses import is_public, literal
from fusefs.net.connection import HttpPool, HttpsPool
from fusefs.net.proxies import proxy_for
from fusefs.net.trust import tls_context

if TYPE_CHECKING:
    from fusefs.net.origin import WebOrigin
    from fusefs.net.proxies import Proxy

_MAX_ROUTES = 256
"""Origins whose route is remembered; a hostile registry can redirect to any number of them."""


class Route:
    """How one origin is asked.

    Attributes:
        label: the origin, for messages and as the header `Host`.
        through: the proxy that is asked in its place, for messages; empty where there is none.
        whole: a request has the whole URL in its first line, as a proxy wants it that is asked in the clear.
        private: it is an address, and none of the public Internet.
        pool: finds the connections to it, or to its proxy.
    """

    def __init__(self, origin: WebOrigin, proxy: Proxy | None, manager: urllib3.PoolManager) -> None:
        self.label = str(origin)
        self.through = "" if proxy is None else str(proxy)
        self.whole = proxy is not None and origin.scheme == "http"
        address = literal(origin.host)
        self.private = address is not None and not is_public(address)
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        self.pool = partial(manager.connection_from_host, host, origin.port, origin.scheme)


class Routes:
    """The routes of one transport, and the connections over which they go."""

    def __init__(self, connections: int, insecure_host: str) -> None:
        """Make it.

        Args:
            connections: to one host that are kept.
            insecure_host: the one host whose certificate is not checked.
        """
        self._connections = connections
        self._insecure_host = insecure_host
        self._routes: dict[WebOrigin, Route] = {}
        self._managers: dict[tuple[Proxy | None, str, bool], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def find(self, origin: WebOrigin) -> Route:
        """The route to an origin, looked for once: the environment has dozens of variables, and each is read.

        Raises:
            SourceError: the environment names a proxy that cannot be used.
        """
        route = self._routes.get(origin)
        if route is None:
            proxy = proxy_for(origin)
            route = Route(origin, proxy, self._manager(origin, proxy))
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            self._routes[origin] = route
        return route

    def refresh(self) -> None:
        """Read the environment again: it may name other proxies by now."""
        self._routes.clear()

    def close(self) -> None:
        """Close all connections.  Idempotent."""
        with self._lock:
            managers = list(self._managers.values())
            self._managers.clear()
        self._routes.clear()
        for manager in managers:
            # `clear` alone forgets the pools; their idle connections would stay open until the garbage collector comes.
            for key in manager.pools.keys():  # noqa: SIM118  # this container cannot be iterated
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
            manager.clear()

    def _manager(self, origin: WebOrigin, proxy: Proxy | None) -> urllib3.PoolManager:
        insecure = origin.scheme == "https" and origin.host == self._insecure_host
        key = (proxy, origin.scheme, insecure)
        with self._lock:
            if key not in self._managers:
                self._managers[key] = self._new_manager(*key)
            return self._managers[key]

    def _new_manager(self, proxy: Proxy | None, scheme: str, insecure: bool) -> urllib3.PoolManager:
        options: dict[str, Any] = {"num_pools": 16, "maxsize": self._connections}
        if scheme == "https":  # only then, because reading the certificates takes 20 ms
            options["ssl_context"] = tls_context(insecure=insecure)
        manager: urllib3.PoolManager
        if proxy is not None:
            login = unquote(proxy.login)
            options["proxy_headers"] = make_headers(proxy_basic_auth=login) if login else None
            manager = urllib3.ProxyManager(proxy.url, **options)
        else:
            manager = urllib3.PoolManager(**options)
        manager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}
        return manager

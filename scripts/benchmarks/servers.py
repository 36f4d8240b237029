"""Servers: nginx on loopback, and a slow front server behind a shaped link; both write the same access log."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import ssl
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.benchmarks.stage import CommandFailed, background, module, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.benchmarks.content import Model

RATE = 125_000_000
"""Bytes a second of the shaped link: 1 Gbit/s."""

MTU = 1500
PAYLOAD_RATE = RATE * (MTU - 52) / (MTU + 14)
"""What is left of it for content: 52 bytes of IP and TCP headers a packet, and 14 of Ethernet, are not."""

DELAY = 0.020

_NGINX = """
daemon off; {user} worker_processes auto; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 512; }}
http {{
  log_format bench '$msec $request_time $status $body_bytes_sent "$http_range" $uri';
  access_log {log} bench; sendfile on; keepalive_requests 100000; default_type application/octet-stream;
  client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
  uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
  server {{ listen 127.0.0.1:{port} {tls}; root {www}; location /plain/ {{ autoindex on; }} }}
}}
"""

_LINE = re.compile(r'([\d.]+) ([\d.]+) (\d+) (\d+) "(.*?)" (\S+)')


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the log.

    Attributes:
        ended: seconds since the epoch.
        seconds: how long it took.
        sent: bytes of the body.
        first: offset of the first byte asked for; None without a Range.
        path: what was asked for.
    """

    ended: float
    seconds: float
    sent: int
    first: int | None
    path: str


@dataclass(slots=True)
class Server:
    """A running server.

    Attributes:
        url: `http://<host>:<port>`.
        log: its access log.
        pid: of its first process.
    """

    url: str
    log: Path
    pid: int
    seen: int = 0

    def source(self, model: Model) -> str:
        """The name of a model, for `fusefs mount`."""
        return f"{self.url}/library/{model.name}"

    def mark(self) -> None:
        """Forget what was asked until now."""
        self.seen = self.log.stat().st_size

    def requests(self) -> list[Request]:
        """What was asked since the last mark; a request is known once it has ended."""
        with self.log.open() as file:
            file.seek(self.seen)
            return [_request(match) for match in map(_LINE.match, file) if match]

    def content(self) -> list[Request]:
        """Those requests that bytes of blobs were sent for."""
        return [request for request in self.requests() if "/blobs/" in request.path and request.sent]


def _request(match: re.Match[str]) -> Request:
    span = re.match(r"bytes=(\d+)-", match[5])
    return Request(float(match[1]), float(match[2]), int(match[4]), int(span[1]) if span else None, match[6])


def twice(requests: list[Request], size: int) -> int:
    """How many bytes of a file of `size` bytes were sent more than once."""
    spans = sorted(((request.first or 0), (request.first or 0) + request.sent) for request in requests)
    union, reach = 0, 0
    for start, stop in spans:
        union += max(0, stop - max(start, reach))
        reach = max(reach, stop)
    return sum(stop - start for start, stop in spans) - min(union, size)


def has_nginx() -> bool:
    """Whether it is installed."""
    return shutil.which("nginx") is not None


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]


def answers(url: str, tls: Path | None = None) -> bool:
    """Whether there is a page."""
    trust = ssl.create_default_context(cafile=tls) if tls else None
    try:
        with urllib.request.urlopen(url, timeout=2, context=trust):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def nginx(folder: Path, www: Path, tls: tuple[Path, Path] | None = None) -> Iterator[Server]:
    """nginx on loopback over `www`; the slow server without its delay where there is no nginx.

    With a certificate and its key it speaks TLS, which only nginx can.
    """
    folder.mkdir(exist_ok=True)
    port, log, conf = free_ports(1)[0], folder / "nginx.log", folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    words = "ssl; ssl_certificate {}; ssl_certificate_key {}".format(*tls) if tls else ""
    conf.write_text(_NGINX.format(folder=folder, log=log, port=port, www=www, user=user, tls=words))
    argv, ready = ["nginx", "-c", str(conf), "-e", str(folder / "nginx.err")], "/plain/"
    if not has_nginx():
        log.touch()
        argv, ready = module("slowserver", f"127.0.0.1:{port}", str(www), str(log), "0"), "/ready"
    with background(argv, log=folder / "nginx.out") as process:
        server = Server(f"{'https' if tls else 'http'}://127.0.0.1:{port}", log, process.pid)
        if not wait_until(lambda: answers(server.url + ready, tls[0] if tls else None), 10):
            raise CommandFailed("nginx does not answer: " + (folder / "nginx.out").read_text()[-300:])
        yield server


@contextlib.contextmanager
def late(folder: Path, www: Path) -> Iterator[Server]:
    """A server on loopback that begins to answer after 20 ms: a program that reads on at once has to wait for it."""
    port, log = free_ports(1)[0], folder / "late.log"
    log.touch()
    argv = module("slowserver", f"127.0.0.1:{port}", str(www), str(log), str(DELAY))
    with background(argv, log=folder / "late.out") as process:
        server = Server(f"http://127.0.0.1:{port}", log, process.pid)
        if not wait_until(lambda: answers(server.url + "/ready"), 10):
            raise CommandFailed("the late server does not answer: " + (folder / "late.out").read_text()[-300:])
        yield server


@contextlib.contextmanager
def shaped(folder: Path, www: Path) -> Iterator[Server]:
    """A server behind a link of 1 Gbit/s that begins to answer after 20 ms; needs root.

    Its network namespace is joined to ours by two virtual Ethernet devices.  tbf holds back what leaves the server.
    """
    name = f"fb{os.getpid()}"
    here, there, log = f"{name}h"[-15:], f"{name}t"[-15:], folder / "slow.log"
    net = f"10.213.{os.getpid() % 250}"
    log.touch()
    with contextlib.ExitStack() as stack:
        stack.callback(_forget, ["ip", "netns", "del", name])
        stack.callback(_forget, ["ip", "link", "del", here])
        for command in (
            f"ip netns add {name}",
            f"ip link add {here} type veth peer name {there} netns {name}",
            f"ip addr add {net}.1/30 dev {here}",
            f"ip link set {here} mtu {MTU} up",
            f"ip -n {name} addr add {net}.2/30 dev {there}",
            f"ip -n {name} link set {there} mtu {MTU} up",
            f"ip -n {name} link set lo up",
            f"tc -n {name} qdisc add dev {there} root tbf rate {RATE * 8} burst 256kb latency 50ms",
        ):
            run(command.split(), limit=20)
        serve = module("slowserver", f"{net}.2:8080", str(www), str(log), str(DELAY))
        process = stack.enter_context(background(["ip", "netns", "exec", name, *serve], log=folder / "slow.out"))
        server = Server(f"http://{net}.2:8080", log, process.pid)
        if not wait_until(lambda: answers(server.url + "/ready"), 10):
            raise CommandFailed("the slow server does not answer: " + (folder / "slow.out").read_text()[-300:])
        yield server


def _forget(argv: list[str]) -> None:
    with contextlib.suppress(CommandFailed, OSError):
        run(argv, limit=20)

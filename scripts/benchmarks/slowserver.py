"""A static web server that begins each response after a delay: `slowserver HOST:PORT ROOT LOG SECONDS`.

One range a request, sendfile, one thread a connection: what it takes to fill a link of 1 Gbit/s with one core to spare.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

_log_lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of files below `root`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # status line and headers leave in one packet
    timeout = 120
    root: Path
    log: Path
    delay: float

    def do_GET(self) -> None:
        start = time.time()
        time.sleep(self.delay)
        path = unquote(self.path.partition("?")[0])
        span = self.headers.get("Range", "")
        status, sent = 200, 0
        try:
            file = os.open(self.root / path.lstrip("/"), os.O_RDONLY)
        except OSError:
            status, sent = self._say(200 if path == "/ready" else 404, b"\n")
        else:
            try:
                status, sent = self._send(file, span)
            finally:
                os.close(file)
        with _log_lock, self.log.open("a") as out:
            out.write(f'{time.time():.4f} {time.time() - start:.4f} {status} {sent} "{span}" {path}\n')

    do_HEAD = do_GET  # noqa: N815 - named by http.server

    def _say(self, status: int, body: bytes) -> tuple[int, int]:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        return status, len(body)

    def _send(self, file: int, span: str) -> tuple[int, int]:
        size = os.fstat(file).st_size
        first, last, status = 0, size - 1, 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", span):
            first, last, status = int(match[1]), min(int(match[2] or last), size - 1), 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.flush()
        if self.command == "HEAD":
            return status, 0
        self.connection.settimeout(None)  # so that sendfile blocks, and needs no selector
        off = first
        try:
            while off <= last:
                off += os.sendfile(self.connection.fileno(), file, off, last + 1 - off)
        except OSError:
            self.close_connection = True
        return status, off - first

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        """The access log is our own."""


class Server(ThreadingHTTPServer):
    """Many connections at once."""

    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is no news."""


def main() -> None:
    address, root, log, delay = sys.argv[1:]
    host, _, port = address.rpartition(":")
    Handler.root, Handler.log, Handler.delay = Path(root), Path(log), float(delay)
    Server((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()

"""The receiving end: one call into the kernel for a whole piece, and what a silence amid it costs."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from fusefs.net.connection import HttpPool, RawResponse
from tests.certificate import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

STALL = 0.4


def test_p6_a_silence_amid_a_piece_is_waited_out_once_not_twice() -> None:
    """The first wait gives what had come; of the second one only what is left of the stall time is waited."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
        with client, peer:
            client.settimeout(STALL)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(20_000))
            response = RawResponse(client, method="GET")
            response.begin()
            buffer = memoryview(bytearray(100_000))
            got = response.receive_into(buffer)
            while got < 20_000:
                got += response.receive_into(buffer[got:])
            with pytest.raises(TimeoutError):
                response.receive_into(buffer)
            waited = struct.unpack("@ll", client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16))
            assert waited[0] + waited[1] / 1e6 < STALL / 2
            assert client.gettimeout() == STALL
            response.close()


def test_p6_records_of_tls_come_as_a_piece_and_what_came_before_a_silence_is_not_lost(tmp_path: Path) -> None:
    """Seven records lie there, and the rest never comes: all seven are given first, and then the silence is told."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_server(("127.0.0.1", 0)) as server:
        plain = socket.create_connection(server.getsockname(), timeout=60)
        accepted, _ = server.accept()
        made: list[ssl.SSLSocket] = []
        shaking = threading.Thread(
            target=lambda: made.append(make_certificate(tmp_path).context().wrap_socket(accepted, server_side=True))
        )
        shaking.start()
        client = context.wrap_socket(plain)
        shaking.join()
        with client, made[0] as peer:
            body = bytes(range(256)) * 400
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + body)
            client.settimeout(STALL)
            response = RawResponse(client, method="GET")
            response.begin()
            buffer, filled, calls = memoryview(bytearray(200_000)), 0, 0
            while filled < len(body):
                filled += response.receive_into(buffer[filled:])
                calls += 1
            assert bytes(buffer[:filled]) == body
            assert calls <= 4, "what came with the head, the rest, and twice a machine that is busy"
            with pytest.raises(TimeoutError):
                response.receive_into(buffer)
            response.close()


def test_p11_a_connection_that_comes_back_while_its_pool_is_closed_is_closed() -> None:
    """The pool is full, and by the time that urllib3 would say so another thread has closed it."""
    pool = HttpPool("127.0.0.1", 1, maxsize=1)
    closed = []

    class Connection:
        def close(self) -> None:
            closed.append(self)
            pool.close()

    pool._put_conn(Connection())
    assert closed

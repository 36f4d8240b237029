"""The receiving end: one call into the kernel for a whole piece, and what a silence amid it costs."""

from __future__ import annotations

import socket
import struct

import pytest

from fusefs.net.connection import RawResponse

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

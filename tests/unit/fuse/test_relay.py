"""The way to pyfuse3 and back, without pyfuse3 and without a kernel."""

from __future__ import annotations

import os
import random
import socket
import threading
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.fuse.wire import messages
from fusefs.fuse.wire.allowance import Allowance
from fusefs.fuse.wire.messages import REPLY, REQUEST
from fusefs.fuse.wire.relay import Relay

if TYPE_CHECKING:
    from fusefs.fuse.wire.device import Device

GETATTR = 3


class Kernel:
    """Takes replies."""

    def __init__(self) -> None:
        self.answered: list[int] = []

    def forward(self, message: bytes) -> None:
        self.answered.append(REPLY.unpack_from(message)[2])


def _request(opcode: int, unique: int) -> memoryview:
    body = messages.READ_IN.pack(0, 0, 1 << 20, 0, 0, 0, 0)
    return memoryview(bytearray(REQUEST.pack(REQUEST.size + len(body), opcode, unique, 1, 0, 0, 0, 0, 0) + body))


@pytest.mark.parametrize("opcode", [GETATTR, messages.READDIRPLUS, messages.READLINK])
def test_p11_a_burst_of_answers_always_fits_the_socket(opcode: int) -> None:
    """pyfuse3 writes them with Python's lock held, and the thread that makes room needs that lock."""
    kernel, count = Kernel(), 1000
    relay = Relay(256, lambda: None)
    with socket.socket(fileno=relay.other_end) as pyfuse3:

        def ask() -> None:
            for number in range(1, count + 1):
                relay.forward(cast("Device", kernel), _request(opcode, 2 * number))

        lane = threading.Thread(target=ask, daemon=True)
        lane.start()
        lane.join(60)
        assert not lane.is_alive(), "a thread that answers the kernel waits for the event loop"
        longest = {GETATTR: 144, messages.READLINK: 4096 + 16}.get(opcode, messages.MOST_LISTED + 16)
        porter: threading.Thread | None = None
        bursts = asked = 0
        while len(kernel.answered) < count:
            bursts, before = bursts + 1, asked
            while True:  # all that can be answered before the porter is heard of
                try:
                    message = pyfuse3.recv(1 << 17, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                unique = REQUEST.unpack_from(message)[2]
                reply = REPLY.pack(longest, 0, unique) + os.urandom(longest - REPLY.size)
                pyfuse3.send(reply, socket.MSG_DONTWAIT)
                asked += 1
            assert asked > before, "nothing is asked, and not all is answered"
            # The porter takes all of them, and asks on.
            porter = porter or threading.Thread(target=relay.run, daemon=True)
            if not porter.is_alive():
                porter.start()
            while len(kernel.answered) < asked:
                assert porter.is_alive()
                porter.join(0.001)
        assert bursts > 1
        assert sorted(kernel.answered) == [2 * n for n in range(1, count + 1)]
        relay.stop()
        assert porter is not None
        porter.join(60)
    relay.close()


@given(costs=st.lists(st.integers(1, 40), max_size=60), room=st.integers(1, 50), seed=st.integers())
def test_what_is_asked_fits_and_everything_is_asked_in_order(costs: list[int], room: int, seed: int) -> None:
    allowance: Allowance[int] = Allowance(room)
    under_way: list[int] = []
    asked: list[int] = []
    rng = random.Random(seed)
    waiting = list(range(len(costs)))
    while waiting or under_way:
        if waiting and (not under_way or rng.random() < 0.6):
            number = waiting.pop(0)
            now = [number] if allowance.ask(costs[number], number) else []
        else:
            now = allowance.answered(costs[under_way.pop(rng.randrange(len(under_way)))])
        asked += now
        under_way += now
        assert sum(costs[n] for n in under_way) <= room or len(under_way) == 1
    assert asked == list(range(len(costs)))

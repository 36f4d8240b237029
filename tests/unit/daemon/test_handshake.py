"""Handshake: what goes through the pipe between a daemon and whoever waits for it."""

from __future__ import annotations

import json
import os
import select

import pytest

from fusefs.daemon.handshake import Ready


@pytest.mark.parametrize("text", ["x", "ü", "\N{GRINNING FACE}", "\x01"])
def test_a_reason_is_one_line_that_a_pipe_takes_at_once(text: str) -> None:
    """Or a full pipe would take a part of it, and what follows would be no JSON."""
    receiving, sending = os.pipe()
    try:
        ready = Ready(sending)
        ready.meanwhile(10_000 * text)
        line = os.read(receiving, 1 << 16)
        assert len(line) <= select.PIPE_BUF
        assert set(json.loads(line)["meanwhile"]) == {text}
        ready()
    finally:
        os.close(receiving)

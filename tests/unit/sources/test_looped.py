"""Calls of an asynchronous library end when somebody ends them, and when nothing answers."""

from __future__ import annotations

import asyncio  # noqa: TID251 # what runs in the loop is of that library's kind
import threading
from contextlib import closing

import pytest

from fusefs.errors import Cancelled, StallTimeout
from fusefs.sources.tree.looped import Looped
from tests.patience import eventually


async def nothing_comes() -> None:
    await asyncio.Event().wait()


async def comes() -> int:
    await asyncio.sleep(0)
    return 7


def test_a_call_gives_what_came_of_it() -> None:
    with closing(Looped("here", 30)) as loop:
        assert loop.result(loop.begin(comes(), "x")) == 7
        assert loop.lines() == []


def test_p11_close_ends_a_call_that_waits_in_another_thread() -> None:
    loop = Looped("here", 1000)
    call = loop.begin(nothing_comes(), "model.gguf")
    failed: list[Exception] = []

    def wait() -> None:
        try:
            loop.result(call)
        except Cancelled as exc:
            failed.append(exc)

    thread = threading.Thread(target=wait)
    thread.start()
    assert "here model.gguf" in loop.lines()[0]
    loop.close()
    loop.close()
    eventually("the waiting thread ends", lambda: not thread.is_alive())
    assert failed
    with pytest.raises(Cancelled):
        loop.begin(comes(), "x")


def test_a_server_that_is_silent_is_told_from_one_that_was_closed() -> None:
    with closing(Looped("here", 0.01)) as loop, pytest.raises(StallTimeout, match="no answer for"):
        loop.result(loop.begin(nothing_comes(), "x"))


def test_an_error_of_the_call_is_the_caller_s() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise TimeoutError("its own")

    with closing(Looped("here", 30)) as loop, pytest.raises(TimeoutError, match="its own"):
        loop.result(loop.begin(fails(), "x"))

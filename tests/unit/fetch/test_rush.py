"""Rush: what waits for the end of it, how long at most, and how many at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import trio.testing

from fusefs.fetch.rush import Rush

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_what_can_wait_waits_for_the_last_file(autojump_clock: MockClock) -> None:
    del autojump_clock
    rush, ended = Rush(), list[str]()

    async def waits() -> None:
        await rush.over()
        ended.append("sealed")

    async def fetches() -> None:
        for _ in range(3):
            with rush.on():
                await trio.sleep(0.4)
            await trio.sleep(0.1)  # as long as it takes to want the next one
        ended.append("fetched")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetches)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(waits)
        nursery.start_soon(waits)
    assert ended == ["fetched", "sealed", "sealed"]


async def test_p4_a_rush_without_end_holds_nobody_up_for_ever(autojump_clock: MockClock) -> None:
    del autojump_clock
    rush = Rush()
    with rush.on(), trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(rush.over)


async def test_only_a_few_wait(autojump_clock: MockClock) -> None:
    del autojump_clock
    rush = Rush(2)
    with rush.on():
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(rush.over)
            await trio.testing.wait_all_tasks_blocked()
            before = trio.current_time()
            await rush.over()
            assert trio.current_time() == before
            nursery.cancel_scope.cancel()
        with trio.move_on_after(1) as scope:
            await rush.over()
        assert scope.cancelled_caught, "those who are gone leave their places"


async def test_without_a_rush_nobody_waits(autojump_clock: MockClock) -> None:
    del autojump_clock
    rush, before = Rush(), trio.current_time()
    await rush.over()
    assert trio.current_time() == before

"""Tasks of a fetcher, at its end."""

from __future__ import annotations

import trio
import trio.testing

from fusefs.fetch.tasks import Tasks


async def test_p11_what_may_start_can_be_started_until_the_very_end() -> None:
    """Between the end of the last task and that of all of them, nobody is told that another one may start."""
    for number in range(100):
        tasks, over = Tasks(), trio.Event()

        async def live(tasks: Tasks = tasks, over: trio.Event = over) -> None:
            async with tasks.running():
                tasks.start_soon(trio.sleep, 0)
                await over.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(live)
            await trio.testing.wait_all_tasks_blocked()
            over.set()
            for tick in range(12):
                if tasks.may_start and tick < 9 and not tick % (1 + number % 4):
                    tasks.start_soon(trio.lowlevel.checkpoint)
                await trio.lowlevel.checkpoint()
        assert not tasks.may_start

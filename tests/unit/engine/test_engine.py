"""What mount and pull share: one place makes it, so that every setting reaches both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.cache.space.quota import Limits
from fusefs.engine.engine import Engine
from fusefs.engine.options import MountOptions, PullOptions
from fusefs.values.names import Name
from fusefs.values.settings import MIB, Settings

if TYPE_CHECKING:
    from pathlib import Path

NAMES = (Name.parse("http://127.0.0.1:1/library/model"),)

SETTINGS = Settings(memory=2 * MIB, cache_size=7 * MIB, keep_free=3 * MIB)


def mount_options(root: Path) -> MountOptions:
    return MountOptions(NAMES, root / "mnt", root / "cache", (), SETTINGS)


def pull_options(root: Path) -> PullOptions:
    return PullOptions(NAMES, root / "cache", (), SETTINGS)


@pytest.fixture(params=[mount_options, pull_options])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> MountOptions | PullOptions:
    made: MountOptions | PullOptions = request.param(tmp_path)
    return made


async def test_what_was_asked_for_reaches_a_mount_and_a_pull_alike(options: MountOptions | PullOptions) -> None:
    """A pull kept up to 128 MiB beside the buffers, whatever --memory said."""
    async with Engine.running(options) as engine:
        assert engine.cache.memory.spill._capacity == MIB
        assert engine.cache.quota.limits == Limits(7 * MIB, 3 * MIB)


async def test_an_engine_that_ends_leaves_no_task_and_no_thread(options: MountOptions | PullOptions) -> None:
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            async with Engine.running(options) as engine:
                engine.nursery.start_soon(trio.sleep_forever)
            assert not nursery.child_tasks
            assert not engine.fetcher.threads.busy


async def test_an_engine_in_which_something_fails_is_taken_down(options: MountOptions | PullOptions) -> None:
    with trio.fail_after(30), pytest.RaisesGroup(LookupError):
        async with Engine.running(options):
            raise LookupError

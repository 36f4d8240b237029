"""The `mount` fixture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.fakes import file_system_of
from tests.mounts import start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.fakes import FakeBlobFile
    from tests.mounts import Mount, Mounter


@pytest.fixture
async def mount(tmp_path: Path) -> AsyncIterator[Mounter]:
    """A function that mounts contents by path; they are unmounted after the test."""
    async with trio.open_nursery() as nursery:

        async def make(
            contents: Mapping[str, bytes | FakeBlobFile], *, options: set[str] | None = None, **more: Any
        ) -> Mount:
            return await start(nursery, file_system_of(contents, **more), tmp_path / "mnt", options)

        yield make
        nursery.cancel_scope.cancel()

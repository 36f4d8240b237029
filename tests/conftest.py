"""What holds for every test: hypothesis profiles, no unannounced warnings in the log, no mounts left behind."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.azurite import has_azurite
from tests.modes import is_on

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.bucket import Bucket
    from tests.hub.scriptedhub import ScriptedHub

# Deadlines measure this machine's load, not the code: what must be fast has a test of its own.
hypothesis.settings.register_profile("dev", max_examples=15, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=200, deadline=None)
hypothesis.settings.load_profile("dev")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this run does without, and skip what cannot be run here."""
    _leave_out(config, items)
    _skip_without_device(items)


def _leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests about a part that is switched off: `tests.modes`."""
    left = [item for item in items if not all(is_on(mark.args[0]) for mark in item.iter_markers("about"))]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def _skip_without_device(items: list[pytest.Item]) -> None:
    """Skip what needs a kernel mount where there is none, unless FUSEFS_REQUIRE_MOUNT says that this is a failure."""
    if Path("/dev/fuse").exists() or os.environ.get("FUSEFS_REQUIRE_MOUNT"):
        return
    skip = pytest.mark.skip(reason="no /dev/fuse on this machine (FUSEFS_REQUIRE_MOUNT=1 makes this a failure)")
    for item in items:
        if {"cli", "faults", "mount", "programs"}.intersection(item.path.parts):
            item.add_marker(skip)


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So it is for a job in the background of a shell, and for what that starts: programs on which tests type Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class _Records(logging.Handler):
    """Keeps what was logged at WARNING or above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.name}: {record.getMessage()}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail a test in which somebody warned and nobody had announced it.

    A WARNING means that a person should look, so in a test it is either the point or a bug.  A test announces with
    `@pytest.mark.logs("regular expression")`, or by asking for `caplog`, with which it looks itself.
    """
    records = _Records()
    logging.getLogger().addHandler(records)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(records)
    if "caplog" in getattr(item, "fixturenames", ()):
        return
    announced = [re.compile(mark.args[0]) for mark in item.iter_markers("logs")]
    unannounced = [line for line in records.lines if not any(pattern.search(line) for pattern in announced)]
    if unannounced:
        pytest.fail("logged, but not announced with @pytest.mark.logs:\n" + "\n".join(unannounced), pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not tested for want of a program, for nothing else would: no test is there to be skipped."""
    if not has_azurite():
        terminalreporter.write_line("not tested: az://, because scripts/setup could not install Azurite")


def fusefs_mounts() -> list[str]:
    """The mount points of fusefs that the kernel knows."""
    fields = [line.split() for line in Path("/proc/mounts").read_text(errors="surrogateescape").splitlines()]
    return [field[1].encode().decode("unicode_escape") for field in fields if field[2] == "fuse.fusefs"]


@pytest.fixture(scope="session", autouse=True)
def _no_mounts_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Unmount what the tests left mounted, and fail because they did."""
    yield
    ours = str(tmp_path_factory.getbasetemp())
    left = [path for path in fusefs_mounts() if path.startswith(ours)]
    for path in left:
        subprocess.run(["umount", "--lazy", path], timeout=10, check=False)
    assert not left, f"mounts left behind: {left}"


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """A bucket of a real server, for all tests of this process: it takes seconds to start."""
    from tests.bucket import seaweed

    with seaweed(tmp_path_factory.mktemp("bucket")) as made:
        yield made


@pytest.fixture
def hub() -> Iterator[ScriptedHub]:
    """A scripted Hub with its content store, and no repository."""
    from tests.hub.scriptedhub import ScriptedHub

    with ScriptedHub() as made:
        yield made

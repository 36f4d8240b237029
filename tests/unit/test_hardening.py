"""What every command asks of the kernel before it begins."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.marks import one_soon

_ASK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from fusefs import __main__
sys.argv = ["fusefs", "--version"]
try:
    __main__.main()
finally:
    print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard"), one_soon([(100, 300), (300, 300)]))
def test_every_command_may_open_as_many_files_as_the_hard_limit_allows(soft: int, hard: int) -> None:
    asked = subprocess.run(
        [sys.executable, "-c", _ASK.format(soft=soft, hard=hard)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert asked.stdout.splitlines()[-1] == f"{hard} {hard}"

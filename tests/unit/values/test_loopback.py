"""Which hosts of names are this machine."""

from __future__ import annotations

import pytest

from fusefs.values.loopback import is_loopback, without_port


@pytest.mark.parametrize("host", ["localhost:5000", "LocalHost", "127.0.0.1", "127.1.2.3:80", "[::1]:5000", "[::1]"])
def test_this_machine_with_and_without_a_port(host: str) -> None:
    assert is_loopback(without_port(host))


@pytest.mark.parametrize(
    "host", ["localhost.example", "127.0.0.1.example:80", "127.0.0.256", "128.0.0.1", "[::2]", "127.1:x", "h"]
)
def test_p10_other_hosts_are_not(host: str) -> None:
    assert not is_loopback(without_port(host))

"""What pyproject.toml admits: nothing with a hole that is known, and what is installed here."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
REQUIREMENTS = {found.name: found for found in map(Requirement, PROJECT["dependencies"])}

LAST_WITH_A_HOLE = [
    ("urllib3", "2.7.0", "CVE-2026-97689"),
    ("click", "8.3.2", "CVE-2026-7246"),
    ("cryptography", "49.0.0", "CVE-2026-69247"),
    ("starlette", "1.3.0", "CVE-2026-54283"),
    ("h11", "0.15.0", "CVE-2025-43859"),
    ("idna", "3.14", "CVE-2026-45409"),
]


@pytest.mark.parametrize(("name", "last", "hole"), LAST_WITH_A_HOLE)
def test_p10_no_version_with_a_known_hole_is_admitted(name: str, last: str, hole: str) -> None:
    assert not REQUIREMENTS[name].specifier.contains(last), f"{name} {last} has {hole}"


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_what_is_installed_is_admitted(name: str) -> None:
    assert REQUIREMENTS[name].specifier.contains(version(name))


def test_p10_the_server_has_no_code_that_speaks_another_protocol_than_http11() -> None:
    """HTTP/2 had holes of its own (h2: CVE-2026-71554); what is not there needs no lower bound."""
    assert not {"h2", "wsproto", "hypercorn"} & set(REQUIREMENTS)
    program = "import sys, fusefs.serve.server; print(*{'h2', 'wsproto', 'hypercorn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"

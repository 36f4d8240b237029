"""The rules of conftest.py hold: a pytest of its own runs small tests under them, once for all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

TESTS = """
import logging, pytest
log = logging.getLogger("fusefs.x")

def test_warning():
    log.warning("odd")

async def test_error_in_trio():
    log.error("odd")

@pytest.mark.logs("even")
def test_announced_another():
    log.warning("even")
    log.warning("odd")

def test_info():
    log.info("fine")

@pytest.mark.logs("o.d")
def test_announced():
    log.warning("odd")

def test_looks_itself(caplog):
    log.warning("odd")

@pytest.mark.slow
def test_slow():
    pass

@pytest.mark.about("wire")
def test_about_wire():
    pass

@pytest.mark.about("passthrough")
def test_about_passthrough():
    pass
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("rules")
    (root / "test_it.py").write_text(TESTS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-rA", "-p", "tests.conftest", "-c", REPOSITORY / "pyproject.toml"),
            *("--rootdir", root, "-p", "no:cacheprovider", root),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "FUSEFS_WITHOUT": "passthrough"},
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    return {name: result for result, name in re.findall(r"^(PASSED|FAILED) \S+::(\w+)", done.stdout, re.MULTILINE)}


@pytest.mark.parametrize("name", ["test_warning", "test_error_in_trio", "test_announced_another"])
def test_a_warning_that_nobody_announced_fails(name: str, outcomes: dict[str, str]) -> None:
    assert outcomes[name] == "FAILED"


@pytest.mark.parametrize("name", ["test_info", "test_announced", "test_looks_itself"])
def test_what_is_announced_passes(name: str, outcomes: dict[str, str]) -> None:
    assert outcomes[name] == "PASSED"


def test_slow_tests_run_only_when_asked_for(outcomes: dict[str, str]) -> None:
    assert len(outcomes) == 7
    assert "test_slow" not in outcomes


def test_a_test_about_a_part_that_is_switched_off_is_left_out(outcomes: dict[str, str]) -> None:
    assert outcomes["test_about_wire"] == "PASSED"
    assert "test_about_passthrough" not in outcomes

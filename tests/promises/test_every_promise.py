"""Every promise, and every flaw of Ollama's cache that must not come back, is held by a test that is named for it.

A test that does not run holds nothing, so what would skip or deselect one is looked for, too.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

PROMISES = [f"p{number}" for number in range(1, 13)]
FLAWS = ["f1", "f1b", *(f"f{number}" for number in range(2, 14))]


@functools.cache
def _tests() -> dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every test function of the tree by the first word of its claim: `p4`, `f1b`, …"""
    found: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                match = re.match(r"test_([pf]\d+b?)_", node.name)
                if match:
                    found.setdefault(match[1], []).append(node)
    return found


def _runs_by_default(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    marks = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
    return not re.search(r"\bmark\.(skip|skipif|xfail|slow)\b", marks)


@pytest.mark.parametrize("claim", PROMISES + FLAWS)
def test_a_test_of_the_default_run_is_named_for_it(claim: str) -> None:
    assert any(_runs_by_default(node) for node in _tests().get(claim, [])), f"no test_{claim}_… that always runs"


def test_no_test_is_named_for_a_promise_that_nobody_made() -> None:
    assert set(_tests()) <= {*PROMISES, *FLAWS}


@pytest.mark.parametrize("number", range(1, 13))
def test_readme_names_a_test_that_exists_for_each_promise(number: int) -> None:
    readme = (TESTS.parent / "README.md").read_text()
    (row,) = re.findall(rf"^\| {number} [^|]+\|[^|]+\|( `tests/.*)\|$", readme, re.MULTILINE)
    named = re.findall(r"`(tests/\S+\.py)` `(test_\w+)`", row)
    assert named
    for path, test in named:
        assert re.search(rf"^(async )?def {test}\(", (TESTS.parent / path).read_text(), re.MULTILINE), test

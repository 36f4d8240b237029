"""Native: whether the fusefs that is measured hands sealed files to the kernel, and how to have it do without."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from scripts.benchmarks import product
from scripts.benchmarks.stage import run

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTION = "--no-passthrough"
NAME = "passthrough"


def options_without() -> list[str]:
    """The options of a mount whose daemon answers every read itself."""
    return [OPTION] if OPTION in _help(tuple(product.command("mount", "--help"))) else []


@cache
def _help(argv: tuple[str, ...]) -> str:
    return run(argv, limit=60).out


def why_off(status: Mapping[str, Any]) -> str:
    """Why a mount has no passthrough, by its status; empty when it has."""
    said = _find(status, NAME)
    if said is None:
        return "this fusefs has no passthrough"
    if said is True or said == "on":
        return ""
    return str(said).removeprefix("off: ") if isinstance(said, str) and said else "the mount does not say why"


def _find(said: Mapping[str, Any], name: str) -> object:
    """What is said under a name, at whichever depth."""
    if name in said:
        return said[name]
    inner = (_find(value, name) for value in said.values() if isinstance(value, dict))
    return next((found for found in inner if found is not None), None)

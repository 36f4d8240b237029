"""Native: whether the fusefs that is measured hands sealed files to the kernel, and how to have it do without."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from scripts.benchmarks import product
from scripts.benchmarks.stage import run

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTION = "--no-passthrough"


def options_without() -> list[str]:
    """The options of a mount whose daemon answers every read itself."""
    return [OPTION] if OPTION in _help(tuple(product.command("mount", "--help"))) else []


@cache
def _help(argv: tuple[str, ...]) -> str:
    return run(argv, limit=60).out


def why_off(status: Mapping[str, Any]) -> str:
    """Why a mount has no passthrough, by its status; empty when it has."""
    wire = status.get("wire") or {}
    if wire.get("passthrough"):
        return ""
    if "passthrough" not in wire:
        return "this fusefs has no passthrough"
    return str(wire.get("no_passthrough") or "the mount does not say why")

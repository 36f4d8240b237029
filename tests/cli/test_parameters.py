"""What the settings of a command are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.cli.parameters import settings_of
from fusefs.values.settings import Settings

if TYPE_CHECKING:
    import pytest


def test_what_a_command_does_not_offer_keeps_its_default() -> None:
    assert settings_of({"timeout": 7.0, "foreground": True}) == Settings(timeout=7.0)


def test_the_benchmark_switches_parts_of_prefetch_off_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the environment, which a daemon inherits; what it does not know it leaves alone."""
    monkeypatch.setenv("FUSEFS_WITHOUT", "credit,replay,unknown")
    assert settings_of({}) == Settings(without=frozenset({"credit", "replay"}))
    monkeypatch.setenv("FUSEFS_WITHOUT", "")
    assert settings_of({}) == Settings()

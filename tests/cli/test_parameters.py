"""What the settings of a command are made of."""

from __future__ import annotations

import click
import pytest

from fusefs.cli.parameters import PLACE_OR_HOST, SOURCE, settings_of
from fusefs.values.hubname import HubName
from fusefs.values.settings import Settings


def test_what_a_command_does_not_offer_keeps_its_default() -> None:
    assert settings_of({"timeout": 7.0, "foreground": True}) == Settings(timeout=7.0)


def test_the_benchmark_switches_parts_of_prefetch_off_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the environment, which a daemon inherits; what it does not know it leaves alone."""
    monkeypatch.setenv("FUSEFS_WITHOUT", "credit,replay,unknown")
    assert settings_of({}) == Settings(without=frozenset({"credit", "replay"}))
    monkeypatch.setenv("FUSEFS_WITHOUT", "")
    assert settings_of({}) == Settings()


@pytest.mark.parametrize("text", ["https://huggingface.co", "https://hf.co/"])
def test_the_hub_alone_is_no_registry_whose_models_could_be_listed(text: str) -> None:
    with pytest.raises(click.UsageError, match="name one of its models, as hf://OWNER/MODEL"):
        PLACE_OR_HOST.convert(text, None, None)


def test_a_source_of_the_hub_is_on_the_hub_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8000")
    for kind in (SOURCE, PLACE_OR_HOST):
        for text in ("hf://org/m", "http://127.0.0.1:8000/org/m/tree/main"):
            assert str(kind.convert(text, None, None)) == "hf+http://127.0.0.1:8000/models/org/m@main"
        assert str(kind.convert("https://huggingface.co/org/m", None, None)) == "hf://org/m@main"
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    with pytest.raises(click.UsageError, match="HF_ENDPOINT: invalid Hub"):
        SOURCE.convert("hf://org/m", None, None)
    assert not isinstance(SOURCE.convert("llama3.2:1b", None, None), HubName)

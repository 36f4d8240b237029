"""Where the Hub and its library's files are, as the environment says."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusefs.errors import InvalidSetting
from fusefs.system.hubplaces import hub_cache, hub_endpoint, hub_for, hub_home, hub_is_off, hub_token_file
from fusefs.values.hubendpoint import HUGGING_FACE

VARIABLES = ("HF_ENDPOINT", "HF_HOME", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")
OFF = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *OFF):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")


@pytest.mark.parametrize(
    ("environment", "home", "token", "cache"),
    [
        ({}, "/home/me/.cache/huggingface", None, None),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface", None, None),
        ({"HF_HOME": "~/hf"}, "/home/me/hf", None, None),
        ({"HF_HOME": "/hf", "HF_TOKEN_PATH": "/t", "HF_HUB_CACHE": "$HOME/x"}, "/hf", "/t", "/home/me/x"),
        ({"HUGGINGFACE_HUB_CACHE": "/old"}, "/home/me/.cache/huggingface", None, "/old"),
    ],
)
def test_files_are_where_the_library_has_them(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], home: str, token: str | None, cache: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert hub_home() == Path(home)
    assert hub_token_file() == Path(token or f"{home}/token")
    assert hub_cache() == Path(cache or f"{home}/hub")


def test_the_hub_is_the_one_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub_endpoint() == HUGGING_FACE
    monkeypatch.setenv("HF_ENDPOINT", " http://127.0.0.1:8000/ ")
    assert str(hub_endpoint()) == "http://127.0.0.1:8000"


def test_what_is_no_hub_matters_to_sources_of_the_hub_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    assert hub_for("llama3.2:1b") == HUGGING_FACE
    for text in ("hf://org/m", "HuggingFace://org/m"):
        with pytest.raises(InvalidSetting, match="HF_ENDPOINT: invalid Hub 'nonsense'"):
            hub_for(text)


@pytest.mark.parametrize("variable", OFF)
def test_the_hub_is_off_where_the_library_takes_it_for_off(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for value, off in (("1", True), ("true", True), ("YES", True), ("0", False), ("", False), ("no", False)):
        monkeypatch.setenv(variable, value)
        assert hub_is_off() == off

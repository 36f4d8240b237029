"""The files of the Hub's library are where it says itself, whatever the environment is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusefs.system.hubplaces import hub_cache, hub_home
from tests.marks import one_soon

_VARIABLES = ("HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")

_LIBRARYS = "from huggingface_hub.constants import HF_HOME, HF_HUB_CACHE; print(HF_HOME); print(HF_HUB_CACHE)"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    "variables",
    one_soon(
        [
            {"HF_HUB_CACHE": "/a", "HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c", "XDG_CACHE_HOME": "/d"},
            {"HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c", "XDG_CACHE_HOME": "/d"},
            {"HF_HOME": "~/c", "XDG_CACHE_HOME": "/d"},
            {"XDG_CACHE_HOME": "/d"},
            {"HF_HUB_CACHE": "~/$HF_HOME/x", "HF_HOME": "c"},
            {},
        ]
    ),
)
def test_the_hubs_cache_is_where_its_library_has_it(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    library = subprocess.run(
        [sys.executable, "-c", _LIBRARYS], env=os.environ, capture_output=True, text=True, timeout=60, check=True
    ).stdout.splitlines()
    assert [str(hub_home()), str(hub_cache())] == library


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", "")
    assert hub_cache() == tmp_path / ".cache/huggingface/hub"


def test_a_user_without_a_home_has_no_such_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "nowhere")
    assert hub_cache() is None

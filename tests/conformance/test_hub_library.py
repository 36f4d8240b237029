"""Where the Hub's own library finds its Hub, its files and its token, there fusefs finds them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.marks import one_soon

THEIRS = """
import json
from huggingface_hub import constants as c
from huggingface_hub.utils import build_hf_headers
token = build_hf_headers().get("authorization", "").removeprefix("Bearer ") or None
print(json.dumps([c.ENDPOINT, c.HF_HOME, c.HF_TOKEN_PATH, c.HF_HUB_CACHE, c.is_offline_mode(), token]))
"""

OURS = """
import json
from fusefs.sources.hub.hubtoken import find_token
from fusefs.system.hubplaces import hub_cache, hub_endpoint, hub_home, hub_is_off, hub_token_file
secret = find_token(hub_endpoint()).secret
token = None if secret is None else secret.value.removeprefix("Bearer ")
print(json.dumps([*map(str, (hub_endpoint(), hub_home(), hub_token_file(), hub_cache())), hub_is_off(), token]))
"""

ENVIRONMENTS = [
    {"HF_TOKEN_PATH": "$HOME/elsewhere/token", "HF_HUB_CACHE": "~/cache", "HF_HUB_OFFLINE": "0"},
    {},
    {"HF_ENDPOINT": "http://127.0.0.1:8000/", "HF_HOME": "~/hf", "HF_TOKEN": " hf_a\n", "HF_HUB_OFFLINE": "1"},
    {"XDG_CACHE_HOME": "/nowhere", "HUGGING_FACE_HUB_TOKEN": "hf_b", "TRANSFORMERS_OFFLINE": "yes"},
    {"HF_TOKEN": "", "HUGGING_FACE_HUB_TOKEN": " ", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_OFFLINE": "true"},
    {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"},
]


def said(program: str, environment: dict[str, str]) -> Any:
    """What a program says in an environment; the library reads it when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("environment", one_soon(ENVIRONMENTS))
def test_what_the_environment_says_means_the_same(tmp_path: Path, environment: dict[str, str]) -> None:
    for folder in (".cache/huggingface", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "token").write_text(f"hf_of_{folder[-4:]}\n")
        (tmp_path / folder / "token").chmod(0o600)
    mine = ("HF_", "HUGGING", "TRANSFORMERS_", "XDG_CACHE_HOME")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    clean |= {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    assert said(OURS, clean | environment) == said(THEIRS, clean | environment)

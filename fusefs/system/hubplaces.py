"""Where the Hugging Face Hub and its library's files are for this user, as the library's environment says.

Source: huggingface_hub, `constants.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

from fusefs.errors import InvalidSetting
from fusefs.system.places import home
from fusefs.values.hubendpoint import HUGGING_FACE, HubEndpoint

_TRUE = frozenset({"1", "ON", "YES", "TRUE"})


def hub_endpoint() -> HubEndpoint:
    """The Hub that `hf://` means: that of `$HF_ENDPOINT`, else huggingface.co.

    Raises:
        InvalidSetting: what stands there is no URL of a Hub.
    """
    named = os.environ.get("HF_ENDPOINT", "").strip()
    try:
        return HubEndpoint.parse(named) if named else HUGGING_FACE
    except InvalidSetting as exc:
        raise InvalidSetting(f"HF_ENDPOINT: {exc}") from None


def hub_for(source: str) -> HubEndpoint:
    """The Hub for a SOURCE as it was written; what `$HF_ENDPOINT` says wrongly is nothing to other sources.

    Raises:
        InvalidSetting: as `hub_endpoint`, for a source of the Hub.
    """
    try:
        return hub_endpoint()
    except InvalidSetting:
        if source.lower().startswith(("hf:", "huggingface:")):
            raise
        return HUGGING_FACE


def hub_is_off() -> bool:
    """Whether the Hub is not to be asked (`$HF_HUB_OFFLINE`, `$TRANSFORMERS_OFFLINE`)."""
    return is_on("HF_HUB_OFFLINE") or is_on("TRANSFORMERS_OFFLINE")


def is_on(variable: str) -> bool:
    """Whether a variable of the library's environment has a value that it takes for true."""
    return os.environ.get(variable, "").strip().upper() in _TRUE


def hub_home() -> Path | None:
    """The folder of the library's files (`$HF_HOME`); None where this user has no place for them."""
    if named := os.environ.get("HF_HOME", "").strip():
        return Path(os.path.expandvars(os.path.expanduser(named)))
    if named := os.environ.get("XDG_CACHE_HOME", "").strip():
        return Path(os.path.expanduser(named)) / "huggingface"
    found = home()
    return found / ".cache" / "huggingface" if found is not None else None


def hub_token_file() -> Path | None:
    """The file of the token that `hf auth login` keeps (`$HF_TOKEN_PATH`); None where there is no place."""
    if named := os.environ.get("HF_TOKEN_PATH", "").strip():
        return Path(os.path.expandvars(os.path.expanduser(named)))
    found = hub_home()
    return found / "token" if found is not None else None


def hub_cache() -> Path | None:
    """The folder in which the library keeps models (`$HF_HUB_CACHE`); None where there is no place."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if named := os.environ.get(variable, "").strip():
            return Path(os.path.expandvars(os.path.expanduser(named)))
    found = hub_home()
    return found / "hub" if found is not None else None

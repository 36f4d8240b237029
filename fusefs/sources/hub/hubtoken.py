"""HubToken: what is shown to the Hub, found where its own library finds it, and shown to no other host.

In this order: `$HF_TOKEN`, `$HUGGING_FACE_HUB_TOKEN`, the file of `hf auth login`.  Where huggingface_hub is installed,
it is asked for the token of that file, because it renews those that end (logins by a browser), and for one of a CI job
(`$HF_OIDC_RESOURCE`), which it exchanges.  Source: huggingface_hub, `utils/_auth.py`.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.errors import InvalidSetting
from fusefs.net.secret import Secret
from fusefs.sources.registry.credentials import read_config
from fusefs.system.hubplaces import hub_endpoint, hub_token_file, is_on
from fusefs.values.loopback import is_loopback, without_port

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.hubendpoint import HubEndpoint

log = logging.getLogger(__name__)

_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")


@dataclass(frozen=True, slots=True)
class HubToken:
    """What there is for one Hub.

    Attributes:
        secret: `Bearer …`; None where there is none.
        where: it was found, or why there is none; nothing secret.
    """

    secret: Secret | None
    where: str


def find_token(hub: HubEndpoint) -> HubToken:
    """The token for a Hub.  Blocking: the library may ask the Hub for a new one.

    A token is of the Hub that `$HF_ENDPOINT` names, or of huggingface.co: a name may come out of a file that somebody
    else wrote, and must not send it elsewhere.
    """
    try:
        own = hub_endpoint()
    except InvalidSetting as exc:
        return HubToken(None, str(exc))
    if hub != own:
        return HubToken(None, f"tokens are shown to {own} alone, see HF_ENDPOINT")
    if hub.scheme == "http" and not is_loopback(without_port(hub.host.partition("/")[0])):
        return HubToken(None, f"no token is shown in the clear, and {hub} is not asked over TLS")
    if is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        return HubToken(None, "HF_HUB_DISABLE_IMPLICIT_TOKEN is set")
    exchanged = bool(os.environ.get("HF_OIDC_RESOURCE"))
    if exchanged and (token := _by_library()):
        return _shown(token, "HF_OIDC_RESOURCE")
    for variable in _VARIABLES:
        if token := _clean(os.environ.get(variable, "")):
            return _shown(token, variable)
    return _of_file(hub_token_file())


def _of_file(path: Path | None) -> HubToken:
    if path is None or not path.exists():
        return HubToken(None, "there is no token: neither HF_TOKEN nor that of `hf auth login`")
    try:
        content, fault = read_config(path)
    except (OSError, InvalidSetting) as exc:
        return HubToken(None, f"{path} cannot be read: {(exc.strerror if isinstance(exc, OSError) else '') or exc}")
    if fault.written:  # one that others may read is used: the library wrote it so for years
        return HubToken(None, f"{path} is not used: {fault}")
    return _shown(_by_library() or _clean(content.decode("utf-8", "replace")), str(path))


def _shown(token: str, where: str) -> HubToken:
    if not _TOKEN.fullmatch(token):
        return HubToken(None, f"{where} holds no token")
    return HubToken(Secret(f"Bearer {token}"), where)


def _clean(text: str) -> str:
    return text.replace("\r", "").replace("\n", "").strip()


def _by_library() -> str:
    """What huggingface_hub says, if it is installed."""
    try:
        from huggingface_hub import get_token
    except ImportError:
        return ""
    try:
        return _clean(get_token() or "")
    except Exception as exc:  # of another program: whatever it is, the file can be read without it
        log.warning("huggingface_hub cannot give its token: %s", type(exc).__name__)
        return ""

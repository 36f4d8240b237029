"""Pages of the Hub: the addresses that people copy from a browser, as the repositories that they are of.

https://huggingface.co/org/model                          a repository; also datasets/… and spaces/…
https://huggingface.co/org/model/tree/<revision>[/folder] at a revision; blob, resolve and raw name a file in it
"""

from __future__ import annotations

import re

from fusefs.values.hubendpoint import HUGGING_FACE, KINDS, HubEndpoint
from fusefs.values.hubname import MAIN, HubName

HUB_PAGES = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
"""Hosts of the pages of huggingface.co."""

_HUGGING_FACE = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)(?::443)?(?=/)", re.IGNORECASE)
_AT_REVISION = frozenset({"tree", "blob", "resolve", "raw", "commit", "commits"})
_SPECIAL = re.compile(r"refs/(?:pr|convert)/[^/]+")
_NO_OWNERS = frozenset(
    {"api", "blog", "buckets", "chat", "collections", "docs", "join", "kernels", "learn", "login", "models"}
    | {"organizations", "papers", "posts", "settings", "tasks", "v2"}
)
"""What stands in the place of an organisation in the addresses of other pages."""


def read_page(text: str, hub: HubEndpoint = HUGGING_FACE) -> HubName | None:
    """The repository whose page, or a page of whose files, has an address.

    Args:
        text: what a person wrote; its query and its fragment say nothing of a repository.
        hub: a Hub whose pages are known besides.

    Returns:
        None when it may be anything else: a model of a registry (a tag behind a colon), a file with its digest.

    Raises:
        InvalidName: the name of the repository or of the revision is wrong.
    """
    found = _HUGGING_FACE.match(text)
    before, where = (found[0], HUGGING_FACE) if found else (str(hub), hub)
    if not text.startswith(f"{before}/") or "#sha256" in text:
        return None
    path = re.split(r"[?#]", text[len(before) :], maxsplit=1)[0]
    parts = path.strip("/").split("/")
    kind = parts.pop(0) if parts[0] in KINDS and len(parts) > 1 else KINDS[0]
    size = next((at for at, part in enumerate(parts[:3]) if at and part in _AT_REVISION), len(parts))
    if size > 2 or not all(parts) or parts[0] in (*KINDS, *_NO_OWNERS) or ":" in path or "@" in path:
        return None
    rest = "/".join(parts[size + 1 :])
    special = _SPECIAL.match(rest)
    revision = special[0] if special else rest.partition("/")[0] or MAIN
    return HubName.of_parts(where, kind, parts[:size], revision, text=before + path)

"""A manifest's two media types: the one in the head of the answer, and the one in the document.

A document that is a manifest to one reader and an index to another has two meanings under one digest (CVE-2021-41190).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fusefs.artifacts.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from fusefs.errors import WrongResponse
from fusefs.values.printable import line_of

if TYPE_CHECKING:
    from fusefs.net.transport import Response

_KNOWN = frozenset((DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST))
_MAX_SHOWN = 90


class _Head(msgspec.Struct, rename="camel", frozen=True):
    media_type: str = ""


_decoder = msgspec.json.Decoder(_Head)


def check_media_type(response: Response, raw: bytes) -> None:
    """Check that both say the same.  Storage that knows no media types says none of the four, which is well.

    Raises:
        WrongResponse: they differ.
    """
    said = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if said not in _KNOWN:
        return
    try:
        own = _decoder.decode(raw).media_type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return  # whoever parses it will say what it is
    if own and own != said:
        text = f"it calls a manifest {said}, and the manifest itself {line_of(own, _MAX_SHOWN)}"
        raise WrongResponse(text, source=response.source, temporary=False)

"""Accept: which form of a manifest a client takes.

Ollama's client names Docker's manifest alone, fusefs the four types of `ACCEPT`, and others nothing at all: they get
what is stored, whose digest they know.  Everybody else who names OCI's manifest (skopeo, podman, oras, containerd)
refuses Ollama's layers in a manifest of Docker's, whether they name that, too, or not.
Source: RFC 9110, section 12.5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import ACCEPT, OCI_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Sequence

_OURS = ACCEPT.split(", ")


def wants_oci(headers: Sequence[str]) -> bool:
    """Whether the client should have the OCI form.

    Args:
        headers: every Accept header of the request: skopeo sends one for each type.
    """
    types = [kind for header in headers for text in header.split(",") if (kind := _accepted(text))]
    return OCI_MANIFEST in types and types != _OURS


def _accepted(text: str) -> str:
    """The media type, in lower case; empty when it is the one that is not wanted (`q=0`)."""
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    return "" if any(part.startswith("q=") and not part[2:].strip("0.") for part in parameters) else kind

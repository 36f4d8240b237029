"""The schemes of SOURCEs: those that name a registry, and what to write in the place of another program's."""

from __future__ import annotations

from fusefs.errors import InvalidName
from fusefs.values.loopback import is_loopback, without_port

HTTPS = "https"
HTTP = "http"
INSECURE = "https+insecure"
LOCAL = "oci"
"""TLS, and on this very machine plain HTTP where TLS is not spoken, as Docker has it."""

DOCKER = "docker"

SCHEMES = (HTTP, HTTPS, INSECURE, "oci", "oci+http", DOCKER)
"""What a person may write before a registry."""

OCI_ALONE = frozenset((LOCAL, "oci+http", DOCKER))
"""Behind these a repository is one of the OCI specification, never one of Ollama's grammar."""

_KINDS = (
    "a source is a model of a registry, as HOST/REPOSITORY:TAG or behind oci, docker, oci+http, "
    "http, https, https+insecure; of the Hugging Face Hub, as hf://OWNER/MODEL; "
    "or a folder of this machine, as ./DIR, /DIR or file:///DIR"
)

_ELSEWHERE = {
    "oras": "for a registry write oci:// in its place",
    "oci+https": "for a registry write oci:// in its place",
    "hf": "a model of the Hugging Face Hub is written hf://OWNER/MODEL, and is no model of a registry",
    "ollama": "a model of Ollama's registry is written without a scheme, as llama3.2:1b",
    "modelscope": "ModelScope is not read; `modelscope download --model OWNER/MODEL --local_dir DIR`, and name ./DIR",
    "ngc": "NVIDIA's catalog is not read; `ngc registry model download-version MODEL --dest DIR`, and name ./DIR",
}
_ALIASES = {"ms": "modelscope"}


def default_scheme(host: str) -> str:
    """What a name without a scheme means: TLS, but for this machine, where plain HTTP does as well."""
    return LOCAL if is_loopback(without_port(host)) else HTTPS


def canonical(scheme: str, host: str) -> str:
    """The one of HTTP, HTTPS, INSECURE and LOCAL that a written scheme means; empty: none was written."""
    if scheme == "oci+http":
        return HTTP
    return scheme if scheme in (HTTP, HTTPS, INSECURE) else default_scheme(host)


def unsupported(scheme: str) -> InvalidName:
    """What to tell somebody who writes another scheme."""
    known = _ELSEWHERE.get(_ALIASES.get(scheme, scheme))
    return InvalidName(f"unsupported scheme {scheme[:40]!r}: {known or _KINDS}")

"""Form: how the files of a layer lie in its bytes.  The end of its media type says it; no list of types is needed.

Sources: RFC 6838 §4.2.8 (`+gzip`), OCI image-spec 1.1 media-types.md, CNCF model-spec docs/spec.md ("raw", "tar"),
Docker Model Runner's `.dir.tar` and `.vllm.config.tar`.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Packing: TypeAlias = Literal["", "gzip", "zstd"]

_PACKED = re.compile(r"[.+](gzip|zstd)(?:-[a-z]+)?", re.ASCII)  # KitOps knows `+gzip-fastest`
_TAR = re.compile(r"[.+]tar", re.ASCII)


def packing_of(media_type: str) -> Packing:
    """How the bytes of a layer are compressed; empty for one that is not."""
    _, at = _split(media_type)
    if not at:
        return ""
    return "gzip" if "gzip" in at else "zstd"


def is_tar(media_type: str) -> bool:
    """Whether a layer is an archive, once it is decompressed."""
    return _TAR.fullmatch(_split(media_type)[0][-4:]) is not None


def _split(media_type: str) -> tuple[str, str]:
    """What is before the compression, and that."""
    plain = media_type.partition(";")[0].strip().lower()
    at = max(plain.rfind("+"), plain.rfind("."))
    if at > 0 and _PACKED.fullmatch(plain[at:]):
        return plain[:at], plain[at:]
    return plain, ""

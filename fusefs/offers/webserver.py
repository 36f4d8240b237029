"""What a web server must be told of a tree of files that is to be a registry: nginx's directives, and headers by path.

A client goes by the Content-Type of a manifest (it must be the manifest's own), by Range, and by `/v2/` being there.
Source: OCI distribution-spec 1.1; Docker registry HTTP API V2; nginx 1.22, `ngx_http_core_module`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import OCI_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FOR_EVER = "public, max-age=31536000, immutable"

_NGINX = """\
# Written by `fusefs export`.  In a server whose root is this folder:  include {root}/nginx.conf;
location = /v2/ {{
    default_type application/json;
    add_header Docker-Distribution-Api-Version registry/2.0;
    return 200 "{{}}";
}}
location ~ "^/v2/.+/blobs/(sha256:[0-9a-f]{{64}})$" {{
    types {{ }}
    default_type application/octet-stream;
    gzip off;
    add_header Docker-Content-Digest $1;
    add_header Cache-Control "{for_ever}";
    # Ollama's client takes the bytes from where this leads, and from nowhere else.
    add_header Location $uri;
}}
location ~ "^/v2/.+/chunksums/sha256:[0-9a-f]{{64}}$" {{
    types {{ }}
    default_type text/plain;
    add_header Cache-Control no-cache;
}}
location ~ "^/v2/.+/manifests/(sha256:[0-9a-f]{{64}})$" {{
    types {{ }}
    default_type {oci};
    add_header Docker-Content-Digest $1;
    add_header Cache-Control "{for_ever}";
}}
location ~ "^/v2/.+/manifests/[^/]+$" {{
    types {{ }}
    default_type {oci};
    add_header Cache-Control no-cache;
}}
location ~ "^/v2/(?:_catalog|.+/tags/list)$" {{
    types {{ }}
    default_type application/json;
    add_header Cache-Control no-cache;
}}
"""

_ONE = """\
location = "/{path}" {{
    types {{ }}
    default_type {kind};
    add_header Docker-Content-Digest {digest};
    add_header Cache-Control "{cache}";
}}
"""


def nginx_conf(root: str, manifests: Mapping[str, tuple[str, str]]) -> str:
    """Directives for a server block.

    Args:
        root: the folder, for the comment.
        manifests: by path, the media type and the digest of each; those of the usual type need no directive each.
    """
    text = _NGINX.format(root=root.replace("\n", " "), oci=OCI_MANIFEST, for_ever=_FOR_EVER)
    for path, (kind, digest) in manifests.items():
        if kind != OCI_MANIFEST:
            text += _ONE.format(path=path, kind=kind, digest=digest, cache=_cache_of(path))
    return text


def headers_json(paths: Iterable[str], manifests: Mapping[str, tuple[str, str]]) -> str:
    """The headers of each file, for whoever uploads them to a bucket: `{"v2/…": {"Content-Type": …}}`."""
    found = {}
    for path in paths:
        if not path.startswith("v2/"):
            continue
        kind, digest = manifests.get(path, (_type_of(path), ""))
        found[path] = {"Content-Type": kind, "Cache-Control": _cache_of(path)}
        if digest:
            found[path]["Docker-Content-Digest"] = digest
    return json.dumps(found, indent=1) + "\n"


def _type_of(path: str) -> str:
    folder = path.split("/")[-2]
    if folder == "chunksums":
        return "text/plain"
    return "application/octet-stream" if folder == "blobs" else "application/json"


def _cache_of(path: str) -> str:
    folder, name = path.split("/")[-2:]
    return _FOR_EVER if folder in ("blobs", "manifests") and name.startswith("sha256:") else "no-cache"

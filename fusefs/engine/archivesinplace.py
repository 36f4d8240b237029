"""Archives in a store of this machine: which files they hold, read from the layers where these lie.

A layer that is compressed stays the one file that it is: no part of it can be read by itself, and nothing is copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.artifacts.contents import Contents, Opened
from fusefs.artifacts.snapshots import wants_config
from fusefs.errors import InvalidManifest, InvalidTar
from fusefs.formats.tar import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusefs.artifacts.manifest import Manifest
    from fusefs.offers.inplace import InPlace
    from fusefs.values.digest import Digest


def contents_in_place(manifest: Manifest, files: Mapping[Digest, InPlace]) -> Contents:
    """What is in the layers of a model.  Blocking.

    Args:
        manifest: of the model.
        files: where its blobs lie.

    Raises:
        InvalidManifest: a layer is no archive, although the manifest calls it one.
        BlobQuarantined, CacheError, ServeError: it cannot be read as it was hashed.
    """
    found: dict[Digest, Opened] = {}
    for layer in manifest.layers:
        blob = layer.blob
        if not layer.is_tar or layer.packing or blob.digest in found or blob.digest not in files:
            continue
        try:
            found[blob.digest] = Opened(blob, read_table(files[blob.digest].read, blob.size))
        except InvalidTar as exc:
            raise InvalidManifest(f"layer {blob.digest.short}: {exc}") from exc
    config = manifest.config.blob if manifest.config is not None and wants_config(manifest) else None
    if config is None or config.digest not in files:
        return Contents(found)
    return Contents(found, files[config.digest].read(0, config.size))

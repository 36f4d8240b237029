"""Export: what `fusefs serve` would answer, as files that any web server or bucket serves as a registry.

    v2/index.html                                   that this is a registry, for a server that knows of no `/v2/`
    v2/_catalog, v2/<repository>/tags/list          what is there
    v2/<repository>/manifests/<tag>, …/<digest>     the same bytes twice; by digest also the OCI form
    v2/<repository>/blobs/<digest>
    v2/<repository>/chunksums/<digest>              the chunk list of a blob of more than one chunk

A tag is written after everything that it leads to, so that a client never finds half a model.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import Manifest
from fusefs.errors import ServeError
from fusefs.offers.indexer import hashed
from fusefs.offers.store import media_type_of
from fusefs.offers.treefiles import Placed
from fusefs.offers.twoforms import TwoForms
from fusefs.offers.webserver import headers_json, nginx_conf
from fusefs.system.files import read_plain
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusefs.offers.catalog import Document
    from fusefs.offers.choose import LocalCatalog
    from fusefs.offers.indexer import Indexer
    from fusefs.offers.kept import HashedFile
    from fusefs.offers.treefiles import TreeFiles

_MANIFEST = re.compile(r"v2/(.+)/manifests/([^/]+)")
_MOST = 16 << 20


@dataclass(frozen=True, slots=True)
class Exportable:
    """A model to write.

    Attributes:
        repository: its path in the registry.
        tag: under which it is found.
        manifest: its document.
        entry: the file of a blob; it waits until that is hashed.
        open_file: opens one.
    """

    repository: str
    tag: str
    manifest: Document
    entry: Callable[[Digest], HashedFile]
    open_file: Callable[[HashedFile], int]


@dataclass(slots=True)
class Exported:
    """What an export came to.

    Attributes:
        models: `<repository>:<tag>` of each.
        files: how many came to be there in which way.
        copied: bytes that take room of their own now.
    """

    models: list[str] = field(default_factory=list)
    files: Counter[Placed] = field(default_factory=Counter)
    copied: int = 0


def models_of(catalog: LocalCatalog) -> Iterator[Exportable]:
    """Everything that a folder offers."""
    for repository in catalog.repositories():
        for tag in catalog.tags(repository):
            yield Exportable(
                repository,
                tag,
                hashed(partial(catalog.manifest, repository, tag)),
                partial(_entry, catalog, repository),
                lambda entry: catalog.open_file(entry.path),
            )


def export(models: Iterator[Exportable], indexer: Indexer, files: TreeFiles) -> Exported:
    """Write models, and what lists them.  Blocking, for as long as hashing and copying take.

    Raises:
        ServeError: a file cannot be read, has changed, or would take the place of another's.
    """
    done = Exported()
    for model in models:
        _export(model, indexer, files, done)
    _lists(files, done)
    return done


def _export(model: Exportable, indexer: Indexer, files: TreeFiles, done: Exported) -> None:
    base = f"v2/{model.repository}"
    for blob in dict.fromkeys(Manifest.parse(model.manifest.raw).blobs()):
        if not blob.size and blob.digest.matches(b""):
            done.files[files.add(f"{base}/blobs/{blob.digest}", b"")] += 1
            continue
        entry = model.entry(blob.digest)
        if entry.stamp.size != blob.size:
            raise ServeError(f"{entry.path} has {entry.stamp.size} bytes, not {blob.size} as its manifest says")
        with _opened(model, entry) as fd:
            placed, now = files.share(f"{base}/blobs/{blob.digest}", entry, fd)
        if now is not entry:
            indexer.linked(now)
        done.files[placed] += 1
        done.copied += blob.size if placed is Placed.COPIED else 0
        if len(entry.chunks) > 1:
            # Another run may have other chunks: a list is replaced, not added.
            text = "".join(entry.chunks.format()).encode()
            done.files[files.replace(f"{base}/chunksums/{blob.digest}", text)] += 1
    raw, forms = model.manifest.raw, TwoForms.of(model.manifest)
    if forms.config is not None:
        # By digest alone: a file cannot see who asks, and Ollama's client needs its own form behind the tag.
        done.files[files.add(f"{base}/blobs/{forms.config.digest}", forms.config.raw)] += 1
        done.files[files.add(f"{base}/manifests/{forms.oci.digest}", forms.oci.raw)] += 1
    done.files[files.add(f"{base}/manifests/{model.manifest.digest}", raw)] += 1
    done.files[files.replace(f"{base}/manifests/{model.tag}", raw)] += 1
    done.models.append(f"{model.repository}:{model.tag}")


def _lists(files: TreeFiles, done: Exported) -> None:
    """What lists the models that are there by now, whichever export wrote them."""
    manifests: dict[str, tuple[str, str]] = {}
    tags: dict[str, list[str]] = {}
    for path in files.ledger.paths():
        match = _MANIFEST.fullmatch(path)
        if match is None:
            continue
        with contextlib.suppress(OSError):  # a person may have removed it
            raw = read_plain(files.root / path, _MOST)
            manifests[path] = media_type_of(raw), str(Digest.of(raw))
            if ":" not in match[2]:
                tags.setdefault(match[1], []).append(match[2])
    for repository, names in tags.items():
        _json(files, done, f"v2/{repository}/tags/list", {"name": repository, "tags": names})
    _json(files, done, "v2/_catalog", {"repositories": sorted(tags)})
    _json(files, done, "v2/index.html", {})
    there = [path for path in files.ledger.paths() if os.path.lexists(files.root / path)]
    for path, text in (
        ("nginx.conf", nginx_conf(str(files.root), manifests)),
        ("headers.json", headers_json(there, manifests)),
    ):
        done.files[files.replace(path, text.encode())] += 1


def _json(files: TreeFiles, done: Exported, path: str, value: object) -> None:
    done.files[files.replace(path, json.dumps(value).encode())] += 1


def _entry(catalog: LocalCatalog, repository: str, digest: Digest) -> HashedFile:
    return hashed(partial(catalog.entry, repository, digest))


@contextlib.contextmanager
def _opened(model: Exportable, entry: HashedFile) -> Iterator[int]:
    fd = model.open_file(entry)
    try:
        yield fd
    finally:
        os.close(fd)

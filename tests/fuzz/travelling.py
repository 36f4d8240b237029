"""What makes chunk lists travel: manifests of lists, indexes that name them, locks."""

from __future__ import annotations

import json

from fusefs.artifacts.listartifact import (
    ANNOTATION,
    ARTIFACT_TYPE,
    MAX_REFERRERS,
    ListArtifact,
    annotated,
    descriptor,
    referring,
    with_referrer,
)
from fusefs.artifacts.manifest import OCI_MANIFEST, TITLE
from fusefs.errors import InvalidInput, InvalidManifest, InvalidSetting
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.listplace import ListPlace
from fusefs.values.lockfile import Lock, LockedModel
from fusefs.values.names import Name
from tests.fuzz.target import NUMBERS, Target

_BLOB, _TEXT = Digest.of(b"blob"), Digest.of(b"text")
_ARTIFACT = ListArtifact.of({_BLOB: Blob(_TEXT, 4)}, descriptor(OCI_MANIFEST, b"{}"))
_NAME = Name.parse("http://127.0.0.1:5000/team/model:v1")
_LOCK = Lock((LockedModel(_NAME.pinned(_TEXT), (Blob(_BLOB, 4),), {_BLOB: _TEXT}),))


def list_artifact(data: bytes) -> None:
    """Lists are named by digests; what is refused is one line."""
    try:
        found = ListArtifact.parse(data)
    except InvalidManifest as exc:
        assert "\n" not in str(exc)
        return
    assert found.texts
    assert found.digest == Digest.of(data)
    for blob, text in found.texts.items():
        assert Digest.parse(str(blob)) == blob
        assert Digest.parse(str(text)) == text


def referrers(data: bytes) -> None:
    """An index gives a few digests; with one entry more it has that one, and is not added to twice."""
    try:
        found = referring(data)
        more = with_referrer(data, _ARTIFACT)
    except InvalidManifest:
        return
    assert len(found) <= MAX_REFERRERS
    if more is not None:
        assert with_referrer(more, _ARTIFACT) is None
        assert len(json.loads(more)["manifests"]) == len(json.loads(data)["manifests"]) + 1


def named_lists(data: bytes) -> None:
    """Digests, or nothing."""
    try:
        found = annotated(data)
    except InvalidManifest:
        return
    assert all(isinstance(text, Digest) for text in found.values())


def lock(data: bytes) -> None:
    """A lock comes back from its own text."""
    try:
        found = Lock.parse(data)
    except InvalidSetting as exc:
        assert "\n" not in str(exc)
        return
    assert Lock.parse(found.format().encode()) == found
    for model in found.models:
        assert model.name.digest is not None


def list_place(data: bytes) -> None:
    """A place is of one kind, or it is refused in one line."""
    try:
        place = ListPlace.parse(data.decode("utf-8", "surrogateescape"))
    except InvalidInput:
        return
    assert place.where
    assert place.kind == "folder" or "@" not in place.where


def _manifest_seeds() -> list[bytes]:
    return [_ARTIFACT.raw, b"{}", json.dumps({"artifactType": ARTIFACT_TYPE, "layers": [{}]}).encode()]


def _index_seeds() -> list[bytes]:
    made = with_referrer(None, _ARTIFACT)
    assert made is not None
    return [made, b'{"manifests":[]}', b'{"manifests":[{"digest":"x","artifactType":"y"}]}']


def _annotated_seeds() -> list[bytes]:
    layer = {"digest": str(_BLOB), "annotations": {ANNOTATION: str(_TEXT)}}
    return [json.dumps({"layers": [layer]}).encode(), b'{"layers":[{"annotations":{"%b":1}}]}' % ANNOTATION.encode()]


def _place_seeds() -> list[bytes]:
    return [b"./a", b"oci://h/a/b", b"https://h/a", b"file:///a", b"oci+http://127.0.0.1:1/a/b"]


_WORDS = (ARTIFACT_TYPE.encode(), TITLE.encode(), str(_BLOB).encode(), b'"layers"', b'"manifests"', b'"subject"')

TARGETS = (
    Target("list-artifact", list_artifact, _manifest_seeds, (*_WORDS, *NUMBERS)),
    Target("referrers", referrers, _index_seeds, (*_WORDS, *NUMBERS)),
    Target("list-annotations", named_lists, _annotated_seeds, _WORDS),
    Target("lock", lock, lambda: [_LOCK.format().encode(), b'{"version":1,"models":[]}'], (b'"chunks"', *NUMBERS)),
    Target("list-place", list_place, _place_seeds, (b"://", b"@", b"\0", b"//")),
)

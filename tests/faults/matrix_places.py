"""Other kinds of place for the fault matrix, and all by their names: a published list, a bucket of S3, the Hub."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fusefs.artifacts.foldermanifest import folder_manifest
from fusefs.artifacts.listartifact import list_tag
from fusefs.artifacts.manifest import OCI_MANIFEST, TITLE
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.reference import parse_model
from tests.faults.matrix_hub import HubScene
from tests.faults.matrix_server import CHUNK, CHUNKS, DATA, FILE, PLACES, PROXIED, Scene, list_of
from tests.faulty_bucket import FaultyBucket
from tests.faulty_registry import FaultyRegistry
from tests.list_registry import artifact_of

if TYPE_CHECKING:
    import pytest

    from fusefs.values.names import Name
    from tests.certificate import Certificate
    from tests.faults.matrix import Cell

_REPOSITORY = "team/models/m"
_BUCKET, _FOLDER = "models", "org/m"


class OciScene(Scene):
    """A name of three parts, an OCI manifest, a list that is found by its tag, blobs behind signed URLs."""

    def _start_storage(self) -> FaultyRegistry | None:
        # Behind a proxy the registry has its blobs itself: what is on this machine is asked without one.
        return None if self.proxied else self._start(FaultyRegistry())

    def _server(self, **options: Any) -> FaultyRegistry:
        return FaultyRegistry(storage=self._storage, chunksums=False, **options)

    def _add(self, server: FaultyRegistry, data: bytes = DATA) -> bytes:
        blob = server.add_blob(data, chunk_size=CHUNK)
        layer = {"mediaType": "application/vnd.example.model", "digest": str(blob.digest), "size": blob.size}
        layers = [{**layer, "annotations": {TITLE: FILE}}]
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": layers}).encode()
        server.add_manifest(f"{_REPOSITORY}:v1", raw, media_type=OCI_MANIFEST)
        lists = {blob: ChunkList.parse(len(data), list_of(data))}
        server.add_blob(list_of(data))
        server.add_manifest(
            f"{_REPOSITORY}:{list_tag(Digest.of(raw))}", artifact_of(lists, raw).raw, media_type=OCI_MANIFEST
        )
        return raw

    def _named(self, host: str) -> Name:
        return parse_model(f"oci+http://{host}/{_REPOSITORY}:v1")

    @property
    def _struck(self) -> FaultyRegistry:
        return self.registry if self._storage is None or self._cell.where == "manifest" else self._storage

    @property
    def _matches(self) -> list[str]:
        match self._cell.where:
            case "list":
                return [f"/(signed|blobs)/{Digest.of(list_of(DATA))}"]
            case "manifest":
                return [r"/manifests/(v1$|sha256:)"]  # not that of the list
        return super()._matches

    def _path(self) -> str:
        match self._cell.where:
            case "list":
                return f"/v2/{_REPOSITORY}/blobs/{Digest.of(list_of(DATA))}"
            case "manifest":
                return f"/v2/{_REPOSITORY}/manifests/v1"
        return f"/v2/{_REPOSITORY}/blobs/{self.blob.digest}"


class BucketScene(Scene):
    """A folder of a bucket: `SHA256SUMS`, the file, and its list beside it; every GET of the file has `If-Match`."""

    def __init__(self, cell: Cell, certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(cell, certificate, monkeypatch)
        environment = {
            "AWS_ENDPOINT_URL": f"http://{PROXIED}" if self.proxied else self.registry.url,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "no secret, for loopback alone",
            "AWS_REGION": "us-east-1",
        }
        for key, value in environment.items():
            monkeypatch.setenv(key, value)

    def end(self) -> None:
        """See `Scene.end`; what was replaced is put back."""
        super().end()
        self._add(self.registry)

    def _start_storage(self) -> FaultyRegistry | None:
        return None

    def _server(self, **options: Any) -> FaultyRegistry:
        options.pop("token", None)  # every request is signed anyway
        return FaultyBucket(**options)

    def _another(self, **options: Any) -> FaultyRegistry:
        server = self._start(FaultyBucket(public=True, **options))
        self._add(server)
        return server

    def _add(self, server: FaultyRegistry, data: bytes = DATA) -> bytes:
        assert isinstance(server, FaultyBucket)
        blob = Blob(Digest.of(data), len(data))
        server.put(f"/{_BUCKET}/{_FOLDER}/{FILE}", data)
        server.put(f"/{_BUCKET}/{_FOLDER}/{FILE}.chunksums", list_of(data))
        server.put(f"/{_BUCKET}/{_FOLDER}/SHA256SUMS", f"{blob.digest.hex}  {FILE}\n".encode())
        return folder_manifest([(FILE, blob)])

    def _named(self, host: str) -> Name:
        return parse_model(f"s3://{_BUCKET}/{_FOLDER}")

    @property
    def _matches(self) -> list[str]:
        match self._cell.where:
            case "list":
                return [rf"{FILE}\.chunksums"]
            case "manifest":
                return ["/SHA256SUMS"]
        return [rf"{FILE}(\?\S*)? bytes=\d+-{CHUNKS[i].end}$" for i in PLACES[self._cell.where]]

    def _path(self) -> str:
        leaf = {"list": f"{FILE}.chunksums", "manifest": "SHA256SUMS"}.get(self._cell.where, FILE)
        return f"/{_BUCKET}/{_FOLDER}/{leaf}"

    def _replaced(self) -> None:
        """Somebody puts another object in the file's place between two requests."""

        def put() -> None:
            assert isinstance(self.registry, FaultyBucket)
            self.registry.put(f"/{_BUCKET}/{_FOLDER}/{FILE}", bytes(len(DATA)))

        self._fault("act", act=put)


SCENES: dict[str, type[Scene]] = {"ollama": Scene, "oci": OciScene, "bucket": BucketScene, "hub": HubScene}
"""By the kind of place."""

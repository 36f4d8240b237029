"""Which manifest a client gets, and what else OCI's clients ask a registry for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusefs.artifacts.manifest import ACCEPT, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Manifest
from fusefs.artifacts.snapshots import snapshot_of
from fusefs.serve.accept import wants_oci
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from tests.serve.world import noise, serving, write_store

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = noise(3000)
OLLAMA = "application/vnd.ollama.image."
SKOPEO = [
    OCI_MANIFEST,
    DOCKER_MANIFEST,
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    OCI_INDEX,
]


@pytest.mark.parametrize(
    ("headers", "oci"),
    [
        (SKOPEO, True),
        ([", ".join(SKOPEO)], True),
        ([f"{OCI_MANIFEST}, */*"], True),
        ([OCI_MANIFEST.upper() + ";q=0.5"], True),
        ([f"{OCI_MANIFEST};q=0, */*"], False),
        ([f"{OCI_MANIFEST}; q=0.000"], False),
        ([ACCEPT], False),
        ([DOCKER_MANIFEST], False),
        (["*/*"], False),
        ([], False),
        ([",;,q=", ";q=x"], False),
    ],
)
def test_accept_tells_who_asks(headers: list[str], oci: bool) -> None:
    assert wants_oci(headers) is oci


def test_both_forms_of_a_stored_model_are_reachable_by_digest(tmp_path: Path) -> None:
    stored = write_store(tmp_path / "s", "library/m/latest", {OLLAMA + "model": WEIGHTS, OLLAMA + "params": b"{}"})
    with serving(tmp_path / "s", tmp_path / "index") as running:
        get = running.client.get
        tag = "/v2/library/m/manifests/latest"
        assert get(tag).headers["Docker-Content-Digest"] == str(stored)
        answer = get(tag, Accept=OCI_MANIFEST)
        assert answer.headers["Content-Type"] == OCI_MANIFEST
        assert answer.headers["Vary"] == "Accept"
        for digest, kind in ((stored, DOCKER_MANIFEST), (Digest.of(answer.body), OCI_MANIFEST)):
            for accept in (OCI_MANIFEST, DOCKER_MANIFEST):
                again = get(f"/v2/library/m/manifests/{digest}", Accept=accept)
                assert (again.status, again.headers["Content-Type"]) == (200, kind)
                assert Digest.of(again.body) == digest
                head = get(f"/v2/library/m/manifests/{digest}", "HEAD", Accept=accept)
                assert head.headers["Content-Length"] == str(len(again.body))
                assert not head.body
        config = answer.json()["config"]
        assert len(get(f"/v2/library/m/blobs/{config['digest']}").body) == config["size"]
        part = get(f"/v2/library/m/blobs/{config['digest']}", Range="bytes=0-0")
        assert (part.status, part.body) == (206, b"{")
    shown = snapshot_of(Name.parse("m"), Manifest.parse(answer.body))
    assert {file.path for file in shown.files} >= {"model.gguf", "params.json"}


def test_referrers_are_an_empty_index(tmp_path: Path) -> None:
    digest = write_store(tmp_path / "s", "a+b/c/v1", {OLLAMA + "model": WEIGHTS}, host="h:5000")
    with serving(tmp_path / "s", tmp_path / "index") as running:
        get = running.client.get
        answer = get(f"/v2/a/b/c/referrers/{digest}?artifactType=application/x")
        assert answer.headers["Content-Type"] == OCI_INDEX
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        assert answer.json() == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        assert "OCI-Filters-Applied" not in get(f"/v2/a/b/c/referrers/{digest}").headers
        assert get("/v2/a/b/c/referrers/latest").error[0] == "DIGEST_INVALID"
        assert get(f"/v2/a/b/x/referrers/{digest}").error[0] == "NAME_UNKNOWN"

"""Other people's clients pull from `fusefs serve`: skopeo, curl, and what Ollama's client asks for."""

from __future__ import annotations

import hashlib
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.values.digest import Digest
from tests.components import (
    HTPASSWD,
    MANIFEST_TYPE,
    OCI_MANIFEST_TYPE,
    OLLAMA_TYPE,
    fusefs_serve,
    make_certificate,
)
from tests.programs.world import run
from tests.serve.world import Client, write_store, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.programs.world import World

LAYERS = {
    OLLAMA_TYPE + "model": b"GGUF" + bytes(100_000),
    OLLAMA_TYPE + "template": b"{{ .Prompt }}",
    OLLAMA_TYPE + "license": b"free",
}
NAME = "library/tiny"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """What Ollama's own client has stored."""
    write_store(tmp_path / "store", f"{NAME}/1b", LAYERS)
    return tmp_path / "store"


def check_copy(folder: Path) -> dict[str, Any]:
    """The manifest that skopeo has copied, every blob of which it has, too."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert isinstance(manifest, dict)
    for blob in (manifest["config"], *manifest["layers"]):
        content = (folder / blob["digest"].removeprefix("sha256:")).read_bytes()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == blob["digest"]
    return manifest


def test_skopeo_copies_a_model_that_ollama_has_stored(store: Path, tmp_path: Path) -> None:
    with fusefs_serve(store) as address:
        image = f"docker://{address}/{NAME}"
        run("skopeo", "copy", "--src-tls-verify=false", f"{image}:1b", f"dir:{tmp_path}/copied")
    manifest = check_copy(tmp_path / "copied")
    assert manifest["mediaType"] == OCI_MANIFEST_TYPE
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    paths = {layer["annotations"]["org.cncf.model.filepath"]: layer for layer in manifest["layers"]}
    assert paths.keys() == {"model.gguf", "template", "license"}
    assert {layer["digest"] for layer in paths.values()} == {str(Digest.of(data)) for data in LAYERS.values()}
    assert paths["license"]["mediaType"] == "application/vnd.cncf.model.doc.v1.raw"


@pytest.mark.slow
def test_skopeo_inspects_tags_and_copies_by_digest_what_a_folder_of_models_has(tmp_path: Path) -> None:
    write_tree(tmp_path / "models", {"a/config.json": b"{}", "a/sub/weights": bytes(3000), "b/f": b"b"})
    with fusefs_serve(tmp_path / "models") as address:
        image = f"docker://{address}/local/a"
        tags = json.loads(run("skopeo", "list-tags", "--tls-verify=false", image))
        assert tags["Tags"] == ["latest"]
        shown = run("skopeo", "inspect", "--raw", "--tls-verify=false", f"{image}:latest")
        digest = Digest.of(shown.encode())
        run("skopeo", "copy", "--src-tls-verify=false", f"{image}@{digest}", f"dir:{tmp_path}/copied")
    assert check_copy(tmp_path / "copied") == json.loads(shown)


@pytest.mark.slow
def test_ollama_gets_its_own_manifest_and_a_place_for_the_bytes_of_a_blob(store: Path) -> None:
    stored = (store / f"manifests/registry.ollama.ai/{NAME}/1b").read_bytes()
    blob = Digest.of(LAYERS[OLLAMA_TYPE + "model"])
    with fusefs_serve(store) as address:
        base = f"http://{address}/v2/{NAME}"
        assert run("curl", "-sf", "-H", f"Accept: {MANIFEST_TYPE}", f"{base}/manifests/1b").encode() == stored
        place = run("curl", "-sf", "-o", "/dev/null", "-w", "%{redirect_url} %header{location}", f"{base}/blobs/{blob}")
        assert f"/v2/{NAME}/blobs/{blob}" in place
        part = run("curl", "-sf", "-i", "-r", "0-3", f"{base}/blobs/{blob}")
        assert part.endswith("GGUF")
        assert "location:" not in part.lower()


@pytest.mark.slow
def test_the_oci_form_of_a_store_stays_the_same_over_a_restart_and_in_an_export(
    store: Path, tmp_path: Path, world: World
) -> None:
    seen = []
    for _ in range(2):
        with fusefs_serve(store) as address:
            client = Client(f"http://{address}")
            answer = client.get(f"/v2/{NAME}/manifests/1b", Accept=OCI_MANIFEST_TYPE)
            assert answer.headers["Docker-Content-Digest"] == str(Digest.of(answer.body))
            seen.append(answer.body)
            client.close()
    assert seen[0] == seen[1]
    world.fusefs("export", store, tmp_path / "out")
    base = tmp_path / "out/v2" / NAME
    assert (base / "manifests" / str(Digest.of(seen[0]))).read_bytes() == seen[0]
    assert (base / "blobs" / json.loads(seen[0])["config"]["digest"]).is_file()
    stored = (store / f"manifests/registry.ollama.ai/{NAME}/1b").read_bytes()
    assert (base / "manifests/1b").read_bytes() == stored


@pytest.mark.slow
def test_skopeo_and_curl_pull_over_tls_with_a_password(store: Path, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "tls")
    (tmp_path / "htpasswd").write_text(f"# people\n\n{HTPASSWD}")
    options = ["--tls-cert", certificate.chain, "--tls-key", certificate.key, "--htpasswd", tmp_path / "htpasswd"]
    (tmp_path / "authorities").mkdir()
    (tmp_path / "authorities/ca.crt").write_bytes(certificate.authority.read_bytes())
    with fusefs_serve(store, *map(str, options)) as address:
        copy = ["skopeo", "copy", f"--src-cert-dir={tmp_path}/authorities"]
        image = f"docker://{address}/{NAME}:1b"
        run(*copy, "--src-creds=user:hidden", image, f"dir:{tmp_path}/copied")
        for credentials in ("--src-creds=user:wrong", "--src-creds=nobody:hidden", "--src-no-creds"):
            refused = subprocess.run(
                [*copy, credentials, image, f"dir:{tmp_path}/refused"], capture_output=True, text=True, check=False
            )
            assert refused.returncode, credentials
            assert "unauthorized" in refused.stderr
        blob = f"{address}/v2/{NAME}/blobs/{Digest.of(LAYERS[OLLAMA_TYPE + 'model'])}"
        curl = ["curl", "-sf", "--cacert", str(certificate.authority)]
        part = run(*curl, "-u", "user:hidden", "-r", "0-3", f"https://{blob}")
        assert part == "GGUF"
        code = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", curl[3], f"https://{address}/")
        assert code == "401"
    check_copy(tmp_path / "copied")

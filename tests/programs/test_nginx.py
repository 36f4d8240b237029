"""nginx as the registry, as a redirector to another host, and with TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusefs.values.chunks import ChunkList
from fusefs.values.digest import Digest
from tests.components import (
    CONFIG,
    MANIFEST_TYPE,
    Certificate,
    OllamaLayer,
    make_certificate,
    nginx,
    write_static_registry,
)
from tests.programs.models import MIB, random_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.programs.world import World

MODEL = OllamaLayer("model", random_bytes(3 * MIB + 5, 31))
LAYERS = [MODEL, OllamaLayer("template", b"{{ .Prompt }}")]
NAME = "library/static:latest"


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The body of a server block that serves the model as plain files."""
    root = tmp_path_factory.mktemp("static")
    repository, tag = NAME.split(":")
    write_static_registry(root, repository, tag, LAYERS)
    return f"root {root}; default_type {MANIFEST_TYPE};"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def tls(static: str, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nginx(tmp_path_factory.mktemp("nginx-tls"), static, certificate=certificate) as address:
        yield address


def read_all(world: World, source: str, env: dict[str, str] | None = None) -> None:
    with world.mount(source, env=env) as mounted:
        assert (mounted.path / "model.gguf").read_bytes() == MODEL.content
        assert (mounted.path / "template").read_bytes() == LAYERS[1].content
        assert (mounted.path / "config.json").read_bytes() == CONFIG


def test_static_files_are_a_registry(world: World, static: str, tmp_path: Path) -> None:
    with nginx(tmp_path / "nginx", static) as address:
        read_all(world, f"http://{address}/{NAME}")


@pytest.mark.slow
def test_blobs_may_lie_on_another_host(world: World, static: str, tmp_path: Path) -> None:
    """The other host answers 400 to any Authorization: it must never see one."""
    picky = f"if ($http_authorization) {{ return 400; }} {static}"
    with nginx(tmp_path / "other", picky) as other:
        redirect = f"{static} location ~ /blobs/ {{ return 307 http://{other}$request_uri?signature=x; }}"
        with nginx(tmp_path / "nginx", redirect) as address:
            read_all(world, f"http://{address}/{NAME}")


@pytest.mark.slow
def test_a_redirect_loop_is_an_error_in_time(world: World, static: str, tmp_path: Path) -> None:
    loop = f"{static} location ~ /blobs/ {{ return 307 $request_uri; }}"
    with nginx(tmp_path / "nginx", loop) as address:
        source = f"http://{address}/{NAME}"
        with world.mount(source, options=("--timeout", "10"), logs="redirect") as mounted:
            with pytest.raises(OSError, match="Input/output error"):
                (mounted.path / "model.gguf").read_bytes()
            assert "redirect" in mounted.status()["last_error"]


@pytest.mark.slow
def test_p1_a_flipped_bit_on_the_server_is_eio_until_it_is_mended(world: World, tmp_path: Path) -> None:
    repository, tag = NAME.split(":")
    write_static_registry(tmp_path / "www", repository, tag, LAYERS)
    blob = tmp_path / "www" / "v2" / repository / "blobs" / MODEL.digest
    with blob.open("r+b") as file:
        file.seek(2 * MIB)
        byte = file.read(1)[0]
        file.seek(2 * MIB)
        file.write(bytes([byte ^ 1]))
    server = f"root {tmp_path}/www; default_type {MANIFEST_TYPE};"
    with (
        nginx(tmp_path / "nginx", server) as address,
        world.mount(f"http://{address}/{NAME}", logs="does not match its digest") as mounted,
    ):
        with pytest.raises(OSError, match="Input/output error"):
            (mounted.path / "model.gguf").read_bytes()
        assert mounted.counter("chunks_rejected") >= 1
        assert mounted.file("model.gguf")["present"] == 0
        assert (mounted.path / "template").read_bytes() == LAYERS[1].content
        blob.write_bytes(MODEL.content)
        assert (mounted.path / "model.gguf").read_bytes() == MODEL.content


@pytest.mark.slow
def test_insecure_accepts_an_unknown_certificate(world: World, tls: str) -> None:
    read_all(world, f"https+insecure://{tls}/{NAME}")


@pytest.mark.slow
def test_an_unknown_certificate_is_one_line_that_says_so(world: World, tls: str, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    done = world.fusefs("mount", f"https://{tls}/{NAME}", tmp_path / "mnt", code=1)
    assert done.stderr.startswith("fusefs: error: ")
    assert done.stderr.count("\n") == 1
    assert "certificate" in done.stderr


@pytest.mark.slow
def test_ssl_cert_file_names_an_authority_to_trust(world: World, tls: str, certificate: Certificate) -> None:
    read_all(world, f"https://{tls}/{NAME}", env={"SSL_CERT_FILE": str(certificate.authority)})


@pytest.mark.slow
def test_a_trusted_certificate_of_another_host_is_refused(
    world: World, static: str, certificate: Certificate, tmp_path: Path
) -> None:
    (tmp_path / "mnt").mkdir()
    trust = {"SSL_CERT_FILE": str(certificate.authority)}
    with nginx(tmp_path / "nginx", static, certificate=certificate, host="127.0.0.2") as address:
        done = world.fusefs("mount", f"https://{address}/{NAME}", tmp_path / "mnt", code=1, env=trust)
    assert done.stderr.startswith("fusefs: error: ")
    assert done.stderr.count("\n") == 1
    assert "certificate" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("listed", [True, False], ids=["listed", "listless"])
def test_a_server_that_ignores_range_gives_a_large_file_once(world: World, tmp_path: Path, *, listed: bool) -> None:
    """By `max_ranges 0` nginx answers each Range with 200 and the whole file, as some proxies do."""
    large = OllamaLayer("model", random_bytes(72 * MIB, 32))
    repository, tag = NAME.split(":")
    root = tmp_path / "static"
    write_static_registry(root, repository, tag, [large])
    if listed:
        digest = Digest.of(large.content)
        lists = root / "v2" / repository / "chunksums"
        lists.mkdir()
        pieces = ChunkList.uniform(72 * MIB, 4 * MIB)
        text = "".join(f"{Digest.of(large.content[c.start : c.stop])} {c}\n" for c in pieces)
        (lists / str(digest)).write_text(text)
    log = tmp_path / "access.log"
    body = f"root {root}; default_type {MANIFEST_TYPE}; max_ranges 0; access_log {log};"
    with nginx(tmp_path / "nginx", body) as address:
        source = f"http://{address}/{NAME}"
        with world.mount(source, logs="ignores Range|is read whole") as mounted:
            with (mounted.path / "model.gguf").open("rb") as file:
                file.seek(71 * MIB)
                assert file.read(MIB) == large.content[71 * MIB :]
            assert (mounted.path / "model.gguf").read_bytes() == large.content
            plain = world.fusefs("status", mounted.path).stdout
            assert f"{address} ignores Range: each file is read in one stream from its front" in plain
            (state,) = mounted.status()["sources_state"]
            assert state["ignores_range"] is True
        world.fusefs("pull", source, "--cache-dir", tmp_path / "other")
    sent = [int(line.split()[9]) for line in log.read_text().splitlines() if "/blobs/sha256:" in line]
    whole = [size for size in sent if size == 72 * MIB]
    assert len(whole) == 2, "once for the mount, and once for the pull"

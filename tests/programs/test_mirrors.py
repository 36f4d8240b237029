"""Mirrors as people run them: below a path, nginx as a slice cache, docker-registry as a pull-through cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import urllib3

from tests.components import OllamaLayer, docker_registry, fusefs_serve, nginx, push
from tests.patience import eventually
from tests.programs.models import MIB, random_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.programs.world import Mounted, World

DATA = random_bytes(5 * MIB + 3, 41)
LARGE = random_bytes(66 * MIB + 3, 42)
"""Larger than what is its own chunk, so that parts of it are asked for."""

DEEP = "a/b/c.d/e"

SLICES = """
    location ~ ^/v2/.+/blobs/sha256: {{
        slice 4m; proxy_cache m; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;
        proxy_http_version 1.1; proxy_set_header Connection "";
        proxy_cache_valid 206 30d; proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;
        proxy_cache_lock on; proxy_cache_lock_timeout 120s; proxy_cache_lock_age 120s;
        proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504;
        proxy_cache_background_update on; proxy_pass http://{address};
    }}
"""
"""What docs/operations.md has for a cache of many nodes."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that keeps chunk lists."""
    root = tmp_path_factory.mktemp("served")
    (root / "m").mkdir()
    (root / "m" / "model.gguf").write_bytes(LARGE)
    with fusefs_serve(root, "--chunk-size", "1MiB") as address:
        yield address


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        push(address, DEEP, "latest", [OllamaLayer("model", DATA)])
        yield address


def part(mounted: Mounted, off: int) -> bytes:
    with (mounted.path / "model.gguf").open("rb", buffering=0) as file:
        file.seek(off)
        return file.read(1000)


def test_a_mirror_below_a_path_gives_all_bytes_of_a_name_of_any_depth(
    world: World, registry: str, tmp_path: Path
) -> None:
    """The same host as the registry, as Artifactory has it; the registry itself gives manifests alone."""
    log = tmp_path / "access.log"
    server = f"""
        access_log {log};
        location /api/docker/remote/ {{ proxy_pass http://{registry}/; }}
        location ~ ^/v2/.*/blobs/ {{ return 403; }}
        location /v2/ {{ proxy_pass http://{registry}; }}
    """
    with nginx(tmp_path / "nginx", server) as address:
        mirror = f"http://{address}/api/docker/remote"
        with world.mount(f"oci+http://{address}/{DEEP}", options=("--mirror", mirror)) as mounted:
            assert (mounted.path / "model.gguf").read_bytes() == DATA
    asked = [line.split()[6] for line in log.read_text().splitlines() if "/blobs/" in line]
    assert asked
    ns = address.replace(":", "%3A")
    assert all(path.startswith(f"/api/docker/remote/v2/{DEEP}/blobs/") and path.endswith(f"?ns={ns}") for path in asked)


@pytest.mark.slow
def test_many_nodes_fetch_a_model_once_through_a_slice_cache(world: World, served: str, tmp_path: Path) -> None:
    log, server = tmp_path / "access.log", SLICES.format(address=served)
    around = f"""
        proxy_cache_path {tmp_path}/cache levels=1:2 keys_zone=m:8m max_size=1g inactive=30d use_temp_path=off;
        log_format cached '$upstream_cache_status $uri $http_range';
    """
    with nginx(tmp_path / "nginx", f"access_log {log} cached; {server}", around=around) as address:
        for _ in range(2):
            with world.mount(f"http://{served}/local/m", options=("--mirror", f"http://{address}")) as mounted:
                for off in (55 * MIB + 7, 100, 8 * MIB):
                    assert part(mounted, off) == LARGE[off : off + 1000]
                assert (mounted.path / "model.gguf").read_bytes() == LARGE
                assert mounted.counter("chunks_rejected") == 0
    lines = log.read_text().splitlines()
    assert 0 < sum(line.startswith("MISS") for line in lines) <= 17, "one a slice"
    assert all(line.split()[0] in ("MISS", "HIT") for line in lines)
    assert any(line.startswith("HIT") for line in lines)


@pytest.mark.slow
def test_a_pull_through_cache_is_used_for_what_it_has_and_for_whole_files(
    world: World, served: str, registry: str, tmp_path: Path
) -> None:
    """docker-registry ignores Range for what it does not have yet."""
    push(registry, "local/m", "latest", [OllamaLayer("model", LARGE)])
    with docker_registry(tmp_path / "cache", caches=registry) as cache:
        source, options = f"http://{served}/local/m", ("--mirror", f"http://{cache}")
        with world.mount(source, options=options, logs="part of a file with all of it: while it does") as mounted:
            assert part(mounted, 55 * MIB) == LARGE[55 * MIB :][:1000]
            assert mounted.counter("bytes_fetched") < len(LARGE), "the part came from the registry"
            digest = mounted.file("model.gguf")["digest"]
        world.fusefs("pull", source, *options, "--cache-dir", tmp_path / "pulled")
        blob = f"http://{cache}/v2/local/m/blobs/{digest}"

        def has_it() -> bool:
            return urllib3.request("GET", blob, headers={"Range": "bytes=5-9"}, retries=False).status == 206

        eventually("the cache has the blob", has_it)
        with world.mount(source, options=options) as mounted:
            assert part(mounted, 55 * MIB) == LARGE[55 * MIB :][:1000]
            assert (mounted.path / "model.gguf").read_bytes() == LARGE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mirror", "told"),
    [
        ("https://user:hidden@artifactory/api", "want https://host[:port][/path]"),
        ("https://artifactory/api/docker/remote/v2", "leave out /v2"),
        ("https://artifactory/../x", "want https://host[:port][/path]"),
    ],
)
def test_p10_what_is_no_mirror_is_one_line(world: World, tmp_path: Path, mirror: str, told: str) -> None:
    done = world.fusefs("mount", "llama3.2", tmp_path, "--mirror", mirror, code=2)
    (line,) = [line for line in done.stderr.splitlines() if "invalid mirror URL" in line]
    assert told in line
    assert "hidden" not in done.stderr
    assert "Traceback" not in done.stderr

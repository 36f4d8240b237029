"""Google Cloud Storage and Azure, by servers that speak their protocols: as a bucket of S3, lazy and verified."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.azurite import has_azurite
from tests.clouds import azure, google
from tests.programs.models import MIB, random_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clouds import Cloud
    from tests.programs.world import World

WEIGHTS = random_bytes(3 * MIB + 5, 97)
FILES = {"config.json": b'{"a": 1}', "sub dir/weights+ü%20.bin": WEIGHTS}
pytestmark = pytest.mark.slow

KINDS = ["google", "azure"] if has_azurite() else ["google"]


@pytest.fixture(scope="module", params=KINDS)
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A bucket with a folder that has a list, and one that has none."""
    start = {"google": google, "azure": azure}[request.param]
    with start(tmp_path_factory.mktemp("cloud")) as made:
        for path, data in FILES.items():
            made.put(f"org/Tiny/{path}", data)
            made.put(f"unlisted/{path}", data)
        made.put("org/Tiny/SHA256SUMS", sums(FILES))
        yield made


def sums(files: dict[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in files.items()).encode()


def test_p4_a_folder_with_sha256sums_is_a_model(world: World, cloud: Cloud) -> None:
    with world.mount(f"{cloud.url}org/Tiny", env=cloud.env) as mounted:
        found = {str(p.relative_to(mounted.path)): p.read_bytes() for p in mounted.path.rglob("*") if p.is_file()}
        assert found == FILES
        mounted.wait_sealed()


def test_p4_a_chunk_list_beside_an_object_makes_it_lazy(world: World, cloud: Cloud) -> None:
    content = random_bytes(MIB, 98) * 66
    (world.root / "large.bin").write_bytes(content)
    cloud.put("listed/large.bin", content)
    cloud.put("listed/large.bin.chunksums", world.fusefs("index", world.root / "large.bin").stdout.encode())
    cloud.put("listed/SHA256SUMS", sums({"large.bin": content}))
    with world.mount(f"{cloud.url}listed", env=cloud.env) as mounted:
        with open(mounted.path / "large.bin", "rb") as file:
            file.seek(60 * MIB)
            assert file.read(10) == content[60 * MIB : 60 * MIB + 10]
        assert mounted.counter("bytes_fetched") < len(content) // 2


def test_p2_an_object_that_is_replaced_between_two_ranges_is_an_error_and_no_mixture(
    world: World, cloud: Cloud
) -> None:
    size = 72 * MIB
    cloud.put("changing/large.bin", b"a" * size)
    cloud.put("changing/SHA256SUMS", sums({"large.bin": b"a" * size}))
    options = ("--unproved", "allow", "--timeout", "10s")
    with (
        world.mount(f"{cloud.url}changing/", options=options, env=cloud.env, logs="has changed") as mounted,
        open(mounted.path / "large.bin", "rb", buffering=0) as file,
    ):
        assert file.read(4096) == b"a" * 4096
        cloud.put("changing/large.bin", b"b" * size)
        file.seek(size - 8192)
        with pytest.raises(OSError, match="Input/output error"):
            file.read(4096)


def test_a_folder_without_a_list_is_listed_for_who_allows_what_nothing_proves(world: World, cloud: Cloud) -> None:
    options = ("--unproved", "allow")
    with world.mount(f"{cloud.url}unlisted/", env=cloud.env, options=options, logs="keeps no sha256") as mounted:
        found = {str(p.relative_to(mounted.path)): p.read_bytes() for p in mounted.path.rglob("*") if p.is_file()}
        assert found == FILES
        assert {file["state"] for file in mounted.status()["files"]} == {"unproved"}


def test_what_cannot_be_read_is_one_line(world: World, cloud: Cloud) -> None:
    failed = world.fusefs("pull", f"{cloud.url}nothing/", "--timeout", "5s", env=cloud.env, code=1).stderr
    assert failed.count("\n") == 1, failed
    assert "no SHA256SUMS and no nothing.meta4" in failed

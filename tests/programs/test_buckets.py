"""A bucket of a real server that speaks S3: lazy, verified, pinned by ETags, with what the SDKs read to reach it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.bucket import KEY, SECRET, Bucket
from tests.programs.models import MIB, random_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.programs.world import World

WEIGHTS = random_bytes(3 * MIB + 5, 91)
FILES = {"config.json": b'{"a": 1}', "sub dir/weights+ü%20.bin": WEIGHTS, "none": b""}


def sums(files: dict[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in files.items()).encode()


@pytest.fixture(scope="module")
def model(bucket: Bucket) -> str:
    """A folder with a list of its digests."""
    for path, data in FILES.items():
        if data:  # SeaweedFS shows an empty object as a folder
            bucket.put(f"org/Tiny/{path}", data)
    bucket.put("org/Tiny/SHA256SUMS", sums(FILES))
    return f"s3://{bucket.name}/org/Tiny"


def check(path: Path) -> None:
    assert {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()} == FILES


@pytest.mark.slow
def test_p7_a_prefix_with_sha256sums_is_a_model_and_stays_one_without_a_network(
    world: World, bucket: Bucket, model: str, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with world.mount(model, cache=cache, env=bucket.env) as mounted:
        check(mounted.path)
        mounted.wait_sealed()
    nowhere = {**bucket.env, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    with world.mount(model, cache=cache, env=nowhere, logs="cached before|no answer") as mounted:
        check(mounted.path)
    assert f"{model}/" in world.fusefs("ls", "--cache-dir", cache).stdout


@pytest.mark.slow
def test_p2_an_object_that_is_replaced_between_two_ranges_is_an_error_and_no_mixture(
    world: World, bucket: Bucket
) -> None:
    size = 72 * MIB
    bucket.put("changing/large.bin", b"a" * size)
    bucket.put("changing/SHA256SUMS", sums({"large.bin": b"a" * size}))
    options = ("--unproved", "allow", "--timeout", "10s")
    with world.mount("s3://models/changing/", options=options, env=bucket.env, logs="has changed") as mounted:
        # The file is opened by its first read: what is fetched ahead of that ends before the end of the file.
        with open(mounted.path / "large.bin", "rb", buffering=0) as file:
            assert file.read(4096) == b"a" * 4096
            bucket.put("changing/large.bin", b"b" * size)
            file.seek(size - 8192)
            with pytest.raises(OSError, match="Input/output error"):
                file.read(4096)
        with open(mounted.path / "large.bin", "rb") as file:
            assert file.read(4096) == b"a" * 4096


@pytest.mark.slow
def test_p4_a_chunk_list_beside_an_object_makes_it_lazy(world: World, bucket: Bucket, tmp_path: Path) -> None:
    content = random_bytes(MIB, 93) * 66
    (tmp_path / "large.bin").write_bytes(content)
    bucket.put("listed/large.bin", content)
    bucket.put("listed/large.bin.chunksums", world.fusefs("index", tmp_path / "large.bin").stdout.encode())
    bucket.put("listed/SHA256SUMS", sums({"large.bin": content}))
    with world.mount(f"s3://{bucket.name}/listed", env=bucket.env) as mounted:
        with open(mounted.path / "large.bin", "rb") as file:
            file.seek(60 * MIB)
            assert file.read(10) == content[60 * MIB : 60 * MIB + 10]
        assert mounted.counter("bytes_fetched") < len(content) // 2


@pytest.mark.slow
def test_a_single_object_is_a_model_by_its_digest(world: World, bucket: Bucket, model: str) -> None:
    name = f"{model}/config.json#sha256={hashlib.sha256(FILES['config.json']).hexdigest()}"
    with world.mount(name, env=bucket.env) as mounted:
        assert (mounted.path / "config.json").read_bytes() == FILES["config.json"]


@pytest.mark.slow
def test_a_profile_is_read_as_the_sdks_read_it(world: World, bucket: Bucket, model: str, tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        f"[mine]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\nregion = us-east-1\n"
    )
    env = {"AWS_PROFILE": "mine", "AWS_ENDPOINT_URL": bucket.env["AWS_ENDPOINT_URL"]}
    with world.mount(model, env=env) as mounted:
        check(mounted.path)
    failed = world.fusefs("pull", model, env={**env, "AWS_PROFILE": "yours"}, code=1).stderr
    assert failed.count("\n") == 1
    assert "the AWS profile cannot be used" in failed
    assert "yours" in failed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "env", "said"),
    [
        ("s3://models/nothing/", {}, "no SHA256SUMS and no nothing.meta4"),
        ("s3://models/org/Tiny", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "403"),
        ("s3://models/a?b", {}, "has a query"),
    ],
    ids=["nothing", "key", "query"],
)
def test_what_cannot_be_read_is_one_line(
    world: World, bucket: Bucket, model: str, name: str, env: dict[str, str], said: str
) -> None:
    del model
    failed = world.fusefs("pull", name, "--timeout", "5s", env={**bucket.env, **env}, code=None)
    assert failed.returncode in (1, 2)
    assert failed.stderr.count("\n") == 1, failed.stderr
    assert said in failed.stderr
    assert SECRET not in failed.stderr


def test_without_the_extra_one_line_says_what_to_install(world: World) -> None:
    code = f"import sys; sys.modules['obstore'] = None; sys.argv = {['fusefs', 'pull', 's3://models/org/Tiny']!r}; "
    code += "from fusefs.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=world.env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "pip install 'fusefs[cloud]'" in done.stderr

"""Folders of a bucket without a list, of whose objects S3 keeps the sha256: mounted as if they had one."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config

from tests.bucket import KEY, SECRET
from tests.faulty_bucket import FaultyBucket
from tests.marks import one_soon
from tests.programs.models import MIB, random_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from tests.bucket import Bucket
    from tests.programs.world import World

PART = 5 * MIB
LARGE = random_bytes(MIB, 99) * 72
PARTED = LARGE[: 4 * PART + 7]
"""Smaller, for a server that counts its bytes."""
TEXT = b'{"a": 1}'


@pytest.fixture
def client(bucket: Bucket) -> Any:
    """Amazon's own client."""
    return boto3.client(
        "s3",
        endpoint_url=bucket.env["AWS_ENDPOINT_URL"],
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )


def upload(client: Any, bucket: str, key: str, data: bytes) -> None:
    """In parts, as `aws s3 cp --checksum-algorithm SHA256` does it."""
    named = {"Bucket": bucket, "Key": key}
    upload = client.create_multipart_upload(**named, ChecksumAlgorithm="SHA256")["UploadId"]
    parts = []
    for number, off in enumerate(range(0, len(data), PART), 1):
        done = client.upload_part(
            **named, UploadId=upload, PartNumber=number, Body=data[off : off + PART], ChecksumAlgorithm="SHA256"
        )
        parts.append({"PartNumber": number, "ETag": done["ETag"], "ChecksumSHA256": done["ChecksumSHA256"]})
    client.complete_multipart_upload(**named, UploadId=upload, MultipartUpload={"Parts": parts})


@pytest.mark.slow
def test_p4_objects_whose_sha256_a_real_bucket_keeps_are_proved_by_it(
    world: World, bucket: Bucket, client: Any, tmp_path: Path
) -> None:
    """That of the content, and that of the digests of parts; both without any list, and without being asked for it."""
    bucket.put("summed/x", b"x")  # makes the bucket
    client.delete_object(Bucket=bucket.name, Key="summed/x")
    client.put_object(Bucket=bucket.name, Key="summed/config.json", Body=TEXT, ChecksumAlgorithm="SHA256")
    upload(client, bucket.name, "summed/sub/large.bin", LARGE)
    name, cache = f"s3://{bucket.name}/summed", tmp_path / "cache"
    with world.mount(name, cache=cache, env=bucket.env, logs="has no chunk list") as mounted:
        assert (mounted.path / "config.json").read_bytes() == TEXT
        assert (mounted.path / "sub/large.bin").read_bytes() == LARGE
        mounted.wait_sealed()
        assert mounted.file("config.json")["digest"] == f"sha256:{hashlib.sha256(TEXT).hexdigest()}"
        assert mounted.file("sub/large.bin")["digest"].startswith("s3-sha256:")
    world.fusefs("verify", "--cache-dir", cache)
    world.fusefs("pull", name, "--cache-dir", tmp_path / "pulled", env=bucket.env)
    lock = tmp_path / "lock"
    lock.write_text(world.fusefs("lock", name, env=bucket.env).stdout)
    world.fusefs("pull", "--lock", lock, "--cache-dir", tmp_path / "locked", env=bucket.env)


@pytest.mark.slow
def test_what_a_real_bucket_keeps_no_sha256_of_is_told_and_not_read(world: World, bucket: Bucket, client: Any) -> None:
    bucket.put("mixed/other.bin", b"other")
    client.put_object(Bucket=bucket.name, Key="mixed/config.json", Body=TEXT, ChecksumAlgorithm="SHA256")
    with world.mount(
        f"s3://{bucket.name}/mixed", env=bucket.env, logs="keeps no sha256 of other.bin|nothing proves this file"
    ) as mounted:
        assert (mounted.path / "config.json").read_bytes() == TEXT
        with pytest.raises(OSError, match="Input/output error"):
            (mounted.path / "other.bin").read_bytes()


@contextlib.contextmanager
def parted(data: bytes = PARTED, *, served: bytes | None = None) -> Iterator[tuple[FaultyBucket, dict[str, str]]]:
    """A bucket that tells the checksums of parts, and the environment that leads to it."""
    with FaultyBucket() as bucket:
        bucket.put("/models/parted/large.bin", data, part_size=PART)
        if served is not None:
            bucket.fault("replace-body", r"large\.bin bytes=", times=None, body=served)
        yield (
            bucket,
            {
                "AWS_ENDPOINT_URL": bucket.url,
                "AWS_ACCESS_KEY_ID": "tests",
                "AWS_SECRET_ACCESS_KEY": "no secret, for loopback alone",
                "AWS_REGION": "us-east-1",
            },
        )


@pytest.mark.parametrize("lists", one_soon(["bound", "registry"]))
def test_p4_the_checksums_of_parts_are_the_chunk_list_and_bound_to_the_digest(world: World, lists: str) -> None:
    """So nobody's word is needed for them."""
    with parted() as (bucket, env):
        with world.mount("s3://models/parted", env=env, options=("--lists", lists)) as mounted:
            with open(mounted.path / "large.bin", "rb") as file:
                file.seek(4 * PART)
                assert file.read(10) == PARTED[4 * PART :]
            assert mounted.counter("bytes_fetched") < len(PARTED) // 2
            assert mounted.file("large.bin")["proof"] == "bound"
        assert sum("attributes" in path for path in bucket.paths()) == 3, "five parts, in pages of two"


@pytest.mark.slow
def test_p4_an_object_in_parts_is_sealed_when_it_is_the_one_of_its_checksum(world: World, tmp_path: Path) -> None:
    with parted() as (_bucket, env), world.mount("s3://models/parted", env=env, cache=tmp_path / "cache") as mounted:
        assert (mounted.path / "large.bin").read_bytes() == PARTED
        mounted.wait_sealed()
    world.fusefs("verify", "--cache-dir", tmp_path / "cache")


@pytest.mark.slow
def test_who_may_not_ask_for_the_parts_has_the_digest_all_the_same(world: World) -> None:
    with parted() as (bucket, env):
        bucket.tells_parts = False
        with world.mount("s3://models/parted", env=env) as mounted:
            assert (mounted.path / "large.bin").read_bytes() == PARTED
            mounted.wait_sealed()


@pytest.mark.slow
def test_p1_bytes_that_are_not_those_of_the_checksum_are_refused(world: World) -> None:
    with parted(served=b"wrong") as (_bucket, env):
        mount = world.mount("s3://models/parted", env=env, options=("--timeout", "5s"), logs=".")
        with mount as mounted, pytest.raises(OSError, match="Input/output error"):
            (mounted.path / "large.bin").read_bytes()


@pytest.mark.slow
def test_trouble_with_checksums_is_trouble_and_no_reason_to_do_without(world: World) -> None:
    """Whoever causes it would choose the weaker check."""
    with parted() as (bucket, env):
        bucket.fault("status", r"parted/large\.bin$", times=None, status=503)
        failed = world.fusefs("pull", "s3://models/parted", "--timeout", "3s", env=env, code=1).stderr
    assert failed.count("\n") == 1
    assert "503" in failed

"""Models that their publishers have signed with `model_signing`: mounted when they are that, and else refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.artifacts import Builder, push_artifact, tar_of
from tests.components import docker_registry, fusefs_serve, nginx
from tests.private_sigstore import PrivateSigstore
from tests.programs.models import MIB, random_bytes
from tests.programs.world import shell
from tests.signing import Authority, KeyPair, make_keys, sign, sign_with_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.programs.world import World

FILES = {"config.json": b'{"a": 1}', "sub/weights.bin": random_bytes(300_000, 91), "empty": b""}
LARGE = 66 * MIB


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What is signed, and served."""
    root = tmp_path / "served/Tiny"
    for path, data in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    """Those of the publisher."""
    return make_keys(tmp_path)


def list_files(folder: Path) -> None:
    """Put SHA256SUMS beside the files."""
    shell("find . -type f ! -name SHA256SUMS -print0 | xargs -0 sha256sum >../sums && mv ../sums SHA256SUMS", folder)


def content(path: Path) -> dict[str, bytes]:
    """All files below a mount."""
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def options_of(signature: Path, keys: KeyPair) -> tuple[str | Path, ...]:
    """To believe them."""
    return "--signature", signature, "--key", keys.public


def test_p1_a_signed_model_is_mounted_and_another_one_is_refused(
    world: World, folder: Path, keys: KeyPair, tmp_path: Path
) -> None:
    options = options_of(sign(folder, tmp_path / "model.sig", keys), keys)
    with fusefs_serve(folder.parent) as address:
        name = f"http://{address}/local/Tiny"
        with world.mount(name, options=options) as mounted:
            assert content(mounted.path) == FILES
            assert mounted.status()["signed"].startswith("key sha256:")
            assert "signed by key sha256:" in world.fusefs("status", mounted.path).stdout
        (folder / "sub/weights.bin").write_bytes(b"x" * 300_000)
        mnt = tmp_path / "mnt"
        mnt.mkdir()
        failed = world.fusefs("mount", name, mnt, "--cache-dir", tmp_path / "cache", *options, code=1)
    assert failed.stderr.count("\n") == 1
    assert "'sub/weights.bin' is not what the signature" in failed.stderr
    assert not os.path.ismount(mnt)


@pytest.mark.slow
def test_p1_shards_of_a_signature_make_a_plain_web_server_lazy(
    world: World, folder: Path, keys: KeyPair, tmp_path: Path
) -> None:
    """Nothing but SHA256SUMS is on the server: each part is proved by what the publisher has signed of it."""
    data = random_bytes(MIB, 92) * 66
    (folder / "large.bin").write_bytes(data)
    signature = sign(folder, folder / "model.sig", keys, shard_size=MIB)
    list_files(folder)
    with nginx(tmp_path / "nginx", f"root {folder.parent};") as address:
        name = f"http://{address}/Tiny/"
        options = ("--signature", f"{name}model.sig", "--key", keys.public)
        with world.mount(name, options=options) as mounted:
            with open(mounted.path / "large.bin", "rb") as file:
                file.seek(60 * MIB)
                assert file.read(10) == data[60 * MIB : 60 * MIB + 10]
            assert mounted.counter("bytes_fetched") < LARGE // 2
            assert mounted.file("large.bin")["proof"].startswith("signed key sha256:")
            assert os.getxattr(mounted.path / "large.bin", "user.fusefs.proof").startswith(b"signed key sha256:")
            assert (mounted.path / "sub/weights.bin").read_bytes() == FILES["sub/weights.bin"]
        again = tmp_path / "again"
        pulled = world.fusefs("pull", name, "--cache-dir", again, *options_of(signature, keys))
        assert "sealed" in pulled.stdout
        with world.mount(name, cache=again, options=options) as mounted:  # proved whole by now, against both
            assert (mounted.path / "large.bin").read_bytes() == data
            assert mounted.file("large.bin")["proof"] == "bound"
            assert mounted.counter("bytes_fetched") == 0


@pytest.mark.slow
def test_p1_what_differs_from_its_shards_is_never_served(
    world: World, folder: Path, keys: KeyPair, tmp_path: Path
) -> None:
    """A server that changes file and list alike, in the same size: of shards that is seen when they are read.

    Of a file that lies whole in the cache, proved by the digest that this server gave, it is seen before.  That file is
    what its digest says, and others may use it: it stays as it is.
    """
    path = folder / "sub/weights.bin"
    signature = sign(folder, tmp_path / "model.sig", keys, shard_size=64 << 10)
    data = bytearray(FILES["sub/weights.bin"])
    data[200_000] ^= 1
    path.write_bytes(data)
    list_files(folder)
    cache = tmp_path / "cache"
    options = ("--timeout", "5s", *options_of(signature, keys), "--ignore-unsigned-files")
    with nginx(tmp_path / "nginx", f"root {folder.parent};") as address:
        name = f"http://{address}/Tiny/"
        mounting = world.mount(name, cache=cache, options=options, logs="does not match|weights|sha256")
        with mounting as mounted, open(mounted.path / "sub/weights.bin", "rb", buffering=0) as file:
            assert os.pread(file.fileno(), 4096, 0) == FILES["sub/weights.bin"][:4096]
            with pytest.raises(OSError, match="Input/output error"):
                os.pread(file.fileno(), 4096, 199_000)
        world.fusefs("pull", name, "--cache-dir", cache)
        mnt = tmp_path / "mnt"
        mnt.mkdir()
        for words in (("mount", name, mnt), ("pull", name), ("verify", name)):
            failed = world.fusefs(*words, "--cache-dir", cache, *options, code=1)
            assert failed.stderr.count("\n") == 1
            assert "'sub/weights.bin' is not what the signature" in failed.stderr
            assert "its bytes 196608-262143 are others" in failed.stderr
        assert "nothing is damaged" in world.fusefs("verify", "--cache-dir", cache).stdout
        with world.mount(name, cache=cache) as mounted:
            assert (mounted.path / "sub/weights.bin").read_bytes() == data
            assert mounted.counter("bytes_fetched") == 0


@pytest.mark.slow
def test_p1_what_lies_in_the_cache_is_compared_once_and_then_read_as_ever(
    world: World, folder: Path, keys: KeyPair, tmp_path: Path
) -> None:
    signature = sign(folder, tmp_path / "model.sig", keys, shard_size=64 << 10)
    cache = tmp_path / "cache"
    with fusefs_serve(folder.parent) as address:
        name = f"http://{address}/local/Tiny"
        world.fusefs("pull", name, "--cache-dir", cache)
        options = ("--sealed", "symlink", *options_of(signature, keys))
        with world.mount(name, cache=cache, options=options) as mounted:
            assert (mounted.path / "sub/weights.bin").is_symlink()
            assert content(mounted.path) == FILES
            assert mounted.counter("bytes_fetched") == 0


@pytest.mark.slow
def test_p1_a_registrys_list_does_not_count_for_what_was_signed_as_a_whole(
    world: World, folder: Path, keys: KeyPair, tmp_path: Path
) -> None:
    (folder / "large.bin").write_bytes(random_bytes(MIB, 93) * 66)
    options = options_of(sign(folder, tmp_path / "model.sig", keys), keys)
    with fusefs_serve(folder.parent) as address:
        name = f"http://{address}/local/Tiny"
        with world.mount(name, options=options, logs="signed as a whole") as mounted:
            assert "signed as a whole" in world.fusefs("status", mounted.path).stdout
        with world.mount(name, options=(*options, "--lists", "registry")) as mounted:
            with open(mounted.path / "large.bin", "rb") as file:
                file.read(10)
            assert mounted.counter("bytes_fetched") < LARGE // 2


@pytest.mark.slow
def test_p7_a_signed_model_needs_no_network_once_it_is_here(
    world: World, folder: Path, keys: KeyPair, tmp_path: Path
) -> None:
    options = options_of(sign(folder, tmp_path / "model.sig", keys, shard_size=64 << 10), keys)
    cache = tmp_path / "cache"
    with fusefs_serve(folder.parent) as address:
        name = f"http://{address}/local/Tiny"
        world.fusefs("pull", name, "--cache-dir", cache, *options)
    with world.mount(name, cache=cache, options=(*options, "--timeout", "2s"), logs="cached before|trouble") as mounted:
        assert content(mounted.path) == FILES


@pytest.mark.slow
def test_a_folder_of_this_machine_is_compared_as_well(
    world: World, folder: Path, keys: KeyPair, tmp_path: Path
) -> None:
    for shard_size in (0, 64 << 10):
        signature = sign(folder, folder / "model.sig", keys, shard_size=shard_size)
        options = options_of(signature, keys)
        with world.mount(str(folder), options=options) as mounted:
            assert (mounted.path / "sub/weights.bin").read_bytes() == FILES["sub/weights.bin"]
        said = world.fusefs("verify", folder, *options).stdout
        assert "4 files" in said
        assert "as signed by key sha256:" in said
        (folder / "sub/weights.bin").write_bytes(b"x" * 300_000)
        failed = world.fusefs("verify", folder, *options, code=1)
        assert failed.stderr.count("\n") == 1
        assert "'sub/weights.bin' is not what the signature" in failed.stderr
        (folder / "sub/weights.bin").write_bytes(FILES["sub/weights.bin"])


@pytest.mark.slow
def test_p1_a_program_runs_on_the_part_of_a_signed_model_that_is_chosen(
    world: World, folder: Path, keys: KeyPair, tmp_path: Path
) -> None:
    options = options_of(sign(folder, tmp_path / "model.sig", keys), keys)
    (folder / "sub/weights.bin").write_bytes(b"x" * 300_000)
    words = (*options, "--include", "*.json", "--", "cat", "{}/config.json")
    with fusefs_serve(folder.parent) as address:
        for name in (f"http://{address}/local/Tiny", str(folder)):
            assert world.fusefs("run", name, *words).stdout == FILES["config.json"].decode()
            failed = world.fusefs("run", name, *options, "--", "true", code=1)
            assert failed.stderr.count("\n") == 1
            assert "'sub/weights.bin' is not what the signature" in failed.stderr


@pytest.mark.slow
def test_certificates_and_what_is_not_signed(world: World, folder: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    signature = sign_with_certificate(folder, tmp_path / "model.sig", authority, authority.issue())
    (folder / "more.py").write_bytes(b"print(1)")
    options = ("--signature", signature, "--certificate-chain", authority.certificate)
    with fusefs_serve(folder.parent) as address:
        name, cache = f"http://{address}/local/Tiny", ("--cache-dir", tmp_path / "cache")
        failed = world.fusefs("pull", name, *cache, *options, code=1)
        assert "'more.py' is not in the signature" in failed.stderr
        assert "sealed" in world.fusefs("pull", name, *cache, *options, "--ignore-unsigned-files").stdout
        said = world.fusefs("verify", name, *cache, *options, "--ignore-unsigned-files", "--json").stdout
    assert '"signed":"CN=signer (certificate sha256:' in said


@pytest.mark.slow
def test_an_identity_that_a_private_sigstore_knew(world: World, folder: Path, keys: KeyPair, tmp_path: Path) -> None:
    sigstore, provider = PrivateSigstore(), "https://accounts.example.org"
    signature = sign(folder, tmp_path / "model.sig", keys)
    signature.write_bytes(sigstore.sign(signature.read_bytes(), "me@example.org", provider))
    root = sigstore.trusted_root(tmp_path / "root.json")
    options = ("--signature", signature, "--identity-provider", provider, "--trust-root", root)
    with world.mount(str(folder), options=(*options, "--identity", "me@example.org")) as mounted:
        assert content(mounted.path) == FILES
        assert mounted.status()["signed"] == f"me@example.org ({provider})"
    failed = world.fusefs("verify", folder, *options, "--identity", "you@example.org", code=1)
    assert failed.stderr.count("\n") == 1
    assert "does not show that you@example.org" in failed.stderr


@pytest.mark.slow
def test_p10_what_is_asked_for_wrongly_is_one_line(world: World, folder: Path, keys: KeyPair, tmp_path: Path) -> None:
    signature = sign(folder, tmp_path / "model.sig", keys)
    name, other = "http://127.0.0.1:9/local/m", make_keys(tmp_path, "other")
    key, by = ("--key", keys.public), ("--signature", signature)
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(65 * MIB)
    for code, options, said in (
        (2, by, "wants one of --key"),
        (2, key, "go with --signature"),
        (2, (*by, *key, "--identity", "a"), "wants one of --key"),
        (2, (*by, "--identity", "a"), "go together"),
        (2, (*by, *key, "--trust-root", signature), "goes with --identity"),
        (2, (name, *by, *key), "of one model"),
        (1, ("--signature", tmp_path / "none", *key), "No such file"),
        (1, ("--signature", huge, *key), "more than"),
        (1, ("--signature", keys.public, *key), "no signature of a model"),
        (1, (*by, "--key", signature), "no public key"),
        (1, (*by, "--key", tmp_path / "none"), "No such file"),
        (1, (*by, "--key", other.public), "was not made by the key"),
        (1, (*by, "--certificate-chain", keys.public), "no certificates"),
        (1, ("--signature", "http://127.0.0.1:9/model.sig", *key, "--timeout", "2s"), "--signature: "),
        (1, ("--signature", "ftp://host/model.sig", *key), "want a URL"),
    ):
        failed = world.fusefs("pull", name, *options, code=code)
        assert said in failed.stderr, options
        assert code == 2 or failed.stderr.count("\n") == 1
    assert "--signature" in world.fusefs("verify", name, code=2).stderr
    mnt = tmp_path / "mnt"
    mnt.mkdir()
    assert "--layout ollama" in world.fusefs("mount", name, mnt, *by, *key, "--layout", "ollama", code=2).stderr


@pytest.mark.slow
def test_p1_parts_of_an_archive_are_compared_by_verify_and_not_mounted_before(
    world: World, folder: Path, keys: KeyPair, tmp_path: Path
) -> None:
    signature = sign(folder, tmp_path / "model.sig", keys)
    options = options_of(signature, keys)
    other = {**FILES, "config.json": b'{"a": 2}'}
    mnt = tmp_path / "mnt"
    mnt.mkdir()
    with docker_registry(tmp_path / "registry") as address:
        for tag, files in (("v1", FILES), ("v2", other)):
            builder = Builder(("application/vnd.cncf.model.config.v1+json", b"{}"))
            layer = builder.layer("application/vnd.cncf.model.weight.v1.tar", tar_of(files))
            push_artifact(address, "a/b", tag, layer.artifact())
        good, bad = (f"http://{address}/a/b:{tag}" for tag in ("v1", "v2"))
        failed = world.fusefs("mount", good, mnt, "--cache-dir", tmp_path / "cache", *options, code=1)
        assert "it is an archive" in failed.stderr
        said = world.fusefs("verify", good, "--cache-dir", tmp_path / "cache", *options).stdout
        assert "3 files" in said
        failed = world.fusefs("verify", bad, "--cache-dir", tmp_path / "cache", *options, code=1)
        assert "'config.json' is not what the signature" in failed.stderr

"""Folders of files behind a web server that knows nothing of models: lazy, verified, and never two versions at once."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.components import Process, nginx
from tests.programs.models import MIB, random_bytes
from tests.programs.world import shell

if TYPE_CHECKING:
    from pathlib import Path

    from tests.programs.world import Mounted, World

WEIGHTS = random_bytes(3 * MIB + 5, 81)
FILES = {"config.json": b'{"a": 1}', "sub dir/weights+1.bin": WEIGHTS, "none": b""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What is served."""
    root = tmp_path / "served/models/Tiny"
    for path, data in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    shell("find . -type f -print0 | xargs -0 sha256sum >../sums && mv ../sums SHA256SUMS", root)
    return root


def check(path: Path) -> None:
    assert {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()} == FILES


def test_p7_a_folder_with_sha256sums_is_a_model_and_stays_one_without_a_network(
    world: World, folder: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with nginx(tmp_path / "nginx", f"root {folder.parents[1]};") as address:
        name = f"http://{address}/models/Tiny/"
        with world.mount(name, cache=cache) as mounted:
            check(mounted.path)
            mounted.wait_sealed()
    with world.mount(name, cache=cache, options=("--timeout", "2s"), logs="cached before|is in trouble") as mounted:
        check(mounted.path)
    assert f"{name}" in world.fusefs("ls", "--cache-dir", cache).stdout


@pytest.mark.slow
def test_a_single_file_is_a_model_by_its_digest(world: World, folder: Path, tmp_path: Path) -> None:
    with nginx(tmp_path / "nginx", f"root {folder.parents[1]};") as address:
        url = f"http://{address}/models/Tiny/sub%20dir/weights+1.bin"
        with world.mount(url, options=("--sha256", hashlib.sha256(WEIGHTS).hexdigest())) as mounted:
            assert (mounted.path / "weights+1.bin").read_bytes() == WEIGHTS
        mnt = tmp_path / "mnt"
        mnt.mkdir()
        said = world.fusefs("mount", f"{url}#sha256={'0' * 64}", mnt, "--timeout", "5s", "--cache-dir", tmp_path / "c")
        with pytest.raises(OSError, match="Input/output error"):
            (mnt / "weights+1.bin").read_bytes()
        world.fusefs("umount", mnt)
        assert not said.stderr


@pytest.mark.slow
def test_p2_a_file_that_is_replaced_amid_reading_is_an_error_and_no_mixture(
    world: World, folder: Path, tmp_path: Path
) -> None:
    """The chunk list would refuse the new bytes anyway; without one nothing else would, until the file is whole."""
    large = folder / "large.bin"
    size = 72 * MIB
    large.write_bytes(b"a" * size)
    shell("sha256sum large.bin >SHA256SUMS", folder)
    with (
        nginx(tmp_path / "nginx", f"root {folder.parents[1]}; limit_rate 20m;") as address,
        world.mount(
            f"http://{address}/models/Tiny/", options=("--unproved", "allow", "--timeout", "10s"), logs="has changed"
        ) as mounted,
    ):
        with open(mounted.path / "large.bin", "rb", buffering=0) as file:
            assert file.read(4096) == b"a" * 4096
            (folder / "new").write_bytes(b"b" * size)
            os.replace(folder / "new", large)
            with pytest.raises(OSError, match="Input/output error"):
                os.pread(file.fileno(), 4096, size - 8192)
        with open(mounted.path / "large.bin", "rb") as file:
            assert file.read(4096) == b"a" * 4096


METALINK = """<?xml version="1.0" encoding="UTF-8"?>
<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="weights.bin"><size>{size}</size>
<hash type="sha-256">{digest}</hash><pieces length="1048576" type="sha-256">{pieces}</pieces>
<url priority="2">http://{address}/gone</url><url priority="5">http://{address}/mirror/weights</url></file></metalink>
"""


@pytest.mark.slow
def test_p4_the_pieces_of_a_metalink_are_the_chunk_list(world: World, folder: Path, tmp_path: Path) -> None:
    content = random_bytes(MIB, 82) * 66
    root = folder.parents[1]
    (root / "mirror").mkdir()
    (root / "mirror/weights").write_bytes(content)
    pieces = [hashlib.sha256(content[off : off + MIB]).hexdigest() for off in range(0, len(content), MIB)]
    with nginx(tmp_path / "nginx", f"root {root};") as address:
        (folder / "Tiny.meta4").write_text(
            METALINK.format(
                size=len(content),
                digest=hashlib.sha256(content).hexdigest(),
                pieces="".join(f"<hash>{piece}</hash>" for piece in pieces),
                address=address,
            )
        )
        (folder / "SHA256SUMS").unlink()
        with world.mount(f"http://{address}/models/Tiny/") as mounted:
            with open(mounted.path / "weights.bin", "rb") as file:
                file.seek(60 * MIB)
                assert file.read(10) == content[60 * MIB : 60 * MIB + 10]
            assert mounted.counter("bytes_fetched") < len(content) // 2


def _large(world: World, folder: Path, seed: int) -> bytes:
    """Have a file that is read whole without its chunk list, and that beside it."""
    content = random_bytes(MIB, seed) * 66
    (folder / "large.bin").write_bytes(content)
    (folder / "large.bin.chunksums").write_text(world.fusefs("index", folder / "large.bin").stdout)
    return content


def _reads_a_part(mounted: Mounted, content: bytes) -> None:
    """A part of it is read, and little else is fetched."""
    with open(mounted.path / "large.bin", "rb") as file:
        file.seek(60 * MIB)
        assert file.read(10) == content[60 * MIB : 60 * MIB + 10]
    assert mounted.counter("bytes_fetched") < len(content) // 2


@pytest.mark.slow
def test_p4_a_chunk_list_beside_a_file_makes_it_lazy(world: World, folder: Path, tmp_path: Path) -> None:
    content = _large(world, folder, 83)
    shell("sha256sum large.bin >SHA256SUMS", folder)
    server = nginx(tmp_path / "nginx", f"root {folder.parents[1]};")
    with server as address, world.mount(f"http://{address}/models/Tiny/") as mounted:
        _reads_a_part(mounted, content)


@pytest.mark.slow
def test_p4_a_lock_is_the_list_of_a_folder_with_the_chunk_lists_that_it_pins(
    world: World, folder: Path, tmp_path: Path
) -> None:
    """A model's lock beside copies of its files: names, sizes and lists as they were where it was made."""
    content = _large(world, folder, 84)
    shell("find . -type f ! -name SHA256SUMS ! -name '*.chunksums' -print0 | xargs -0 sha256sum >../sums", folder)
    shell("mv ../sums SHA256SUMS", folder)
    with nginx(tmp_path / "nginx", f"root {folder.parents[1]};") as address:
        name = f"http://{address}/models/Tiny/"
        lock = world.fusefs("lock", name).stdout
        (folder / "fusefs.lock").write_text(lock)
        (folder / "SHA256SUMS").unlink()
        (folder / "copy.lock").write_text(lock)
        for source in (name, f"{name}copy.lock"):
            with world.mount(source) as mounted:
                assert {str(p.relative_to(mounted.path)) for p in mounted.path.rglob("*") if p.is_file()} == {
                    *FILES,
                    "large.bin",
                }
                _reads_a_part(mounted, content)


@pytest.mark.slow
def test_p1_a_chunk_list_that_is_not_the_one_in_the_lock_is_not_used(
    world: World, folder: Path, tmp_path: Path
) -> None:
    content = _large(world, folder, 85)
    shell("sha256sum large.bin >SHA256SUMS", folder)
    chunksums = folder / "large.bin.chunksums"
    with nginx(tmp_path / "nginx", f"root {folder.parents[1]};") as address:
        name = f"http://{address}/models/Tiny/"
        (folder / "fusefs.lock").write_text(world.fusefs("lock", name).stdout)
        (folder / "SHA256SUMS").unlink()
        chunksums.write_text(world.fusefs("index", folder / "large.bin", "--chunk-size", "2MiB").stdout)
        with world.mount(name, logs="not the one in the lock|read whole") as mounted:
            assert (mounted.path / "large.bin").read_bytes() == content


@pytest.mark.slow
def test_a_lock_that_is_no_list_of_a_folder_is_one_line(world: World, folder: Path, tmp_path: Path) -> None:
    with nginx(tmp_path / "nginx", f"root {folder.parents[1]};") as address:
        name = f"http://{address}/models/Tiny/"
        file = f"{name}config.json#sha256={hashlib.sha256(FILES['config.json']).hexdigest()}"
        lock = folder / "fusefs.lock"
        for text, said in (
            (world.fusefs("lock", name, file).stdout, "has 2 models, and a folder is one"),
            (world.fusefs("lock", name).stdout.replace('"paths"', '"places"'), "names no files"),
            (world.fusefs("lock", name).stdout.replace('"config.json"', '"../config.json"'), "invalid name"),
            ("{", "not a lock"),
        ):
            lock.write_text(text)
            failed = world.fusefs("pull", f"{name}fusefs.lock", "--cache-dir", tmp_path / "cache", code=1)
            assert failed.stderr.count("\n") == 1
            assert said in failed.stderr


@pytest.mark.slow
def test_every_command_that_takes_a_model_takes_a_folder_on_the_web(world: World, folder: Path, tmp_path: Path) -> None:
    cache, out = tmp_path / "cache", tmp_path / "out"
    options = ("--cache-dir", cache)
    with nginx(tmp_path / "nginx", f"root {folder.parents[1]};") as address:
        name = f"http://{address}/models/Tiny/"
        world.fusefs("pull", name, *options)
        world.fusefs("export", name, out, *options)
        file = f"{name}config.json#sha256={hashlib.sha256(FILES['config.json']).hexdigest()}"
        with world.mount(f"{name}SHA256SUMS", file) as mounted:
            check(mounted.path / "Tiny/latest")
            assert sorted(path.name for path in mounted.path.iterdir()) == ["Tiny", "config.json"]
    assert (out / "v2/local/Tiny/manifests/latest").exists()
    world.fusefs("pin", name, *options)
    assert name in world.fusefs("ls", *options).stdout
    world.fusefs("verify", *options)
    world.fusefs("gc", "--older-than", "1s", *options)
    world.fusefs("unpin", name, *options)
    world.fusefs("rm", name, *options)
    assert name not in world.fusefs("ls", *options).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no SHA256SUMS and no Tiny.meta4"),
        (b"rubbish\n", "SHA256SUMS, line 1: want"),
        (b"0" * 64 + b"  ../etc/passwd\n", "line 1: invalid name"),
        (b"<!DOCTYPE html><title>Login</title>", "line 1: want"),
        (f"{'0' * 64}  gone.bin\n".encode(), "/models/Tiny/gone.bin is not there (status 404)"),
    ],
    ids=["none", "rubbish", "outside", "page", "missing"],
)
def test_what_is_no_list_is_one_line(
    world: World, folder: Path, tmp_path: Path, content: bytes | None, said: str
) -> None:
    (folder / "SHA256SUMS").unlink()
    if content is not None:
        (folder / "SHA256SUMS").write_bytes(content)
    with nginx(tmp_path / "nginx", f"root {folder.parents[1]};") as address:
        failed = world.fusefs("pull", f"http://{address}/models/Tiny/", code=1)
    assert failed.stderr.count("\n") == 1
    assert said in failed.stderr


@pytest.mark.slow
def test_a_list_may_be_as_windows_writes_it_and_a_url_as_browsers_show_it(
    world: World, folder: Path, tmp_path: Path
) -> None:
    """With a byte order mark, CR LF, capital digits and the mark of binary files; the folder has a blank and a `%`."""
    lines = [f"{hashlib.sha256(data).hexdigest().upper()} *{path}\r\n" for path, data in FILES.items()]
    (folder / "SHA256SUMS").write_bytes(b"\xef\xbb\xbf" + "".join(lines).encode())
    folder.rename(folder.parent / "100% Tiny")
    with nginx(tmp_path / "nginx", f"root {folder.parents[1]};") as address:
        with world.mount(f"http://{address}/models/100%25%20Tiny/") as mounted:
            check(mounted.path)
        for wrong in ("/models/%2e%2e/", "/models//Tiny/", "/models/../Tiny/", "/models/Tiny/?key=hunter2"):
            failed = world.fusefs("pull", f"http://{address}{wrong}", "--timeout", "5s", code=None)
            assert failed.returncode in (1, 2), failed
            assert failed.stderr.count("\n") == 1, failed.stderr
            assert "hunter2" not in failed.stderr


@pytest.mark.slow
def test_a_folder_without_its_slash_is_asked_for_as_a_model_and_the_error_says_so(
    world: World, folder: Path, tmp_path: Path
) -> None:
    with nginx(tmp_path / "nginx", f"root {folder.parents[1]};") as address:
        url = f"http://{address}/models/tiny"
        failed = world.fusefs("pull", url, "--timeout", "5s", code=1).stderr
    assert failed.count("\n") == 1, failed
    assert f"a folder ends in a slash: {url}/" in failed


@pytest.mark.slow
def test_pythons_own_server_which_ignores_ranges_and_has_no_etags_will_do(
    world: World, folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with Process([*command, "--directory", folder.parents[1]]) as server:
        port = server.wait_for_line(r"port (\d+)")[1]
        url = f"http://127.0.0.1:{port}/models/Tiny/"
        with world.mount(url) as mounted:
            check(mounted.path)
        (folder / "SHA256SUMS").unlink()
        with world.mount(url, options=("--unproved", "allow"), logs="keeps no sha256") as mounted:
            check(mounted.path)

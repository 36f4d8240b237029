"""What the Hub's own library takes as a file, and fusefs does not: the comparison in `fusefs help sources`, run.

hf-mount reads by the streams of hf_xet (its source says so), which stand for it here.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.hub.contents import noise
from tests.hub.origin import edited
from tests.hub.scriptedhub import ScriptedHub
from tests.patience import HANGS
from tests.programs.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hub.repository import Repository

FILES = {
    "config.json": b'{"a": 1, "text": "of a file that git has"}',
    "old.bin": noise(300_000, 2),
    "model.safetensors": noise(300_000, 3),
}
SENT_AS = {"config.json": ("cached", "resolve"), "old.bin": ("lfs",), "model.safetensors": ("xorb", "bridge")}
"""The kinds of requests by which each comes: out of git, by git-lfs, out of the Xet store (or by its bridge)."""

DOWNLOAD = """
import hashlib, sys
from huggingface_hub import hf_hub_download
print(hashlib.sha256(open(hf_hub_download("org/m", sys.argv[1]), "rb").read()).hexdigest())
"""

STREAM = """
import hashlib, sys
from hf_xet import XetFileInfo, XetSession
hub, name, size = sys.argv[1:]
group = XetSession().new_download_stream_group(token_refresh_url=hub + "/api/models/org/m/xet-read-token/main")
stream = group.download_stream(XetFileInfo(name, int(size)), start=0, end=int(size))
print(hashlib.sha256(b"".join(stream)).hexdigest())
"""


@pytest.fixture
def model(hub: ScriptedHub) -> Repository:
    return hub.add("org/m", FILES, keeping={"old.bin": "lfs"})


@pytest.fixture
def world(tmp_path: Path, hub: ScriptedHub) -> World:
    """Without a token, and with the scripted Hub as the Hub."""
    world = World(tmp_path)
    world.env = {name: value for name, value in world.env.items() if not name.startswith(("HF_", "HUGGING"))}
    world.env |= hub.environment | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return world


def library(world: World, program: str, *args: str, **variables: str) -> str:
    """Run a program of the library, which must be content.  Returns what it printed."""
    command = [sys.executable, "-I", "-c", program, *args]
    env = {**world.env, **variables}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=2 * HANGS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def read(world: World, path: str, cache: str) -> subprocess.CompletedProcess[str]:
    """Have a program hash a file on a mount with a new cache, without the library's."""
    elsewhere = {"HF_HUB_CACHE": str(world.root / "none")}
    options = ("--cache-dir", world.root / cache, "--timeout", "5s")
    return world.fusefs("run", "hf://org/m", *options, "--", "sha256sum", f"{{}}/{path}", code=None, env=elsewhere)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def flip(body: bytes) -> bytes:
    """A byte amid it is another one; all lengths are right."""
    at = len(body) // 2
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES)
def test_p1_a_byte_that_is_another_one_is_taken_by_the_library_and_not_by_fusefs(
    world: World, hub: ScriptedHub, model: Repository, path: str
) -> None:
    """Whichever way a file comes; the library keeps it under the name of the right one, for all who come later."""
    hub.resolving.compresses = False  # a compressed answer has a checksum of its own
    for kind in SENT_AS[path]:
        hub.change(kind, flip)
    wrong = library(world, DOWNLOAD, path)
    assert wrong != digest(FILES[path])
    done = read(world, path, "a")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Input/output error" in done.stderr
    hub.clear_faults()
    assert library(world, DOWNLOAD, path) == wrong
    assert read(world, path, "a").stdout.split()[0] == digest(FILES[path])


def test_p1_a_stream_of_hf_xet_gives_the_wrong_byte_on(world: World, hub: ScriptedHub, model: Repository) -> None:
    """That is how hf-mount reads."""
    path = "model.safetensors"
    packed = model.commits[model.commit].files[path].packed
    assert packed is not None
    stream = (STREAM, hub.url, packed.hash, str(packed.size))
    assert library(world, *stream) == digest(FILES[path])
    hub.change("xorb", flip)
    assert library(world, *stream) != digest(FILES[path])


@pytest.mark.slow
def test_p1_a_damaged_file_in_the_librarys_cache_is_given_on_by_it_and_fetched_by_fusefs(
    world: World, hub: ScriptedHub, model: Repository
) -> None:
    path = "model.safetensors"
    assert library(world, DOWNLOAD, path) == digest(FILES[path])
    blob = (world.root / "hf/hub/models--org--m/blobs" / digest(FILES[path])).resolve()
    blob.chmod(0o600)
    blob.write_bytes(flip(FILES[path]))
    assert library(world, DOWNLOAD, path, HF_HUB_OFFLINE="1") == digest(flip(FILES[path]))
    done = world.fusefs("run", "hf://org/m", "--", "sha256sum", f"{{}}/{path}")
    assert done.stdout.split()[0] == digest(FILES[path])
    assert "is not what its name says" in done.stderr


def _another(entries: Any) -> None:
    for entry in entries:
        if "lfs" in entry:
            entry["lfs"]["oid"] = "0" * 64


@pytest.mark.slow
def test_p1_a_listing_that_contradicts_its_own_pointers_is_taken_by_the_library_and_not_by_fusefs(
    world: World, hub: ScriptedHub, model: Repository
) -> None:
    hub.change("tree", edited(_another))
    library(world, "from huggingface_hub import snapshot_download; snapshot_download('org/m')")
    done = read(world, "old.bin", "a")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)


PIECEMEAL = """
import sys
from huggingface_hub import hf_hub_download
for path in sys.argv[1:]:
    print(open(hf_hub_download("org/m", path)).read(), flush=True)
    input()
"""


@pytest.mark.slow
def test_p2_a_push_amid_is_a_mixture_to_the_library_and_one_commit_on_a_mount(
    world: World, hub: ScriptedHub, model: Repository
) -> None:
    """To a program that has one file after the other, as most do."""
    model.push({"a.json": b"old", "b.json": b"old"})
    command = [sys.executable, "-I", "-c", PIECEMEAL, "a.json", "b.json"]
    with world.mount("hf://org/m", env={"HF_HUB_CACHE": str(world.root / "none")}) as mounted:
        assert (mounted.path / "a.json").read_bytes() == b"old"
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=world.env, **pipes) as program:
            assert program.stdin is not None
            assert program.stdout is not None
            assert program.stdout.readline() == "old\n"
            model.push({"a.json": b"new", "b.json": b"new"})
            program.stdin.write("\n\n")
            program.stdin.flush()
            assert program.stdout.readline() == "new\n"
        assert (mounted.path / "b.json").read_bytes() == b"old"
        assert (mounted.path / "a.json").read_bytes() == b"old"


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["fusefs", "library"])
def test_who_wants_a_part_gets_a_part_and_the_library_the_whole(world: World, hub: ScriptedHub, wanted: str) -> None:
    """Of a file of 72 MiB, whose first 100 bytes somebody wants."""
    data = noise(72 << 20, 4)
    hub.add("org/m", {"w.safetensors": data})
    if wanted == "library":
        library(world, DOWNLOAD, "w.safetensors")
        assert hub.sent("xorb") >= len(data)
    else:
        done = world.fusefs("run", "hf://org/m", "--", "sh", "-c", "head -c 100 {}/w.safetensors | sha256sum")
        assert done.stdout.split()[0] == digest(data[:100])
        assert hub.sent("xorb") < len(data) / 8

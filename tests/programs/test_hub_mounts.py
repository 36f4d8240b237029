"""Repositories of the Hugging Face Hub as a person mounts, keeps and pins them, from a scripted Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from tests.components import fusefs_serve
from tests.hub.contents import noise
from tests.hub.scriptedhub import ScriptedHub
from tests.marks import one_soon
from tests.programs.models import MIB
from tests.programs.world import World
from tests.signing import make_keys, sign

if TYPE_CHECKING:
    from tests.hub.repository import Repository

WEIGHTS = noise(3 * MIB + 5)
FILES = {
    "README.md": b"# A model\n",
    "config.json": b'{"a": 1}',
    "onnx/model.onnx": noise(70_000, 2),
    "w.safetensors": WEIGHTS,
}


@pytest.fixture
def model(hub: ScriptedHub) -> Repository:
    return hub.add("org/Tiny", FILES, xet=False)


@pytest.fixture
def world(tmp_path: Path, hub: ScriptedHub) -> World:
    """Without a token, and with the scripted Hub as the Hub."""
    world = World(tmp_path)
    world.env = {name: value for name, value in world.env.items() if not name.startswith(("HF_", "HUGGING"))}
    world.env |= hub.environment
    return world


def check(path: Path, files: dict[str, bytes] = FILES) -> None:
    assert {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()} == files


def test_p7_a_repository_is_mounted_and_stays_without_the_hub(
    world: World, hub: ScriptedHub, model: Repository, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with world.mount("hf://org/Tiny", cache=cache) as mounted:
        assert (hub.count("info"), hub.count("tree"), hub.count("resolve")) == (1, 1, 0)
        check(mounted.path)
        mounted.wait_sealed()
        assert mounted.file("config.json")["digest"].startswith("git-sha1:")
    asked = len(hub.endpoint.requests)
    offline = {"HF_HUB_OFFLINE": "1"}
    with world.mount("hf://org/Tiny", cache=cache, env=offline, logs="cached before") as mounted:
        check(mounted.path)
    with world.mount("hf://org/Tiny", cache=tmp_path / "other", env=offline, options=("--store", cache)) as mounted:
        check(mounted.path)
    assert len(hub.endpoint.requests) == asked


@pytest.mark.slow
def test_revisions_are_mounted_beside_each_other_and_share_what_is_the_same(
    world: World, hub: ScriptedHub, model: Repository
) -> None:
    first = model.commit
    model.push({"config.json": b'{"a": 2}'})
    with world.mount(f"hf://org/Tiny@{first}", f"{hub.url}/org/Tiny/tree/main") as mounted:
        check(mounted.path / "Tiny" / first)
        assert hub.count("lfs") > 0
        fetched = hub.sent("lfs")
        check(mounted.path / "Tiny/main", {**FILES, "config.json": b'{"a": 2}'})
        assert hub.sent("lfs") == fetched
    asked = hub.count("info"), hub.count("tree")
    with world.mount(f"hf://org/Tiny@{first}", cache=mounted.cache) as again:
        check(again.path)
    assert (hub.count("info"), hub.count("tree")) == asked, "a commit is the same for ever"


@pytest.mark.slow
def test_p4_pull_keeps_and_verify_proves_and_what_is_removed_is_gone(
    world: World, hub: ScriptedHub, model: Repository, tmp_path: Path
) -> None:
    cache = ("--cache-dir", tmp_path / "cache")
    name = f"hf+{hub.url}/models/org/Tiny@main"
    world.fusefs("pull", "hf://org/Tiny", *cache)
    (listed,) = json.loads(world.fusefs("ls", "--json", *cache).stdout)["models"]
    assert (listed["name"], listed["short"]) == (name, name.removesuffix("@main"))
    assert listed["present"] == listed["size"] == sum(map(len, FILES.values()))
    world.fusefs("pin", "hf://org/Tiny", *cache)
    assert json.loads(world.fusefs("ls", "--json", *cache).stdout)["models"][0]["pinned"]
    world.fusefs("unpin", name, *cache)
    config = next((tmp_path / "cache/blobs").glob("git-sha1-*"))
    config.chmod(0o600)
    config.write_bytes(b"x" * config.stat().st_size)
    assert "1" in world.fusefs("verify", *cache, code=None).stdout
    assert not config.exists()
    world.fusefs("pull", "hf://org/Tiny", *cache)
    world.fusefs("verify", *cache)
    world.fusefs("rm", "hf://org/Tiny", *cache)
    assert json.loads(world.fusefs("ls", "--json", *cache).stdout)["models"] == []
    assert not list((tmp_path / "cache/blobs").iterdir())


@pytest.mark.slow
def test_a_lock_is_the_same_bytes_for_ever(world: World, hub: ScriptedHub, model: Repository, tmp_path: Path) -> None:
    """The commit stands in it, because by the name of a branch nobody could ask for an old tree."""
    lock = tmp_path / "lock"
    lock.write_text(world.fusefs("lock", "hf://org/Tiny", "--cache-dir", tmp_path / "a").stdout)
    (locked,) = json.loads(lock.read_text())["models"]
    assert locked["source"] == f"hf+{hub.url}/models/org/Tiny@main:{model.commit}"
    model.push({"config.json": b'{"a": 2}', "w.safetensors": None})
    with world.mount("hf://org/Tiny", options=("--lock", lock)) as mounted:
        check(mounted.path)
    with world.mount(options=("--lock", lock), env={"HF_ENDPOINT": ""}) as mounted:
        check(mounted.path)


@pytest.mark.parametrize(
    ("source", "said"),
    one_soon(
        [
            (
                "hf://org/None",
                "it is private, or there is none of that name; if it is private, run `hf auth login` or set",
            ),
            ("hf://org/Tiny@v9", "it has no revision 'v9'"),
            ("hf://org/Gated", "is gated: accept its conditions at"),
            ("hf://org/Tiny/config.json", "names a file, and a source is the whole repository"),
            ("hf://org/Tiny:Q4", "a revision of the Hub is written @Q4"),
        ]
    ),
)
def test_what_cannot_be_mounted_is_told_in_one_line(
    world: World, hub: ScriptedHub, model: Repository, tmp_path: Path, source: str, said: str
) -> None:
    hub.add("org/Gated", FILES, gated="manual", xet=False)
    (tmp_path / "mnt").mkdir()
    done = world.fusefs("mount", source, tmp_path / "mnt", "--cache-dir", tmp_path / "cache", code=None)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "*" * 64 not in "".join(p.read_text("latin-1") for p in (tmp_path / "cache").rglob("*") if p.is_file())


@pytest.mark.slow
def test_an_export_is_a_registry_whose_blobs_all_have_a_sha256(
    world: World, hub: ScriptedHub, model: Repository, tmp_path: Path
) -> None:
    world.fusefs("export", "hf://org/Tiny", tmp_path / "out", "--cache-dir", tmp_path / "cache")
    manifests = tmp_path / "out/v2/local/Tiny/manifests"
    layers = json.loads((manifests / "latest").read_text())["layers"]
    assert {layer["name"] for layer in layers} == set(FILES)
    for layer in layers:
        assert layer["digest"].startswith("sha256:")
        assert (tmp_path / "out/v2/local/Tiny/blobs" / layer["digest"]).read_bytes() == FILES[layer["name"]]


def test_there_is_no_registry_to_publish_lists_into(
    world: World, hub: ScriptedHub, model: Repository, tmp_path: Path
) -> None:
    done = world.fusefs("publish", "hf://org/Tiny", "--cache-dir", tmp_path / "cache", code=2)
    assert "--to" in done.stderr
    assert not hub.endpoint.requests


@pytest.mark.slow
def test_p4_a_large_file_without_a_list_is_whole_before_its_first_byte(
    world: World, hub: ScriptedHub, tmp_path: Path
) -> None:
    large = noise(66 * MIB, 5)
    hub.add("org/Large", {"w.bin": large, "config.json": b"{}"}, xet=False)
    with world.mount("hf://org/Large", options=("--unproved", "refuse"), logs="--unproved=refuse") as mounted:
        with pytest.raises(OSError, match="Input/output error"):
            (mounted.path / "w.bin").read_bytes()
        assert (mounted.path / "config.json").read_bytes() == b"{}", "a small file is proved by its own hash"
    with world.mount("hf://org/Large", logs="read whole before") as mounted:
        with (mounted.path / "w.bin").open("rb") as file:
            assert file.read(10) == large[:10]
        assert mounted.counter("bytes_fetched") >= len(large)
    world.fusefs(
        "index", "hf://org/Large", "-o", tmp_path / "lists", "--chunk-size", "1MiB", "--cache-dir", mounted.cache
    )
    with world.mount("hf://org/Large", options=("--index-from", tmp_path / "lists")) as mounted:
        with (mounted.path / "w.bin").open("rb") as file:
            assert file.read(10) == large[:10]
        assert mounted.counter("bytes_fetched") < 20 * MIB


@pytest.mark.slow
def test_p4_a_chunk_list_in_the_repository_makes_it_lazy(world: World, hub: ScriptedHub, tmp_path: Path) -> None:
    large = noise(66 * MIB, 5)
    (tmp_path / "w.bin").write_bytes(large)
    text = world.fusefs("index", tmp_path / "w.bin").stdout.encode()
    hub.add("org/Large", {"w.bin": large, "w.bin.chunksums": text}, xet=False)
    with world.mount("hf://org/Large") as mounted:
        with (mounted.path / "w.bin").open("rb") as file:
            assert file.read(10) == large[:10]
        assert mounted.counter("bytes_fetched") < 20 * MIB
        assert (mounted.path / "w.bin").read_bytes() == large


@pytest.mark.slow
def test_p1_a_hub_that_lies_serves_no_byte(world: World, hub: ScriptedHub, model: Repository) -> None:
    hub.change("resolve", lambda body: bytes(len(body)))
    hub.change("lfs", lambda body: bytes(len(body)))
    with world.mount("hf://org/Tiny", options=("--timeout", "5s"), logs="digest|quarantine") as mounted:
        for path in FILES:
            with pytest.raises(OSError, match="Input/output error"):
                (mounted.path / path).read_bytes()
        hub.clear_faults()
    with world.mount("hf://org/Tiny", cache=mounted.cache) as mounted:
        check(mounted.path)


@pytest.mark.slow
def test_p10_a_private_repository_is_mounted_by_a_token_that_nobody_sees(
    world: World, hub: ScriptedHub, tmp_path: Path
) -> None:
    hub.add("org/Private", FILES, private=True, readers={"hf_unseen"}, xet=False)
    (tmp_path / ".cache/huggingface").mkdir(parents=True)
    token = tmp_path / ".cache/huggingface/token"
    token.write_text("hf_unseen")
    env = {"XDG_CACHE_HOME": ""}
    with world.mount("hf://org/Private", env=env, options=("-v",)) as mounted:
        check(mounted.path)
        shown = json.dumps(mounted.status()) + Path("/proc/mounts").read_text()
    assert hub.endpoint.authorizations == {"Bearer hf_unseen"}
    assert hub.storage.authorizations == set()
    token.unlink()
    kept = "".join(path.read_text("latin-1") for path in tmp_path.rglob("*") if path.is_file())
    assert "hf_unseen" not in shown + kept
    with world.mount("hf://org/Private", cache=mounted.cache, logs="it is private, or there is none") as mounted:
        check(mounted.path)


@pytest.mark.slow
def test_a_cache_that_has_repositories_is_served_without_them(
    world: World, hub: ScriptedHub, model: Repository, tmp_path: Path
) -> None:
    """Their names are none of a registry; `fusefs export` makes models of them."""
    world.fusefs("pull", "hf://org/Tiny", "--cache-dir", tmp_path / "cache")
    with fusefs_serve(tmp_path / "cache") as address, urlopen(f"http://{address}/v2/_catalog") as answer:
        assert json.load(answer) == {"repositories": []}


@pytest.mark.slow
@pytest.mark.parametrize("shard_size", [0, 64 << 10], ids=["whole", "shards"])
def test_p1_a_signed_repository_is_compared_also_where_git_names_its_files(
    world: World, hub: ScriptedHub, model: Repository, tmp_path: Path, shard_size: int
) -> None:
    """git's hash of a small file is not what was signed: those are read before the mount, as is what is in place."""
    folder, keys = tmp_path / "publisher", make_keys(tmp_path)
    for path, data in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    options = ("--signature", sign(folder, tmp_path / "model.sig", keys, shard_size=shard_size), "--key", keys.public)
    with world.mount("hf://org/Tiny", options=options) as mounted:
        check(mounted.path)
    (folder / "config.json").write_bytes(b'{"a": 2}')
    sign(folder, tmp_path / "model.sig", keys, shard_size=shard_size)
    mnt = tmp_path / "mnt"
    mnt.mkdir()
    failed = world.fusefs("mount", "hf://org/Tiny", mnt, "--cache-dir", tmp_path / "cache", *options, code=1)
    assert failed.stderr.count("\n") == 1
    assert "'config.json' is not what the signature" in failed.stderr
    (folder / "config.json").write_bytes(FILES["config.json"])
    (folder / "w.safetensors").write_bytes(b"x" + WEIGHTS[1:])
    sign(folder, tmp_path / "model.sig", keys, shard_size=shard_size)
    world.fusefs("pull", "hf://org/Tiny", "--into-hf-cache", "--cache-dir", tmp_path / "other")
    failed = world.fusefs("mount", "hf://org/Tiny", mnt, "--cache-dir", tmp_path / "cache", *options, code=1)
    assert failed.stderr.count("\n") == 1
    assert "'w.safetensors' is not what the signature" in failed.stderr

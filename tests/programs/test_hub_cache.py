"""The Hub's library and its cache: a mount that is one, one that is a source, and one that a pull fills."""

from __future__ import annotations

import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save

from tests.hub.contents import floats, noise
from tests.hub.scriptedhub import ScriptedHub
from tests.programs.conftest import packaged_minilm
from tests.programs.models import write_llama
from tests.programs.world import World, run

if TYPE_CHECKING:
    from tests.hub.repository import Repository
    from tests.programs.world import Mounted

FILES = {
    "README.md": b"# A model\n",
    "config.json": b'{"a": 1}',
    "empty.txt": b"",
    "onnx/model.onnx": noise(300_000),
    "model.safetensors": floats(3_000_000),
}
NEW = {"config.json": b'{"a": 2}', "added.txt": b"new"}

FIND = """
import json, os, sys
from pathlib import Path
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download, try_to_load_from_cache
found = {}
for revision in sys.argv[1:]:
    snapshot = Path(snapshot_download("acme/tiny", revision=revision))
    files = sorted(str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file())
    single = [hf_hub_download("acme/tiny", path, revision=revision) for path in files]
    assert single == [str(snapshot / path) for path in files], single
    assert single == [try_to_load_from_cache("acme/tiny", path, revision=revision) for path in files]
    found[revision] = [snapshot.name, files]
info = scan_cache_dir()
assert not info.warnings, info.warnings
(repository,) = info.repos
found["scan"] = [repository.repo_id, repository.nb_files, repository.size_on_disk, len(repository.revisions)]
print(json.dumps(found))
"""

DOWNLOAD = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download("acme/tiny", max_workers=1))
"""

VERIFY = """
import json
from huggingface_hub import HfApi
done = HfApi().verify_repo_checksums("acme/tiny")
print(json.dumps([done.checked_count, done.mismatches, done.missing_paths, done.extra_paths]))
"""


@pytest.fixture
def model(hub: ScriptedHub) -> Repository:
    return hub.add("acme/tiny", FILES)


@pytest.fixture
def world(tmp_path: Path, hub: ScriptedHub) -> World:
    """Commands that ask the scripted Hub, and have the library's files below the test's folder."""
    world = World(tmp_path)
    for name in [name for name in world.env if name.startswith(("HF_", "HUGGINGFACE_"))]:
        del world.env[name]
    world.env |= hub.environment | {"HF_HOME": str(tmp_path / "hf")}
    return world


def library(world: World, code: str, *args: str, **variables: str) -> str:
    """Run a program of the library as it is."""
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_XET_TELEMETRY_ENABLED": "false"}
    return run(sys.executable, "-I", "-c", code, *args, env=world.env | quiet | variables).strip()


def on(mounted: Mounted) -> dict[str, str]:
    """What makes a program look into a mount for models, and nowhere else."""
    return {"HF_HUB_CACHE": str(mounted.path), "HF_HUB_OFFLINE": "1"}


def bodies(hub: ScriptedHub) -> int:
    """Requests for the content of files."""
    return sum(hub.count(kind) for kind in ("resolve", "xorb", "bridge", "lfs"))


def files_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def state_of(root: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        found[str(path)] = status.st_mode, status.st_size, status.st_mtime_ns
    return found


def test_the_library_finds_its_models_on_a_mount_and_nothing_is_fetched_for_it(
    world: World, hub: ScriptedHub, model: Repository
) -> None:
    first = model.commit
    second = model.push(NEW, branch="v2")
    both = FILES | NEW
    with world.mount("hf://acme/tiny", "hf://acme/tiny@v2", options=("--layout", "hf")) as mounted:
        before = bodies(hub)
        found = json.loads(library(world, FIND, "main", "v2", **on(mounted)))
        assert bodies(hub) == before, "names, sizes and links are enough"
        assert found["main"] == [first, sorted(FILES)]
        assert found["v2"] == [second, sorted(both)]
        size = sum(map(len, [*FILES.values(), *NEW.values()]))
        assert found["scan"] == ["acme/tiny", len(FILES) + len(NEW), size, 2], "what both have counts once"
        snapshots = mounted.path / "models--acme--tiny/snapshots"
        assert files_below(snapshots / first) == FILES
        assert files_below(snapshots / second) == both
        assert os.stat(snapshots / second / "model.safetensors").st_ino == (
            os.stat(snapshots / first / "model.safetensors").st_ino
        ), "the kernel keeps its pages once"
        shown = {file["path"] for file in mounted.status()["files"]}
        assert f"models--acme--tiny/snapshots/{second}/config.json" in shown
        assert f"models--acme--tiny/snapshots/{second}/model.safetensors" not in shown, "said once"


@pytest.mark.slow
def test_the_librarys_own_check_passes_on_a_mount(world: World, model: Repository) -> None:
    with world.mount("hf://acme/tiny", options=("--layout", "hf")) as mounted:
        assert json.loads(library(world, VERIFY, HF_HUB_CACHE=str(mounted.path))) == [len(FILES), [], [], []]


@pytest.mark.slow
@pytest.mark.usefixtures("model")
def test_complete_files_may_be_links_into_our_cache_there_too(world: World) -> None:
    cache = world.root / "cache"
    world.fusefs("pull", "hf://acme/tiny", "--cache-dir", cache)
    with world.mount("hf://acme/tiny", cache=cache, options=("--layout", "hf", "--sealed", "symlink")) as mounted:
        found = json.loads(library(world, FIND, "main", **on(mounted)))
        assert found["main"][1] == sorted(FILES)
        (snapshot,) = (mounted.path / "models--acme--tiny/snapshots").iterdir()
        assert files_below(snapshot) == FILES
        assert (snapshot / "model.safetensors").resolve().parent == cache / "blobs"


@pytest.mark.slow
@pytest.mark.usefixtures("model")
def test_a_copy_of_a_mount_is_a_cache_of_the_library(world: World) -> None:
    with world.mount("hf://acme/tiny", options=("--layout", "hf")) as mounted:
        run("cp", "-a", mounted.path, world.root / "copy")
    copied = {"HF_HUB_CACHE": str(world.root / "copy")}
    found = json.loads(library(world, FIND, "main", HF_HUB_OFFLINE="1", **copied))
    assert found["main"][1] == sorted(FILES)
    assert json.loads(library(world, VERIFY, **copied)) == [len(FILES), [], [], []]


@pytest.mark.slow
@pytest.mark.usefixtures("model")
def test_a_program_that_may_ask_the_hub_uses_the_mount_as_well(world: World) -> None:
    with world.mount("hf://acme/tiny", options=("--layout", "hf")) as mounted:
        found = json.loads(library(world, FIND, "main", HF_HUB_CACHE=str(mounted.path)))
        assert found["main"][1] == sorted(FILES)


TRANSFORMERS = """
import json, sys
from huggingface_hub import hf_hub_download
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer
name = "sentence-transformers/all-MiniLM-L6-v2"
config, tokenizer = AutoConfig.from_pretrained(name), AutoTokenizer.from_pretrained(name)
ids = tokenizer("A file system that fetches what is read.")["input_ids"]
with safe_open(hf_hub_download(name, "model.safetensors"), framework="numpy") as file:
    rows = file.get_slice("embeddings.word_embeddings.weight")
    sums = [float(rows[i:i + 1].sum()) for i in ids]
print(json.dumps([config.hidden_size, ids, sums]))
"""


@pytest.mark.slow
def test_transformers_loads_a_real_model_by_its_name_from_a_mount(world: World, hub: ScriptedHub) -> None:
    files = files_below(packaged_minilm())
    hub.add("sentence-transformers/all-MiniLM-L6-v2", files)
    name = "hf://sentence-transformers/all-MiniLM-L6-v2"
    with world.mount(name, options=("--layout", "hf")) as mounted:
        lazily = library(world, TRANSFORMERS, **on(mounted))
        assert mounted.counter("bytes_fetched") < len(files["model.safetensors"]) * 2 / 3, "one tensor of many"
    downloaded = library(world, TRANSFORMERS)
    assert lazily == downloaded
    hidden, ids, _ = json.loads(lazily)
    assert hidden == 384
    assert len(ids) > 8


LOADERS = """
import glob, json, os
from huggingface_hub import hf_hub_download, snapshot_download
from safetensors import safe_open

def sums(folder):
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        with safe_open(path, framework="numpy") as file:
            found |= {name: float(file.get_tensor(name).sum()) for name in file.keys()}
    return found

index = json.load(open(hf_hub_download("acme/pipe", "model.safetensors.index.json")))["weight_map"]
whole = sums(snapshot_download("acme/pipe", allow_patterns=["*.safetensors"]))  # as vLLM, and all of these
assert set(whole) >= set(index)
parts = json.load(open(hf_hub_download("acme/pipe", "model_index.json")))  # as diffusers
root = snapshot_download("acme/pipe", allow_patterns=["model_index.json", *(f"{part}/*" for part in parts)])
print(json.dumps([whole, {part: sums(os.path.join(root, part)) for part in parts}]))
"""


@pytest.mark.slow
def test_loaders_of_shards_and_of_parts_in_folders_find_them_by_name(world: World, hub: ScriptedHub) -> None:
    """As vLLM and diffusers have them from the library; these need torch and are not run here."""
    numbers = np.random.default_rng(1)
    shards = {f"model-{i}-of-2.safetensors": {f"w{i}": numbers.random((64, 64), np.float32)} for i in (1, 2)}
    parts = {f"{part}/weights.safetensors": {part: numbers.random((64, 64), np.float32)} for part in ("unet", "vae")}
    index = {"weight_map": {name: path for path, tensors in shards.items() for name in tensors}}
    files = {path: save(tensors) for path, tensors in (shards | parts).items()}
    files |= {f"{part}/config.json": b"{}" for part in ("unet", "vae")}
    files |= {"model_index.json": b'{"unet": [], "vae": []}'}
    hub.add(
        "acme/pipe", files | {"model.safetensors.index.json": json.dumps(index).encode(), "unused.bin": noise(9000)}
    )
    with world.mount("hf://acme/pipe", options=("--layout", "hf")) as mounted:
        lazily = library(world, LOADERS, **on(mounted))
    assert lazily == library(world, LOADERS)
    whole, found = json.loads(lazily)
    assert [*whole, *found] == ["w1", "w2", "unet", "vae"]


LLAMA = """
import os, sys
from pathlib import Path
from llama_cpp import Llama
root = Path(os.environ["HF_HUB_CACHE"], "models--acme--llama")  # as `llama.cpp -hf` looks for it without a network
snapshot = root / "snapshots" / (root / "refs" / "main").read_text()
(path,) = [path for path in snapshot.rglob("*") if path.is_file() and path.name.endswith(".gguf")]
llm = Llama(str(path), n_ctx=64, n_threads=2, seed=1, verbose=False)
tokens = []
for token in llm.generate(llm.tokenize(b"The file system "), temp=0.0):
    tokens.append(token)
    if len(tokens) == 8:
        break
print(tokens)
"""


@pytest.mark.slow
def test_llama_cpp_finds_and_loads_a_model_on_a_mount(world: World, hub: ScriptedHub, tmp_path: Path) -> None:
    plain = tmp_path / "plain/models--acme--llama"
    (plain / "snapshots/c").mkdir(parents=True)
    (plain / "refs").mkdir()
    (plain / "refs/main").write_text("c")
    write_llama(plain / "snapshots/c/model-f16.gguf")
    hub.add("acme/llama", files_below(plain / "snapshots/c"))
    with world.mount("hf://acme/llama", options=("--layout", "hf")) as mounted:
        assert library(world, LLAMA, **on(mounted)) == library(world, LLAMA, HF_HUB_CACHE=str(plain.parent))


def test_p7_what_the_library_downloaded_is_mounted_in_place_also_when_the_hub_is_gone(
    world: World, hub: ScriptedHub, model: Repository
) -> None:
    snapshot = Path(library(world, DOWNLOAD))
    before, asked = state_of(snapshot.parents[1]), bodies(hub)
    with world.mount("hf://acme/tiny") as mounted:
        assert files_below(mounted.path) == FILES
        assert mounted.counter("bytes_fetched") == 0
        assert bodies(hub) == asked
        assert not any(path.stat().st_size > 100_000 for path in (mounted.cache / "blobs").iterdir()), "not copied"
    hub.endpoint.refuse()
    with world.mount(
        "hf://acme/tiny", env={"HF_HUB_OFFLINE": "1"}, logs="the cache of the Hub's library knows it"
    ) as m:
        assert any("knows it" in note for note in m.status()["notes"])
        assert state_of(snapshot.parents[1]) == before, "nothing was written there"
        shutil.rmtree(snapshot.parents[1])
        assert files_below(m.path) == FILES, "what is open stays"


@pytest.mark.slow
@pytest.mark.usefixtures("model")
def test_p7_a_hub_that_does_not_answer_keeps_nobody_from_what_is_here(world: World, hub: ScriptedHub) -> None:
    library(world, DOWNLOAD)
    hub.endpoint.refuse()
    with world.mount("hf://acme/tiny", options=("--layout", "hf"), logs="knows it|in trouble") as mounted:
        found = json.loads(library(world, FIND, "main", **on(mounted)))
        assert found["main"][1] == sorted(FILES)


@pytest.mark.slow
def test_what_has_changed_on_the_hub_is_fetched_and_the_rest_is_in_place(
    world: World, hub: ScriptedHub, model: Repository
) -> None:
    library(world, DOWNLOAD)
    model.push(NEW)
    asked = hub.count("xorb") + hub.count("bridge")
    with world.mount("hf://acme/tiny") as mounted:
        assert files_below(mounted.path) == FILES | NEW
    assert hub.count("xorb") + hub.count("bridge") == asked


def test_a_pull_fills_the_librarys_cache_and_the_library_is_content(
    world: World, hub: ScriptedHub, model: Repository
) -> None:
    said = world.fusefs("pull", "hf://acme/tiny", "--into-hf-cache", "--cache-dir", world.root / "cache").stdout
    repository = world.root / "hf/hub/models--acme--tiny"
    assert f"{len(FILES)} files in {repository}/snapshots/{model.commit}, {len(FILES)} new" in said
    found = json.loads(library(world, FIND, "main", HF_HUB_OFFLINE="1"))
    assert found["main"] == [model.commit, sorted(FILES)]
    assert json.loads(library(world, VERIFY)) == [len(FILES), [], [], []]
    asked = bodies(hub)
    for cache in ("another", "cache"):
        again = world.fusefs("pull", "hf://acme/tiny", "--into-hf-cache", "--cache-dir", world.root / cache).stdout
        assert f"{len(FILES)} files in" in again
        assert ", 0 new" in again
    assert bodies(hub) == asked
    assert not any(path.stat().st_size > 100_000 for path in (world.root / "another/blobs").iterdir()), "it stays there"


@pytest.mark.slow
@pytest.mark.usefixtures("model")
def test_p9_the_library_and_two_pulls_may_fill_one_cache_at_once(world: World) -> None:
    def pull(cache: str) -> str:
        return world.fusefs("pull", "hf://acme/tiny", "--into-hf-cache", "--cache-dir", world.root / cache).stdout

    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(library, world, DOWNLOAD), pool.submit(pull, "one"), pool.submit(pull, "two")]
        assert all(f"{len(FILES)} files in" in one.result() for one in done[1:])
    assert json.loads(library(world, FIND, "main", HF_HUB_OFFLINE="1"))["main"][1] == sorted(FILES)
    assert json.loads(library(world, VERIFY)) == [len(FILES), [], [], []]
    left = [path.name for path in (world.root / "hf/hub").rglob("*") if path.name.endswith((".incomplete", ".tmp"))]
    assert not left


@pytest.mark.slow
def test_p4_a_pull_mends_what_is_damaged_in_the_librarys_cache(
    world: World, hub: ScriptedHub, model: Repository
) -> None:
    snapshot = Path(library(world, DOWNLOAD))
    blob = (snapshot / "model.safetensors").resolve()
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"damaged")
    done = world.fusefs("pull", "hf://acme/tiny", "--into-hf-cache", "--cache-dir", world.root / "cache")
    assert "is not what its name says" in done.stderr
    assert ", 1 new" in done.stdout
    assert (snapshot / "model.safetensors").read_bytes() == FILES["model.safetensors"]


@pytest.mark.slow
@pytest.mark.usefixtures("model")
def test_p7_a_pull_takes_from_the_librarys_cache_what_that_has(world: World, hub: ScriptedHub) -> None:
    library(world, DOWNLOAD)
    hub.endpoint.refuse()
    asked, cache, off = bodies(hub), world.root / "cache", {"HF_HUB_OFFLINE": "1"}
    done = world.fusefs("pull", "hf://acme/tiny", "--json", "--cache-dir", cache, env=off)
    report: dict[str, Any] = json.loads(done.stdout)
    assert {blob["state"] for blob in report["blobs"]} == {"sealed"}
    assert "knows it" in report["notes"][0]
    assert bodies(hub) == asked
    shutil.rmtree(world.root / "hf")
    with world.mount("hf://acme/tiny", cache=cache, env=off, logs="cached before") as mounted:
        assert files_below(mounted.path) == FILES


@pytest.mark.slow
@pytest.mark.usefixtures("model")
def test_a_mount_is_no_cache_to_look_into(world: World, hub: ScriptedHub) -> None:
    with world.mount("hf://acme/tiny", options=("--layout", "hf")) as mounted:
        asked = bodies(hub)
        with world.mount("hf://acme/tiny", env={"HF_HUB_CACHE": str(mounted.path)}):
            assert bodies(hub) == asked, "to hash it would fetch it"
        failed = world.fusefs(
            "pull", "hf://acme/tiny", "--into-hf-cache", code=2, env={"HF_HUB_CACHE": str(mounted.path)}
        )
        assert "is a mount of fusefs" in failed.stderr


def test_only_models_of_the_hub_have_a_place_there(world: World) -> None:
    (world.root / "mnt").mkdir()
    said = world.fusefs("pull", "llama3.2:1b", "--into-hf-cache", code=2).stderr
    assert "is for models of the Hugging Face Hub" in said
    said = world.fusefs("mount", "llama3.2:1b", world.root / "mnt", "--layout", "hf", code=1).stderr
    assert said.count("\n") == 1
    assert "llama3.2:1b is no model of the Hugging Face Hub" in said


def test_without_the_hub_an_unknown_model_is_one_line_with_what_to_do(world: World) -> None:
    (world.root / "mnt").mkdir()
    said = world.fusefs("mount", "hf://acme/tiny", world.root / "mnt", code=1, env={"HF_HUB_OFFLINE": "1"}).stderr
    assert said.count("\n") == 1
    assert "HF_HUB_OFFLINE is set" in said
    assert "acme/tiny: unset it to ask" in said

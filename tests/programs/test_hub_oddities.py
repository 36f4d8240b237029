"""Repositories of the Hub unlike most: odd names, files without bytes, a tag with a slash, a Hub below a path."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.hub.contents import floats, noise
from tests.hub.origin import edited
from tests.hub.refusal import refusal
from tests.hub.repository import git_oid
from tests.hub.scriptedhub import ScriptedHub
from tests.marks import one_soon
from tests.programs.world import World, run

if TYPE_CHECKING:
    from tests.faulty_registry import Request
    from tests.hub.repository import Repository
    from tests.wire_faults import Answer

FILES = {
    "-dash": b"1",
    ".hidden/.gitattributes": b"2",
    "a b/ü+%41#?&=;,'\"$(x)~@!:[].txt": b"3",
    "back\\slash": b"4",
    "empty.json": b"",
    "日本語/…/w (1).safetensors": floats(300_000),
    "old%2F..bin": noise(70_000, 2),
}
EMPTY = "nothing.bin"
"""A file of git-lfs without a byte, which no writer of today makes."""

BELOW = "/artifactory/api/huggingfaceml/hf-remote"

LIBRARY = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
snapshot = Path(snapshot_download("org/odd", revision="release/v1"))
files = sorted(str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file())
assert all(hf_hub_download("org/odd", path, revision="release/v1") == str(snapshot / path) for path in files)
print(json.dumps([snapshot.name, files]))
"""


@pytest.fixture
def model(hub: ScriptedHub) -> Repository:
    model = hub.add("org/odd", FILES, keeping={"old%2F..bin": "lfs"})
    model.branches["release/v1"] = model.commit
    hub.change("tree", edited(_with_an_empty_one))
    return model


@pytest.fixture
def world(tmp_path: Path, hub: ScriptedHub) -> World:
    """Without a token, and with the scripted Hub as the Hub."""
    world = World(tmp_path)
    world.env = {name: value for name, value in world.env.items() if not name.startswith(("HF_", "HUGGING"))}
    world.env |= hub.environment | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return world


def _with_an_empty_one(entries: list[dict[str, Any]]) -> None:
    sha256 = hashlib.sha256(b"").hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize 0\n".encode()
    lfs = {"oid": sha256, "size": 0, "pointerSize": len(pointer)}
    entries.append({"type": "file", "path": EMPTY, "oid": git_oid(pointer), "size": 0, "lfs": lfs})


def files_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("model")
def test_odd_names_files_without_bytes_and_a_tag_with_a_slash_are_as_they_are_on_the_hub(world: World) -> None:
    with world.mount("hf://org/odd@release%2Fv1") as mounted:
        assert files_below(mounted.path) == {**FILES, EMPTY: b""}
        mounted.wait_sealed()
    (listed,) = json.loads(world.fusefs("ls", "--json", "--cache-dir", mounted.cache).stdout)["models"]
    assert listed["short"].endswith("/models/org/odd@release%2Fv1")
    (world.root / "mnt").mkdir()
    said = world.fusefs("mount", "hf://org/odd@release/v1", world.root / "mnt", code=2).stderr
    assert "a slash in a revision is written %2F" in said


@pytest.mark.slow
def test_the_librarys_cache_has_them_too_mounted_or_filled(world: World, hub: ScriptedHub, model: Repository) -> None:
    def found(**variables: str) -> list[Any]:
        return list(json.loads(run(sys.executable, "-I", "-c", LIBRARY, env=world.env | variables)))

    right = [model.commit, sorted({*FILES, EMPTY})]
    with world.mount("hf://org/odd@release%2Fv1", options=("--layout", "hf")) as mounted:
        assert found(HF_HUB_CACHE=str(mounted.path), HF_HUB_OFFLINE="1") == right
        assert files_below(mounted.path / "models--org--odd/snapshots" / model.commit) == {**FILES, EMPTY: b""}
    world.fusefs("pull", "hf://org/odd@release%2Fv1", "--into-hf-cache", "--cache-dir", world.root / "cache")
    hub.endpoint.refuse()
    assert found(HF_HUB_OFFLINE="1") == right
    assert files_below(world.root / f"hf/hub/models--org--odd/snapshots/{model.commit}") == {**FILES, EMPTY: b""}


@pytest.mark.slow
def test_p10_a_hub_below_a_path_is_asked_there_alone_and_shown_its_token(world: World, hub: ScriptedHub) -> None:
    """As a repository of Artifactory is one.  Its name has the path, so that two at one host are not taken for one."""
    hub.add("org/private", FILES, private=True, readers={"hf_reader"})
    answer = hub.endpoint.answering

    def below(request: Request) -> Answer:
        if not request.path.startswith(BELOW):
            raise refusal(404, "Not found")
        return answer(replace(request, path=request.path.removeprefix(BELOW)))

    hub.endpoint.answering = below
    env = {"HF_ENDPOINT": f"{hub.url}{BELOW}/", "HF_TOKEN": "hf_reader"}
    with world.mount("hf://org/private", env=env) as mounted:
        assert files_below(mounted.path) == FILES
    assert hub.endpoint.authorizations == {"Bearer hf_reader"}
    assert hub.storage.authorizations == set()
    (listed,) = json.loads(world.fusefs("ls", "--json", "--cache-dir", mounted.cache).stdout)["models"]
    assert listed["name"] == f"hf+{hub.url}{BELOW}/models/org/private@main"
    offline = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": ""}
    with world.mount(listed["name"], cache=mounted.cache, env=offline, logs="cached before") as again:
        assert files_below(again.path) == FILES


@pytest.mark.parametrize(
    ("status", "env", "said"),
    one_soon(
        [
            (503, {}, ": Hub responded with status 503: "),
            (404, {}, "is a Hub there (HF_ENDPOINT)?"),
            (0, {"HF_TOKEN": "hf_stranger"}, "the token (HF_TOKEN) is not taken: Invalid credentials"),
            (0, {"HF_ENDPOINT": "hub.example.org"}, "HF_ENDPOINT: invalid Hub 'hub.example.org': want https://host"),
        ]
    ),
)
@pytest.mark.usefixtures("model")
def test_what_a_hub_refuses_is_one_line_about_the_hub(
    world: World, hub: ScriptedHub, status: int, env: dict[str, str], said: str
) -> None:
    if status:
        hub.fault("status", "info", times=None, status=status)
    (world.root / "mnt").mkdir()
    done = world.fusefs("mount", "hf://org/odd", world.root / "mnt", "--timeout", "1s", code=None, env=env)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "registry" not in done.stderr

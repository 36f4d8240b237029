"""What the Hub's library has in its cache: used when it is right, and never touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.engine.local import LocalModels, LocalOpener
from fusefs.errors import BlobQuarantined
from fusefs.values.hubname import HubName
from tests.serve.hub import FIRST, SECOND, tree_of, write_downloaded, write_repository

if TYPE_CHECKING:
    from fusefs.values.digest import Digest

FOLDER = "models--acme--tiny"
FILES = {"config.json": b'{"a": 1}', "onnx/weights.bin": os.urandom(2_500_000), "empty.txt": b""}
DIGESTS = {file.path: file.blob.digest for file in tree_of(FILES).files}


def hub_name(text: str = "hf://acme/tiny") -> HubName:
    name = HubName.read(text)
    assert name is not None
    return name


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    return tmp_path / "hub"


class Look:
    """One look of a command.

    Attributes:
        models: what it found.
        hashed: bytes that were read in order to hash them.
        told: its warnings.
    """

    def __init__(self, hub: Path, *names: str, others: bool = False) -> None:
        self.told: list[str] = []
        opener = LocalOpener(1 << 20, others=others, warn=self.told.append, kept=hub.parent / "kept")
        opener.adopt([hub_name(name) for name in names or ("hf://acme/tiny",)], hub, hub.parent / "cache")
        self.models: LocalModels = opener.models
        self.hashed = opener.bytes_hashed

    def read(self, digest: Digest) -> bytes:
        file = self.models.files[digest]
        return file.read(0, file.blob.size)


def state_of(root: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        found[str(path)] = status.st_mode, status.st_mtime_ns, status.st_ctime_ns
    return found


def test_p1_what_is_there_is_read_in_place_after_one_hash_and_nothing_is_touched(hub: Path) -> None:
    write_downloaded(hub, FOLDER, FILES)
    before = state_of(hub)
    look = Look(hub)
    assert {digest: look.read(digest) for digest in look.models.files} == {
        DIGESTS[path]: data for path, data in FILES.items() if data
    }
    assert look.models.documents[hub_name()].raw == tree_of(FILES).document(), "the same as the Hub's"
    assert look.hashed == len(FILES["onnx/weights.bin"])
    assert Look(hub).hashed == 0, "it is known by now"
    assert state_of(hub) == before


def test_p1_a_blob_with_other_bytes_than_its_name_says_is_not_used_and_told(hub: Path) -> None:
    repository = write_downloaded(hub, FOLDER, FILES)
    for path in ("config.json", "onnx/weights.bin"):
        blob = repository / "blobs" / DIGESTS[path].hex
        blob.write_bytes(bytes(byte ^ 1 for byte in FILES[path]))
    look = Look(hub)
    assert not look.models.files
    assert len(look.told) == 2
    assert all("is not what its name says" in line for line in look.told)


@pytest.mark.logs("has changed since it was hashed")
def test_p2_a_file_that_the_library_removes_stays_readable_and_one_that_changes_is_an_error(hub: Path) -> None:
    repository = write_downloaded(hub, FOLDER, FILES)
    look = Look(hub)
    config, weights = (repository / "blobs" / DIGESTS[path].hex for path in ("config.json", "onnx/weights.bin"))
    config.unlink()
    assert look.read(DIGESTS["config.json"]) == FILES["config.json"]
    with weights.open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(BlobQuarantined):
        look.read(DIGESTS["onnx/weights.bin"])


def test_a_blob_in_the_store_that_repositories_share_is_found(hub: Path) -> None:
    repository = write_downloaded(hub, FOLDER, FILES)
    blob = repository / "blobs" / DIGESTS["onnx/weights.bin"].hex
    shared = hub / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(Path("../../blobs/ab") / shared.name)
    look = Look(hub)
    assert look.read(DIGESTS["onnx/weights.bin"]) == FILES["onnx/weights.bin"]


def test_an_unfinished_download_gives_what_is_there(hub: Path) -> None:
    repository = write_downloaded(hub, FOLDER, FILES)
    (repository / "blobs" / DIGESTS["onnx/weights.bin"].hex).rename(repository / "blobs/0123.abcdef01.incomplete")
    look = Look(hub)
    assert set(look.models.files) == {DIGESTS["config.json"]}
    assert hub_name() in look.models.documents
    assert not look.told


def test_a_cache_without_listings_is_read_by_its_links_and_that_is_known(hub: Path) -> None:
    write_downloaded(hub, FOLDER, FILES, listed=False)
    look = Look(hub)
    assert look.models.partial == {hub_name()}
    names = [layer.name for layer in look.models.documents[hub_name()].layers]
    assert names == sorted(FILES)
    assert look.read(DIGESTS["onnx/weights.bin"]) == FILES["onnx/weights.bin"]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("hf://acme/tiny", True),
        (f"hf://acme/tiny@{FIRST}", True),
        (f"hf://acme/tiny@main:{FIRST}", True),
        (f"hf://acme/tiny@{SECOND}", False),
        ("hf://acme/tiny@v2", False),
        ("hf://acme/other", False),
        ("hf://datasets/acme/tiny", False),
    ],
)
def test_a_name_is_the_revision_that_it_says(hub: Path, name: str, known: bool) -> None:
    write_downloaded(hub, FOLDER, FILES)
    assert (hub_name(name) in Look(hub, name).models.documents) == known


def test_what_our_cache_has_whole_is_not_hashed_there(hub: Path) -> None:
    write_downloaded(hub, FOLDER, FILES)
    digest = DIGESTS["onnx/weights.bin"]
    sealed = hub.parent / "cache/blobs" / digest.file_name
    sealed.parent.mkdir(parents=True)
    sealed.write_bytes(FILES["onnx/weights.bin"])
    look = Look(hub)
    assert digest not in look.models.files
    assert look.hashed == 0


def test_there_need_be_no_cache(hub: Path) -> None:
    look = Look(hub)
    assert look.models == LocalModels()
    assert not look.told


def test_p10_links_that_lead_out_of_the_cache_lead_nowhere(hub: Path, tmp_path: Path) -> None:
    repository = write_downloaded(hub, FOLDER, FILES)
    (tmp_path / "outside").write_bytes(FILES["onnx/weights.bin"])
    blob = repository / "blobs" / DIGESTS["onnx/weights.bin"].hex
    blob.unlink()
    blob.symlink_to(tmp_path / "outside")
    (tmp_path / "main").write_text(FIRST)
    (repository / "refs/v2").symlink_to(tmp_path / "main")
    look = Look(hub, "hf://acme/tiny", "hf://acme/tiny@v2")
    assert set(look.models.files) == {DIGESTS["config.json"]}
    assert set(look.models.documents) == {hub_name()}


@pytest.mark.parametrize("reference", [b"../../../etc", b"", b"\xff" * 40, b"x" * 5000])
def test_p10_a_reference_is_a_commit_and_no_path(hub: Path, reference: bytes) -> None:
    repository = write_downloaded(hub, FOLDER, FILES)
    (repository / "refs/main").write_bytes(reference)
    assert not Look(hub).models.documents


def test_what_others_may_not_read_is_not_shown_to_them(hub: Path) -> None:
    repository = write_downloaded(hub, FOLDER, FILES)
    (repository / "blobs" / DIGESTS["config.json"].hex).chmod(0o600)
    assert DIGESTS["config.json"] in Look(hub).models.files
    assert DIGESTS["config.json"] not in Look(hub, others=True).models.files


def test_links_of_an_older_library_to_names_that_are_no_hashes_are_no_files(hub: Path) -> None:
    snapshot = write_repository(hub, FOLDER, {"weights.bin": b"w"})
    (hub / FOLDER / "blobs/notahash").write_bytes(b"x")
    (snapshot / "odd").symlink_to("../../blobs/notahash")
    (document,) = Look(hub).models.documents.values()
    assert [layer.name for layer in document.layers] == ["weights.bin"]

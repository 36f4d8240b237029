"""Locks: the same lock is the same text, and what is no lock is refused in one line."""

from __future__ import annotations

import json

import pytest

from fusefs.errors import InvalidSetting
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.lockfile import Lock, LockedModel, list_digest
from fusefs.values.names import Name
from fusefs.values.reference import parse_model
from tests.list_registry import list_of, text_of

BLOB, OTHER = Blob(Digest.of(b"blob"), 4), Blob(Digest.of(b"other"), 5)
MANIFEST, TEXT = Digest.of(b"manifest"), Digest.of(b"text")
NAME = Name.parse("http://127.0.0.1:5000/team/model:v1")
LOCK = Lock((LockedModel(NAME.pinned(MANIFEST), (BLOB, OTHER), {BLOB.digest: TEXT}),))


def test_a_lock_is_read_back_and_is_the_same_text() -> None:
    text = LOCK.format()
    assert Lock.parse(text.encode()) == LOCK
    assert Lock.parse(text.encode()).format() == text
    assert json.loads(text) == {
        "version": 1,
        "models": [
            {
                "source": str(NAME),
                "manifest": str(MANIFEST),
                "blobs": [
                    {"digest": str(BLOB.digest), "size": 4, "chunks": str(TEXT)},
                    {"digest": str(OTHER.digest), "size": 5},
                ],
            }
        ],
    }


def test_a_folder_of_files_is_locked_with_their_paths() -> None:
    """So that its digests are known wherever the same files lie, also where nobody has listed them."""
    tree = parse_model("s3://bucket/dir")
    paths = {BLOB.digest: ("a/copy", "one"), OTHER.digest: ("two",)}
    lock = Lock((LockedModel(tree.pinned(MANIFEST), (BLOB, OTHER), {}, paths),))
    assert Lock.parse(lock.format().encode()) == lock
    assert lock.of_source(tree) is lock.models[0]
    assert lock.of_source(tree.pinned(TEXT)) is lock.models[0]
    assert lock.of_source(NAME) is None
    blobs = json.loads(lock.format())["models"][0]["blobs"]
    assert [blob.get("paths") for blob in blobs] == [["a/copy", "one"], ["two"]]


def test_where_its_files_lie_is_kept() -> None:
    model = LockedModel(NAME.pinned(MANIFEST), (BLOB, OTHER), {}, {BLOB.digest: ("a", "b/c")})
    text = Lock((model,)).format()
    assert Lock.parse(text.encode()).models == (model,)
    blobs = json.loads(text)["models"][0]["blobs"]
    assert blobs == [
        {"digest": str(BLOB.digest), "size": 4, "paths": ["a", "b/c"]},
        {"digest": str(OTHER.digest), "size": 5},
    ]


def test_a_name_is_pinned_by_it() -> None:
    assert LOCK.pinned(NAME) == NAME.pinned(MANIFEST)
    assert LOCK.pinned(NAME.pinned(MANIFEST)) == NAME.pinned(MANIFEST)
    assert LOCK.model(NAME.pinned(MANIFEST)) is LOCK.models[0]
    assert LOCK.model(NAME.pinned(TEXT)) is None


@pytest.mark.parametrize(
    "name",
    [NAME.pinned(TEXT), Name.parse("http://127.0.0.1:5000/team/model:v2"), Name.parse("127.0.0.1:5000/team/model:v1")],
)
def test_what_is_not_in_it_is_refused(name: Name) -> None:
    with pytest.raises(InvalidSetting, match="lock"):
        LOCK.pinned(name)


def test_blobs_that_are_not_those_of_the_manifest_are_refused() -> None:
    LOCK.models[0].check([OTHER, BLOB, BLOB])
    for blobs in ([BLOB], [BLOB, OTHER, Blob(TEXT, 4)], [BLOB, Blob(OTHER.digest, 6)]):
        with pytest.raises(InvalidSetting, match="not those of the manifest"):
            LOCK.models[0].check(blobs)


def changed(**fields: object) -> bytes:
    document = json.loads(LOCK.format())
    document["models"][0] |= fields
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"version": 1}',
        b'{"version": 1, "models": []}',
        b'{"version": "1", "models": []}',
        LOCK.format().encode()[:-20],
        changed(manifest="sha256:12"),
        changed(manifest=f"{MANIFEST}\n"),
        changed(source="a//b"),
        changed(source=str(NAME.pinned(MANIFEST))),
        changed(blobs=[{"digest": str(TEXT)}]),
        changed(blobs=[{"digest": str(TEXT), "size": 4, "chunks": "x"}]),
        changed(blobs=[{"digest": str(TEXT), "size": -1}]),
        changed(blobs=[{"digest": str(TEXT), "size": 4, "paths": "x"}]),
        changed(blobs=[{"digest": "version:12", "size": 4}]),
        b"{" * 1_000_000,
        b'{"version":1,"models":' + b"[" * 100_000,
    ],
)
def test_anything_else_is_refused_in_one_line(raw: bytes) -> None:
    with pytest.raises(InvalidSetting, match="not a lock") as caught:
        Lock.parse(raw)
    assert "\n" not in str(caught.value)


def test_a_lock_of_a_later_version_says_so() -> None:
    with pytest.raises(InvalidSetting, match="version 2; this fusefs reads version 1"):
        Lock.parse(b'{"version": 2, "models": {"another": "shape"}}')


@pytest.mark.parametrize("chunk_size", [2, 7, 1000])
def test_the_digest_of_a_list_is_that_of_its_text(chunk_size: int) -> None:
    data = bytes(5000)
    chunks = list_of(data, chunk_size)
    assert list_digest(chunks) == Digest.of(text_of(chunks))
    assert text_of(chunks).decode().splitlines()[-1] == f"{chunks.digest(len(chunks) - 1)} {chunks[len(chunks) - 1]}"
    assert ChunkList.parse(len(data), text_of(chunks)) == chunks


def test_a_repository_of_the_hub_is_locked_at_its_commit() -> None:
    """By the name of a branch nobody could ask for an old tree; who names the branch means what is locked."""
    commit, blob = "ab" * 20, Blob(Digest("git-sha1", "cd" * 20), 7)
    name = parse_model(f"hf://org/m@main:{commit}").pinned(MANIFEST)
    lock = Lock.parse(Lock((LockedModel(name, (blob,), {}),)).format().encode())
    assert str(lock.models[0].source) == f"hf://org/m@main:{commit}"
    assert lock.models[0].blobs == (blob,)
    assert lock.pinned(parse_model("hf://org/m")) == name
    with pytest.raises(InvalidSetting, match="lock"):
        lock.pinned(parse_model("hf://org/m@v2"))

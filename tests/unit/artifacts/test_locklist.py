"""A lock as the list of a folder's files."""

from __future__ import annotations

import pytest

from fusefs.artifacts.listedfile import ListedFile
from fusefs.artifacts.locklist import parse_locked
from fusefs.errors import InvalidManifest
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.lockfile import Lock, LockedModel
from fusefs.values.names import Name

BLOB, OTHER, TEXT = Blob(Digest.of(b"blob"), 4), Blob(Digest.of(b"other"), 5), Digest.of(b"text")
NAME = Name.parse("http://127.0.0.1:5000/team/model:v1").pinned(Digest.of(b"manifest"))
MODEL = LockedModel(NAME, (BLOB, OTHER), {BLOB.digest: TEXT}, {BLOB.digest: ("b", "a/b"), OTHER.digest: ("c",)})


def test_each_path_is_a_file_with_its_size_and_the_list_that_it_must_have() -> None:
    assert parse_locked(Lock((MODEL,)).format().encode()) == (
        ListedFile("a/b", BLOB.digest, 4, chunks=TEXT),
        ListedFile("b", BLOB.digest, 4, chunks=TEXT),
        ListedFile("c", OTHER.digest, 5),
    )


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ((MODEL, MODEL), "list has 2 models, and a folder is one"),
        ((LockedModel(NAME, (BLOB,), {}),), "list names no files"),
        ((LockedModel(NAME, (BLOB,), {}, {BLOB.digest: ("../b",)}),), "invalid name '../b'"),
        ((LockedModel(NAME, (BLOB, OTHER), {}, {BLOB.digest: ("b",), OTHER.digest: ("b",)}),), "two digests"),
    ],
)
def test_p10_what_is_no_list_of_a_folder_is_refused(models: tuple[LockedModel, ...], said: str) -> None:
    with pytest.raises(InvalidManifest, match=said):
        parse_locked(Lock(models).format().encode(), "list")
    with pytest.raises(InvalidManifest, match="list: not a lock"):
        parse_locked(b"{}", "list")

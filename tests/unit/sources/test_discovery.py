"""What a server lists where nobody has written a list: names of strangers, and versions that may be told apart."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fusefs.artifacts.manifest import Manifest
from fusefs.errors import ModelNotFound, NotFound, SourceError
from fusefs.sources.tree.treeserver import Found, Seen, Sums
from fusefs.sources.tree.treesource import TreeSource
from fusefs.values.digest import Digest
from fusefs.values.reference import parse_model

if TYPE_CHECKING:
    from fusefs.sources.tree.bucketbody import BucketBody
    from fusefs.values.chunks import Blob, Chunk

NAME = parse_model("s3://bucket/dir")
SUM = Sums(Digest.of(b"one"))


class Listing:
    """A bucket that has nothing but a listing."""

    def __init__(self, *found: Found, label: str = "s3://bucket") -> None:
        self.label = self.host = label
        self.web = False
        self.ignores_range = False
        self._found = found

    def at(self, folder: str, path: str) -> str:
        return f"{folder}{path}".removeprefix("/")

    def fetch(self, place: str, limit: int) -> bytes:
        raise NotFound(place, source=self.label)

    def look(self, place: str) -> Seen:
        return Seen(7, '"looked"')

    def found(self, folder: str, limit: int) -> list[Found]:
        return list(self._found)

    def listed(self, folder: str, limit: int) -> dict[str, Seen]:
        return {self.at(folder, one.path): one.seen for one in self._found if one.seen is not None}

    def open(self, place: str, blob: Blob, chunk: Chunk, seen: Seen | None) -> tuple[BucketBody, Seen]:
        raise NotFound(place, source=self.label)

    def refresh(self) -> None: ...

    def in_flight(self) -> list[str]:
        return []

    def close(self) -> None: ...


def document(*found: Found, label: str = "s3://bucket", unproved: bool = True) -> bytes:
    with closing(TreeSource(Listing(*found, label=label), unproved=unproved)) as source:
        return source.manifest(NAME)


def digests(*found: Found) -> dict[str, str]:
    return {layer.name: str(layer.blob.digest) for layer in Manifest.parse(document(*found)).layers}


def test_a_file_has_the_digest_that_its_server_keeps_else_the_name_of_its_version() -> None:
    found = digests(Found("one", Seen(3, '"a"'), SUM), Found("two", Seen(3, '"b"')), Found("none", Seen(0, '"c"')))
    assert found["one"] == str(SUM.digest)
    assert found["none"] == str(Digest.of(b"")), "of nothing everybody knows the digest"
    assert found["two"].startswith("version:")


@pytest.mark.parametrize(
    "other",
    [
        Found("f", Seen(3, '"b"')),
        Found("f", Seen(4, '"a"')),
        Found("f", Seen(3, "", "yesterday")),
    ],
    ids=["etag", "size", "time"],
)
def test_p2_another_version_is_another_blob(other: Found) -> None:
    assert digests(other) != digests(Found("f", Seen(3, '"a"')))


def test_p2_the_same_version_elsewhere_is_another_blob() -> None:
    """Two servers may give two files one ETag."""
    one = Found("f", Seen(3, '"a"'))
    assert document(one) == document(one)
    assert document(one) != document(one, label="s3://other")


@pytest.mark.logs("left out")
@pytest.mark.parametrize("path", ["../f", "a//b", "/f", "a/./b", "\0", "x" * 300, "a/../b"])
def test_p10_a_name_that_no_file_can_have_is_left_out(path: str) -> None:
    assert list(digests(Found("good", Seen(3, '"a"')), Found(path, Seen(3, '"a"')))) == ["good"]


def test_folders_and_chunk_lists_are_no_files() -> None:
    seen = Seen(3, '"a"')
    assert list(digests(Found("f", seen), Found("sub/", seen), Found("f.chunksums", seen))) == ["f"]


def test_what_the_listing_does_not_say_is_asked_for() -> None:
    assert Manifest.parse(document(Found("f"))).layers[0].blob.size == 7


def test_p2_a_file_whose_versions_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(SourceError, match="neither an ETag nor a time"):
        document(Found("f", Seen(3)))


def test_p1_with_nothing_that_proves_a_file_it_is_no_model_for_who_does_not_allow_that() -> None:
    unknown = Found("f", Seen(3, '"a"'))
    with pytest.raises(ModelNotFound, match="keeps no sha256 of its 1 files"):
        document(unknown, unproved=False)
    with pytest.raises(ModelNotFound, match="keeps no sha256 of its 2 files"):
        document(unknown, Found("none", Seen(0, '"b"')), unproved=False)
    assert document(unknown, Found("one", Seen(3, '"a"'), SUM), unproved=False)


def test_a_folder_of_nothing_is_no_model() -> None:
    with pytest.raises(ModelNotFound, match="and no file"):
        document()


class WithSums(Listing):
    """A folder with a list that has no sizes; counts the files whose size is asked for."""

    def __init__(self, *found: Found) -> None:
        super().__init__(*found)
        self.looked: list[str] = []

    def fetch(self, place: str, limit: int) -> bytes:
        if not place.endswith("SHA256SUMS"):
            raise NotFound(place, source=self.label)
        return b"".join(b"%064x  %03d.bin\n" % (number, number) for number in range(200))

    def look(self, place: str) -> Seen:
        self.looked.append(place)
        return super().look(place)


def test_sizes_of_many_files_come_with_the_listing_of_a_bucket_and_only_what_is_not_in_it_is_asked_for() -> None:
    files = WithSums(*(Found(f"{number:03}.bin", Seen(number, '"x"')) for number in range(199)))
    with closing(TreeSource(files)) as source:
        layers = Manifest.parse(source.manifest(NAME)).layers
    assert [layer.blob.size for layer in layers] == [*range(199), 7]
    assert [place.rpartition("/")[2] for place in files.looked] == ["199.bin"]

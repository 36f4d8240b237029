"""README.md, §4: the cache directory, its blobs and its names."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.cache.disk import DiskCache
from fusefs.errors import (
    CacheError,
    CacheFull,
    DigestMismatch,
    InvalidDigest,
    InvalidName,
    NotCached,
    SizeMismatch,
    SourceError,
    UnexpectedEnd,
)
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from tests.chunkers import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = b"hello, world"
DIGEST = Digest.of(DATA)
NAME = Name.parse("h/n/m:t")


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache.open(tmp_path / "cache")


def leftovers(cache: DiskCache) -> list[Path]:
    """Files that are neither a blob nor a manifest."""
    return [path for path in (cache.root / "partial").iterdir() if path.is_file()]


# open


def test_an_empty_directory_name_is_called_that() -> None:
    with pytest.raises(CacheError, match="empty directory name"):
        DiskCache.open("")


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_plain_file_is_not_a_directory(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CacheError, match="not a directory"):
        DiskCache.open(tmp_path / "file" / below)


def test_open_creates_what_a_store_consists_of(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b"
    DiskCache.open(root)
    assert (root / "blobs").is_dir()
    assert (root / "manifests").is_dir()
    DiskCache.open(root)  # and again


def test_open_says_which_directory_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(name: str, flags: int, *args: int, **kwargs: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return real(name, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CacheError, match=r"cannot be written .*--cache-dir"):
        DiskCache.open(tmp_path / "cache")


def test_open_sweeps_up_after_the_dead_and_leaves_the_living_alone(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    old, young = tmp_path / "partial" / ".tmp-old", tmp_path / "partial" / ".tmp-young"
    for path in (old, young):
        path.write_text("x")
    os.utime(old, (1, 1))
    DiskCache.open(tmp_path)
    assert leftovers(cache) == [young]


# path, get


def test_the_path_of_a_digest_is_absolute_clean_and_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = DiskCache.open("./x/../cache//").path(DIGEST)
    assert path == tmp_path / "cache" / "blobs" / f"sha256-{DIGEST.hex}"
    assert str(path) == os.path.normpath(path)


def test_get_says_size_and_time(cache: DiskCache) -> None:
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    os.utime(cache.path(DIGEST), (1000, 1000))
    entry = cache.get(DIGEST)
    assert (entry.digest, entry.size, entry.mtime) == (DIGEST, len(DATA), 1000)


def make_nothing(path: Path) -> None:
    assert not path.exists()


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "make", [make_nothing, make_empty, Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc")]
)
def test_what_is_not_a_blob_is_not_found(cache: DiskCache, make: Callable[[Path], None]) -> None:
    make(cache.path(DIGEST))
    with pytest.raises(NotCached):
        cache.get(DIGEST)


def test_the_zero_digest_is_not_found(cache: DiskCache) -> None:
    zero = Digest("sha256", "0" * 64)
    cache.path(zero).write_bytes(b"x")
    with pytest.raises(NotCached):
        cache.get(zero)


# put


def test_put_stores_a_blob_that_nobody_can_write(cache: DiskCache) -> None:
    cache.put(DIGEST, Bytes(DATA, 5), len(DATA))
    assert cache.path(DIGEST).read_bytes() == DATA
    assert stat.S_IMODE(cache.path(DIGEST).stat().st_mode) == 0o400
    assert not leftovers(cache)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"hello, warld", DigestMismatch),
        (DATA[:11], UnexpectedEnd),
        (b"", UnexpectedEnd),
        (DATA + b"!", SizeMismatch),
        (DATA * 1000, SizeMismatch),
    ],
)
def test_f12_put_of_wrong_content_leaves_nothing(cache: DiskCache, data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        cache.put(DIGEST, Bytes(data), len(DATA))
    assert not cache.path(DIGEST).exists()
    assert not leftovers(cache)


def test_put_from_a_reader_that_fails_leaves_nothing(cache: DiskCache) -> None:
    first = Bytes(DATA[:5])

    def reader(buffer: memoryview) -> int:
        if got := first(buffer):
            return got
        raise SourceError("the cable", source="test")

    with pytest.raises(SourceError, match="the cable"):
        cache.put(DIGEST, reader, len(DATA))
    assert not cache.path(DIGEST).exists()
    assert not leftovers(cache)


@pytest.mark.parametrize("call", ["pwrite", "fsync", "fchmod", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_f12_every_write_that_fails_is_noticed(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(CacheFull if number == errno.ENOSPC else CacheError):
            cache.put(DIGEST, Bytes(DATA), len(DATA))
    assert not cache.path(DIGEST).exists()
    assert not leftovers(cache)
    cache.put(DIGEST, Bytes(DATA), len(DATA))


def test_a_short_write_goes_on_where_it_stopped(cache: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, off: pwrite(fd, data[:3], off))
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    assert cache.path(DIGEST).read_bytes() == DATA


def test_a_write_of_nothing_is_a_full_disk_and_no_endless_loop(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", lambda fd, data, off: 0)
    with pytest.raises(CacheFull):
        cache.put(DIGEST, Bytes(DATA), len(DATA))


def test_a_second_put_is_a_no_op_that_keeps_the_mtime(cache: DiskCache) -> None:
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    os.utime(cache.path(DIGEST), (1000, 1000))
    again = Bytes(DATA)
    cache.put(DIGEST, again, len(DATA))
    assert not again.taken
    assert cache.get(DIGEST).mtime == 1000


def test_f9_a_put_that_fails_leaves_a_good_blob_alone(cache: DiskCache) -> None:
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    for wrong in (b"", b"x" * 100, DATA[:3]):
        with pytest.raises((UnexpectedEnd, DigestMismatch, SizeMismatch)):
            cache.put(DIGEST, Bytes(wrong), 99)
    assert cache.path(DIGEST).read_bytes() == DATA


def test_put_of_nothing_is_no_error_but_get_does_not_find_it(cache: DiskCache) -> None:
    cache.put(Digest.of(b""), Bytes(b""), 0)
    with pytest.raises(NotCached):
        cache.get(Digest.of(b""))


# import


def test_import_ends_under_its_digest(cache: DiskCache) -> None:
    assert cache.import_blob(Bytes(DATA), len(DATA)) == DIGEST
    assert cache.path(DIGEST).read_bytes() == DATA


@pytest.mark.parametrize(("size", "error"), [(11, SizeMismatch), (13, UnexpectedEnd)])
def test_import_of_another_size_leaves_nothing(cache: DiskCache, size: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        cache.import_blob(Bytes(DATA), size)
    assert not leftovers(cache)
    assert not list((cache.root / "blobs").iterdir())


def test_import_uses_no_folder_but_the_caches_own(cache: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename works only within one file system, so the system's temporary directory will not do."""
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    assert cache.import_blob(Bytes(DATA), len(DATA)) == DIGEST


# read


def test_a_blob_that_has_changed_on_disk_is_not_read_and_can_be_put_again(cache: DiskCache) -> None:
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    cache.path(DIGEST).chmod(0o644)
    cache.path(DIGEST).write_bytes(b"hello, warld")
    with pytest.raises(DigestMismatch):
        cache.read(DIGEST, 100)
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    assert cache.read(DIGEST, 100) == DATA


def test_read_is_bounded(cache: DiskCache) -> None:
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    with pytest.raises(NotCached, match="longer than 11"):
        cache.read(DIGEST, 11)


# link, unlink, links


def test_a_link_to_a_missing_blob_is_not_found_and_leaves_no_debris(cache: DiskCache) -> None:
    with pytest.raises(NotCached):
        cache.link(NAME, DIGEST)
    assert not list((cache.root / "manifests").iterdir())
    assert not leftovers(cache)


def test_a_link_stands_for_its_blob(cache: DiskCache) -> None:
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    cache.link(NAME, DIGEST)
    assert (cache.root / "manifests/h/n/m/t").read_bytes() == DATA
    assert cache.resolve("h/n/m:t") == DIGEST


def test_the_same_content_again_keeps_the_mtime(cache: DiskCache) -> None:
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    cache.link(NAME, DIGEST)
    os.utime(cache.root / "manifests/h/n/m/t", (1000, 1000))
    cache.link(NAME, DIGEST)
    assert cache.links.mtime(NAME) == 1000


def test_other_content_replaces_the_link(cache: DiskCache) -> None:
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    other = cache.import_blob(Bytes(b"other"), 5)
    cache.link(NAME, DIGEST)
    cache.link(NAME, other)
    assert cache.resolve("h/n/m:t") == other


def test_unlink_says_whether_it_was_there(cache: DiskCache) -> None:
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    cache.link(NAME, DIGEST)
    assert cache.unlink(NAME) is True
    assert cache.unlink(NAME) is False
    assert not list((cache.root / "manifests").iterdir()), "no empty folders: ollama trips over them"
    assert cache.links.mtime(NAME) is None


def test_unlink_leaves_other_tags_alone(cache: DiskCache) -> None:
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    for text in ("h/n/m:t", "h/n/m:u"):
        cache.link(Name.parse(text), DIGEST)
    cache.unlink(NAME)
    assert [f"{name.host}/{name.namespace}/{name.model}:{name.tag}" for name in cache.links] == ["h/n/m:u"]


def test_links_are_all_names(cache: DiskCache) -> None:
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    for text in ("h/n/m:t", "h/n/m:u", "host:80/n/m:t"):
        cache.link(Name.parse(text), DIGEST)
    stray = cache.root / "manifests/h/n/-bad/t"
    stray.parent.mkdir()
    stray.write_bytes(b"{}")
    assert ["/".join(name.path) for name in cache.links] == ["h/n/m/t", "h/n/m/u", "host:80/n/m/t"]


def test_names_of_any_depth_lie_beside_each_other(cache: DiskCache) -> None:
    texts = ["h/a/b:t", "oci://h/a:t", "h/a/b/c:t", "h/a/b/c/d:t", "h/a.b/c:t", "h/a/b:" + "t" * 128]
    digests = [cache.import_blob(Bytes(text.encode()), len(text)) for text in texts]
    for text, digest in zip(texts, digests, strict=True):
        cache.link(Name.parse(text), digest)
    assert sorted(map(str, cache.links)) == sorted(str(Name.parse(text)) for text in texts)
    for text, digest in zip(texts, digests, strict=True):
        assert Digest.of(cache.links.read(Name.parse(text))) == digest
    for text in texts:
        assert cache.unlink(Name.parse(text)) is True
    assert not list((cache.root / "manifests").iterdir())


def test_names_compare_without_case_and_keep_it_as_first_written(cache: DiskCache) -> None:
    cache.put(DIGEST, Bytes(DATA), len(DATA))
    other = cache.import_blob(Bytes(b"other"), 5)
    cache.link(NAME, DIGEST)
    cache.link(Name.parse("H/N/M:T"), other)
    assert ["/".join(name.path) for name in cache.links] == ["h/n/m/t"]
    assert cache.resolve("H/n/M:t") == other
    assert cache.unlink(Name.parse("H/N/m:T")) is True
    assert not list(cache.links)


# resolve


def test_resolve_takes_a_digest_without_looking(cache: DiskCache) -> None:
    assert cache.resolve(f"h/n/m:t@{DIGEST}") == DIGEST
    assert cache.resolve(f"@{DIGEST}") == DIGEST


def test_resolve_of_an_unknown_name_is_not_found(cache: DiskCache) -> None:
    with pytest.raises(NotCached):
        cache.resolve("h/n/m:t")


def test_a_manifest_written_by_hand_is_adopted_as_a_blob(cache: DiskCache) -> None:
    path = cache.root / "manifests/h/n/m/t"
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    assert cache.resolve("h/n/m:t") == DIGEST
    assert cache.read(DIGEST, 100) == DATA


@pytest.mark.parametrize("text", ["", "m", "m:t", "n/m:t", "h/n/m", "h/n/m/t", "%/%/%/%", "h/n/m:t:u"])
def test_what_is_not_fully_qualified_is_invalid(cache: DiskCache, text: str) -> None:
    with pytest.raises(InvalidName):
        cache.resolve(text)


@pytest.mark.parametrize("text", ["h/n/m:t@sha256-1", "@sha256-1", "h/n/m:t@", "@"])
def test_a_wrong_digest_is_invalid(cache: DiskCache, text: str) -> None:
    with pytest.raises(InvalidDigest):
        cache.resolve(text)

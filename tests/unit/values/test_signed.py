"""Which models are what was signed: names, digests, sizes, and what may be there besides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fusefs.errors import NotSigned
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.digest import GIT_SHA1, Digest
from fusefs.values.names import Name
from fusefs.values.selection import Selection
from fusefs.values.signed import Signed, SignedFile
from fusefs.values.snapshot import File, Slice, Snapshot
from fusefs.values.voucher import Proof, Voucher

A, B = b"first file", b"0123456789abcdef"
OWN = Digest.of(b"the signature")
BOTH = {"a": SignedFile(Digest.of(A)), "sub/b": SignedFile(Digest.of(B))}
SHARDS = ChunkList.from_pairs(16, [(Digest.of(B[:10]), Chunk(0, 9)), (Digest.of(B[10:]), Chunk(10, 15))])
BLOB = Blob(Digest.of(B), 16)


def signed(files: dict[str, SignedFile], **more: object) -> Signed:
    whole = Signed(files, (".git",), Voucher(Proof.SIGNED, "somebody"), "model.sig", OWN)
    return replace(whole, **more)  # type: ignore[arg-type]


def whole(path: str, data: bytes) -> File:
    return File(path, Slice.whole(Blob(Digest.of(data), len(data))))


def model(*files: File) -> Snapshot:
    return Snapshot(Name.parse("m"), Digest.of(b"m"), files, (), b"")


def test_p1_the_same_files_are_what_was_signed() -> None:
    assert signed(BOTH).unread(model(whole("sub/b", B), whole("a", A))) == []
    assert signed(BOTH).unread(model(whole("sub/b", B), File("a", A))) == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([whole("a", A)], "'sub/b' is in the signature model.sig, and not here"),
        ([whole("x", A)], "none of the 2 files in the signature model.sig is here: it is another model's"),
        (
            [whole("a", B), whole("sub/b", B)],
            f"'a' is not what the signature model.sig says: .*{Digest.of(A)} was signed",
        ),
        (
            [whole("a", A), whole("sub/b", B), whole("c.py", A)],
            "'c.py' is not in the signature .*--ignore-unsigned-files",
        ),
        ([whole("a", A), whole("sub/b", B), whole("c", A), whole("d", b"")], "'c' and 1 more are not in the signature"),
        ([whole("a", A), whole("sub/b", B), File("m.json", b"{}")], "'m.json' is not in"),
        (
            [whole("a", A), whole("sub/b", B), whole(".gitx", A), whole("sub/.git/x", A)],
            "'.gitx' and 1 more are not in",
        ),
    ],
)
def test_p1_another_model_is_refused_with_the_first_difference(files: list[File], said: str) -> None:
    with pytest.raises(NotSigned, match=said) as caught:
        signed(BOTH).unread(model(*files))
    assert "\n" not in str(caught.value)


def test_what_was_left_out_on_purpose_may_be_there() -> None:
    extra = [whole(".git", A), whole(".git/x/y", A), whole("notes/x", A)]
    files = [whole("a", A), whole("sub/b", B), *extra]
    assert signed(BOTH, ignored=(".git", "notes")).unread(model(*files)) == []
    assert signed(BOTH, ignore_unsigned=True).unread(model(*files, whole("z", A))) == []
    with pytest.raises(NotSigned, match="and not here"):
        signed(BOTH, ignore_unsigned=True).unread(model(whole("a", A), whole("z", A)))


def test_p1_of_a_selection_what_is_chosen_is_compared() -> None:
    chosen = signed(BOTH, selection=Selection(include=("sub/*",)))
    assert chosen.unread(model(whole("sub/b", B), whole("a", B), whole("c", A))) == []
    for files in ((whole("sub/b", A),), (whole("a", A),), (whole("sub/b", B), whole("sub/c", A))):
        with pytest.raises(NotSigned):
            chosen.unread(model(*files))
    with pytest.raises(NotSigned, match=r"'c\.py' is not in"):
        signed(BOTH, selection=Selection(include=("*.py",))).unread(model(whole("a", A), whole("c.py", A)))


def test_the_signature_itself_may_lie_among_the_files() -> None:
    own = File("model.sig", Slice.whole(Blob(OWN, 13)))
    assert signed(BOTH).unread(model(whole("a", A), whole("sub/b", B), own)) == []


def test_a_model_of_one_file_is_signed_without_a_name() -> None:
    alone = signed({".": SignedFile(Digest.of(A))})
    assert alone.unread(model(whole("model.gguf", A))) == []
    with pytest.raises(NotSigned, match=r"'model.gguf' is not what"):
        alone.unread(model(whole("model.gguf", B)))
    with pytest.raises(NotSigned):
        alone.unread(model(whole("model.gguf", A), whole("b", B)))


def test_p1_of_shards_the_lists_are_given_and_the_sizes_compared() -> None:
    by_shards = signed({"b": SignedFile(None, SHARDS)})
    there = model(whole("b", B))
    assert [file.path for file, _ in by_shards.unread(there)] == ["b"]
    assert by_shards.lists(there) == {BLOB: SHARDS}
    with pytest.raises(NotSigned, match="it has 15 bytes, and 16 were signed"):
        by_shards.unread(model(whole("b", B[:15])))


def test_one_shard_is_the_digest_of_its_file() -> None:
    one = SignedFile(Digest.of(B), ChunkList.from_pairs(16, [(Digest.of(B), Chunk(0, 15))]))
    assert signed({"b": one}).lists(model(whole("b", B))) == {}
    with pytest.raises(NotSigned, match="was signed"):
        signed({"b": one}).unread(model(whole("b", B[::-1])))


def test_p1_copies_that_were_signed_with_different_shards_are_refused() -> None:
    other = ChunkList.from_pairs(16, [(Digest.of(A), Chunk(0, 9)), (Digest.of(B[10:]), Chunk(10, 15))])
    both = signed({"b": SignedFile(None, SHARDS), "c": SignedFile(None, other)})
    with pytest.raises(NotSigned, match="signed differently"):
        both.lists(model(whole("b", B), whole("c", B)))


def test_empty_files_have_no_shard() -> None:
    files = model(whole("b", B), whole("none", b""), File("nothing", b""))
    assert signed({"b": SignedFile(None, SHARDS)}, empty_too=False).lists(files) == {BLOB: SHARDS}
    with pytest.raises(NotSigned, match="'none' and 1 more"):
        signed({"b": SignedFile(None, SHARDS)}).lists(files)


def test_p1_shards_of_bytes_that_are_known_are_compared_at_once() -> None:
    by_shards = signed({"b": SignedFile(None, SHARDS)})
    assert by_shards.unread(model(File("b", B))) == []
    with pytest.raises(NotSigned, match="its bytes 10-15 are others"):
        by_shards.unread(model(File("b", B[:10] + b"ABCDEF")))


def test_p1_a_file_of_another_kind_of_digest_must_be_read() -> None:
    foreign = File("b", Slice.whole(Blob(Digest(GIT_SHA1, "0" * 40), 16)))
    assert [file for file, _ in signed({"b": SignedFile(Digest.of(B))}).unread(model(foreign))] == [foreign]


def test_a_part_of_an_archive_must_be_read() -> None:
    part = File("b", Slice(Blob(Digest.of(b"tar"), 100), 10, 16))
    assert [file for file, _ in signed({"b": SignedFile(Digest.of(B))}).unread(model(part))] == [part]
    assert signed({"b": SignedFile(None, SHARDS)}).lists(model(part)) == {}


def test_a_signer_counts_where_he_was_named_and_for_less_than_a_proof() -> None:
    bound, store = Voucher(Proof.BOUND), Voucher(Proof.STORE, "dir")
    one, other = Voucher(Proof.SIGNED, "one"), Voucher(Proof.SIGNED, "other")
    assert one.decides(bound_only=False)
    assert not one.decides(bound_only=True)
    assert bound.betters(one)
    assert not one.betters(bound)
    assert one.betters(store)
    assert not store.betters(one)
    assert one.betters(other)
    assert other.betters(one)
    assert not one.betters(one)

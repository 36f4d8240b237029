"""What a signature makes of a mount: what is refused before it, and by which lists it is served."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fusefs.engine.demands import Demands
from fusefs.errors import NotSigned
from fusefs.fetch.listchoice import ListChoice
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.digest import GIT_SHA1, Digest
from fusefs.values.names import Name
from fusefs.values.settings import Settings
from fusefs.values.signed import Signed, SignedFile
from fusefs.values.snapshot import File, Slice, Snapshot
from fusefs.values.voucher import BOUND, Proof, Voucher

DATA = b"0123456789abcdef"
BLOB = Blob(Digest.of(DATA), 16)
SHARDS = ChunkList.from_pairs(16, [(Digest.of(DATA[:10]), Chunk(0, 9)), (Digest.of(DATA[10:]), Chunk(10, 15))])
SIGNER = Voucher(Proof.SIGNED, "somebody")


def signed(file: SignedFile) -> Signed:
    return Signed({"a": file}, (), SIGNER, "model.sig", Digest.of(b""))


def model(content: Slice) -> Snapshot:
    return Snapshot(Name.parse("m"), Digest.of(b"m"), (File("a", content),), (content.blob,), b"")


@pytest.mark.parametrize(
    "content",
    [Slice(Blob(Digest.of(b"tar"), 100), 10, 16), Slice.whole(Blob(Digest(GIT_SHA1, "0" * 40), 16))],
    ids=["part", "foreign"],
)
@pytest.mark.parametrize("file", [SignedFile(BLOB.digest), SignedFile(None, SHARDS)], ids=["whole", "shards"])
def test_p1_what_only_its_bytes_could_tell_is_not_mounted(content: Slice, file: SignedFile) -> None:
    demands = Demands(signed=signed(file))
    if content.is_whole:
        demands.check(model(content))  # each shard is compared when it is read, and a foreign name before the mount
        return
    with pytest.raises(NotSigned, match="`fusefs verify` with the same options reads and compares it"):
        demands.check(model(content))
    replace(demands, parts_later=True).check(model(content))


def test_p1_a_list_that_is_kept_from_a_signature_counts_where_the_signer_is_named() -> None:
    """Who mounts the model without a word about him has not said that he believes him."""
    choice = ListChoice(BLOB, Settings())
    assert not choice.counts((SHARDS, SIGNER))
    assert choice.bound_only_of(SIGNER)
    choice.sign(Voucher(Proof.SIGNED, "somebody else"), SHARDS)
    assert not choice.counts((SHARDS, SIGNER))
    choice.sign(SIGNER, SHARDS)
    assert choice.counts((SHARDS, SIGNER))
    assert choice.counts((SHARDS, BOUND))


@pytest.mark.parametrize("lists", [None, "bound", "registry"])
def test_p1_a_signature_believes_no_registry_unless_that_is_wanted(lists: str | None) -> None:
    choice = ListChoice(BLOB, replace(Settings(), lists=lists))  # type: ignore[arg-type]
    registry = Voucher(Proof.REGISTRY, "registry")
    choice.sign(SIGNER)
    assert choice.bound_only == (lists != "registry")
    assert choice.signed is None
    assert not choice.counts((SHARDS, registry)) or lists == "registry"
    assert choice.counts((SHARDS, BOUND))


def test_an_archive_is_refused_before_it_is_fetched() -> None:
    demands = Demands(signed=signed(SignedFile(BLOB.digest)))
    with pytest.raises(NotSigned, match="archive"):
        demands.check_layers("m", archives=True)
    demands.check_layers("m", archives=False)
    for other in (Demands(), replace(demands, parts_later=True)):
        other.check_layers("m", archives=True)
    assert demands.signed is not None
    Demands(signed=replace(demands.signed, ignore_unsigned=True)).check_layers("m", archives=True)

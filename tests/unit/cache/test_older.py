"""Caches as version 0.1 left them: its files, as its code has written them, go on to be what they were.

The texts are zlib in base85.  The blob is `some_bytes(1000)` in chunks of 100 bytes, the boot that of `BOOT`.
"""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.sealing import seal
from fusefs.cache.disk import DiskCache
from fusefs.values.chunks import ChunkList
from fusefs.values.voucher import Proof, Voucher
from tests.chunkers import blob_of, fill, opened, place_of, reboot
from tests.fake_source import chunk_list
from tests.world import some_bytes

if TYPE_CHECKING:
    from pathlib import Path

DATA = some_bytes(1000)
BOOT = 7

LISTED_CHUNKS = (
    r"c-l)VEly1<)=kbR&C4!UFyi{)V9X;Za@|nw2V?tuqj!HZZL}*(SZ~>fJwE+&N7^2X7t9P`zy+Zg7#Rf^zRJwtc=+<1)!Vd5f;-pR"
    r"oh(XC&nzw}s?<xZNX#wBNrft9NP*HPptKGngq{GUzd-2-CJ4O;N-IF^Y=P1}yQO^U9ba-iOA5X}t^B06`$qG2mwREJ+@jgL7KV6l"
    r"`T6f-{7u%Dj@N3HwnraLIQWo-U4EUWi0v+xY0c(#y4S*<_p0(v3fnb-Yf}GnD{Jo^PhDPgnWWvxe;Q{dSgvzTzwqk)-=A|5Rx2o;"
    r"e6nWy9)UBN+%MOa2;_FZXR(<$UvuiZqYoQPleOA@2s~HJaF{tU!OUq&%CnAp2N_C_#n(UBrF58EIGz2O)uo4<@^37#=FyzUr7HFR"
    r"bNV(ncH87PhbyEjxvtE&%-GmBT}w^$Cqtt_U&*&+J6Hl<@$%%)*tshvVTU5W<{8^{S?|4_4lGXGbY=0T8i~{kH@{2I*~1o~=H?#R"
    r"_V?}MR*zrDufAS2^QwbPG0W9yrzLLAbbGSVEVbpT@yxK->mG%xTQ-*+yri$__Pil$tK{;c>8s=pOIlCf3;@Rr#&i"
)
"""Vouched for by `registry.example`."""
LISTED_MAP = (
    r"c-l)VEly1<*3C^UP%z|TU|>kmv?>TM+qk4^s;z87z|-|B=7jn2q+R*9L#X`q6{ngVFPIs?fD1w~d~h)45fr&@DEEW0eZJAVznM1L"
    r"l_jjV?86?P{<$M<j|Dp#U_b+mjEqng0AN5QLj"
)
"""Chunks 0 to 2 present."""
UNLISTED_MAP = (
    r"c-l)VEly1<*3C^UP%z|TU|>kmv?>TM+qk4^s;z87z|-|B=7jn2q+R*9L#X`q6{ngVFPIs?fD1w~@XZirejXI#JNNW)<M0_zWU@QI"
    r"MLh{K<$U}&if2#Hg9+?tfB_9KLjaHk0E}BD1O"
)
"""Chunks 0 to 6 arrived; such a blob had no file of its chunks."""


def left(root: Path, upto: int, chunk_map: str, chunks: str = "") -> None:
    """Lay an old cache with the first `upto` bytes."""
    DiskCache.open(root)
    place = place_of(root, DATA)
    place.folder.mkdir(parents=True)
    place.data.write_bytes(DATA[:upto] + bytes(1000 - upto))
    place.map.write_bytes(zlib.decompress(base64.b85decode(chunk_map)))
    if chunks:
        place.chunks.write_bytes(zlib.decompress(base64.b85decode(chunks)))


def test_a_list_of_before_is_read_and_its_marks_hold_in_the_same_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(tmp_path, 300, LISTED_MAP, LISTED_CHUNKS)
    reboot(monkeypatch, BOOT)
    pinned = DiskCache.open(tmp_path).pinned(blob_of(DATA))
    assert pinned == (chunk_list(DATA, 100), Voucher(Proof.REGISTRY, "registry.example"))
    with opened(tmp_path, DATA) as chunker:
        assert chunker.missing(0, 1000) == list(range(3, 10))
        assert chunker.pread(0, 300) == DATA[:300]


def test_p5_in_another_boot_they_are_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left(tmp_path, 250, LISTED_MAP, LISTED_CHUNKS)
    reboot(monkeypatch, BOOT + 1)
    with opened(tmp_path, DATA) as chunker:
        assert [chunker.claimed(i) and chunker.prove(i) for i in range(4)] == [True, True, False, False]


def test_its_list_is_written_as_it_was(tmp_path: Path) -> None:
    """So that the version before can use the cache again."""
    cache, voucher = DiskCache.open(tmp_path), Voucher(Proof.REGISTRY, "registry.example")
    cache.chunker(blob_of(DATA), chunk_list(DATA, 100), voucher).close()
    assert place_of(tmp_path, DATA).chunks.read_bytes() == zlib.decompress(base64.b85decode(LISTED_CHUNKS))


@pytest.mark.parametrize("boot", [BOOT, BOOT + 1], ids=["the same boot", "another boot"])
def test_what_arrived_without_a_list_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot: int
) -> None:
    left(tmp_path, 700, UNLISTED_MAP)
    reboot(monkeypatch, boot)
    with opened(tmp_path, DATA, chunks=ChunkList.uniform(1000, 100)) as chunker:
        absent = [i for i in range(10) if not chunker.present(i)]
        assert absent == [7, 8, 9]
        fill(chunker, DATA, *absent)
        assert seal(chunker)
        assert chunker.pread(0, 1000) == DATA
        assert chunker.chunks == chunk_list(DATA, 100)

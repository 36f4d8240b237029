"""Files of the Hub's Xet store through a cache: right bytes or an error, whatever the Hub and its store do."""

from __future__ import annotations

import contextlib
import random
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.cache.blob.mapfile import ABSENT
from fusefs.errors import BlobQuarantined, DigestMismatch, FusefsError, NoEvidence
from fusefs.sources.hub import provedbody
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.hubname import HubName
from fusefs.values.settings import MIB
from tests.chunkers import reboot
from tests.faults.wired import wired
from tests.hub.contents import noise
from tests.hub.damage import confused, flipped
from tests.hub.origin import edited
from tests.hub.scriptedhub import ScriptedHub
from tests.hub.xetopening import DATA, document_of
from tests.marks import one_soon
from tests.world import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.faults.wired import Wired

BLOB = Blob(Digest.of(DATA), len(DATA))


@pytest.fixture
def hub() -> Iterator[ScriptedHub]:
    with ScriptedHub() as hub:
        hub.add("org/m", {"w.safetensors": DATA})
        yield hub
        hub.release()


@asynccontextmanager
async def mounted(
    root: Path, hub: ScriptedHub, blob: Blob = BLOB, model: str = "org/m", **changes: object
) -> AsyncIterator[Wired]:
    """A process' view of one file of a model that it knows from an earlier mount."""
    name = HubName.read(f"hf+{hub.url}/models/{model}")
    assert name is not None
    settings = {"memory": 64 * MIB, "span_size": 8 * MIB, "stall": 1.0, "unlisted_chunk_size": MIB} | changes
    document = document_of(hub.gate.repositories["models", model])
    async with wired(root, name, blob, DATA, document, **settings) as one:
        yield one


async def test_p1_a_file_is_read_by_proofs_alone_and_sealed_in_the_end(tmp_path: Path, hub: ScriptedHub) -> None:
    async with mounted(tmp_path, hub) as one:
        await one.read(3 * MIB + 100, 1000)
        assert one.fetch.state == "partial"
        assert one.fetch.proof.startswith("registry ")
        assert one.fetch.present <= 2 * MIB
        assert hub.count("bridge") == 0
        await one.read()
        await until(lambda: one.fetch.state == "sealed")
        assert one.fetch.proof == "bound"
    assert hub.sent("xorb") < 1.3 * len(DATA)


async def test_p5_p7_what_was_proved_needs_neither_bytes_nor_proofs_nor_the_hub(
    tmp_path: Path, hub: ScriptedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mounted(tmp_path, hub) as one:
        await one.read(0, 100)
        await one.read(4 * MIB, 100)
    reboot(monkeypatch)
    for origin in hub.origins:
        origin.refuse()
    async with mounted(tmp_path, hub, timeout=1.0) as one:
        await one.read(0, MIB)
        await one.read(4 * MIB, MIB)
        with pytest.raises(FusefsError):
            await one.read(2 * MIB, 100)


async def test_p5_a_chunk_that_was_proved_once_is_known_when_it_comes_again(tmp_path: Path, hub: ScriptedHub) -> None:
    """By its slot: a proof that cannot be had, or is wrong, does not keep it out."""
    async with mounted(tmp_path, hub) as one:
        await one.read(0, 100)
        chunker = one.fetch.chunker
        assert chunker is not None
        chunker.mark(0, ABSENT)
        chunker.memory.forget(chunker)
        await one.read(0, 100)


@pytest.mark.logs("does not match|A read failed")
@pytest.mark.parametrize("kind", one_soon(["xorb", "proof", "reconstruction"]))
async def test_p1_whatever_is_damaged_no_wrong_byte_is_served(tmp_path: Path, hub: ScriptedHub, kind: str) -> None:
    found = random.Random(kind)
    for number in range(4):
        damage = edited(partial(confused, found=found)) if kind == "reconstruction" else partial(flipped, found=found)
        async with mounted(tmp_path / str(number), hub, timeout=3.0) as one:
            await one.read(found.randrange(len(DATA) - 100), 100)
            hub.change(kind, damage, times=2)
            for origin in one.fetch.origins:
                if origin.remote is not None:
                    origin.remote.refresh()
            for _ in range(4):
                with contextlib.suppress(FusefsError):
                    await one.read(found.randrange(len(DATA) - 100), 100)
            hub.clear_faults()
            await one.read()


@pytest.mark.logs("does not match|A read failed|fetched whole")
async def test_p1_a_store_that_gives_other_bytes_for_ever_has_none_of_them_served(
    tmp_path: Path, hub: ScriptedHub
) -> None:
    """Neither by proofs nor, when those are given up, as a whole."""
    hub.change("xorb", lambda body: body[:-9] + bytes([body[-9] ^ 4]) + body[-8:])
    hub.cdn.bridge = False
    async with mounted(tmp_path, hub, timeout=3.0) as one:
        for off in (0, 2 * MIB, 5 * MIB):
            with pytest.raises(FusefsError):
                await one.read(off, 100)
        hub.clear_faults()
        hub.cdn.bridge = True
        await one.read()
        await until(lambda: one.fetch.state == "sealed")


@pytest.mark.logs("quarantine|the list lied|is blocked|lied")
async def test_p4_a_hub_whose_hash_is_that_of_another_file_is_found_out_by_the_whole(
    tmp_path: Path, hub: ScriptedHub
) -> None:
    """Its proofs fit its bytes; the sha256, which git's pointer binds, does not."""
    wrong = Digest.of(b"another")
    blob = Blob(wrong, len(DATA))
    _claim(hub, "org/m", wrong)
    async with mounted(tmp_path, hub, blob, timeout=5.0) as one:
        with contextlib.suppress(FusefsError):
            await one.file.read(0, len(DATA))
        await until(lambda: one.fetch.state in ("quarantined", "absent"))
        with pytest.raises((BlobQuarantined, DigestMismatch)):
            await one.file.read(0, 10)


async def test_p1_what_was_accepted_for_one_repository_never_counts_for_another_with_other_bytes(
    tmp_path: Path, hub: ScriptedHub
) -> None:
    """Somebody has the Hub believe that his file has the sha256 of another one."""
    lie = DATA[::-1]
    hub.add("evil/m", {"w.safetensors": lie})
    _claim(hub, "evil/m", BLOB.digest)
    async with mounted(tmp_path, hub, model="evil/m") as one:
        assert bytes(await one.file.read(MIB, 100)) == lie[MIB : MIB + 100], "it is the Hub's word, for that repository"
    async with mounted(tmp_path, hub) as one:
        await one.read(MIB, 100)
        await one.read()
        await until(lambda: one.fetch.state == "sealed")


def _claim(hub: ScriptedHub, model: str, digest: Digest) -> None:
    """The file of a model is listed with this sha256."""
    entry = hub.gate.repositories["models", model]
    stored = entry.commits[entry.commit].files["w.safetensors"]
    for name in ("sha256", "pointer", "oid"):
        stored.__dict__.pop(name, None)
    stored.__dict__["sha256"] = digest.hex


# Where nothing is proved by its parts


@pytest.mark.parametrize("bridge", [True, False])
async def test_p1_without_proofs_a_file_is_fetched_whole_either_way(
    tmp_path: Path, hub: ScriptedHub, bridge: bool
) -> None:
    hub.cas.proofs = False
    hub.cdn.bridge = bridge
    async with mounted(tmp_path, hub) as one:
        await one.fetcher.foresee(one.fetch)
        assert one.fetch.whole_first
        await one.read(100, 10)
        await until(lambda: one.fetch.state == "sealed")
    assert (hub.sent("bridge") > MIB) == bridge
    assert (hub.sent("xorb") > MIB) != bridge


@pytest.mark.logs("it is fetched whole")
@pytest.mark.parametrize("how", ["gone", "long"])
async def test_p1_when_proofs_end_amid_a_file_the_whole_decides(
    tmp_path: Path, hub: ScriptedHub, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mounted(tmp_path, hub) as one:
        await one.read(100, 10)
        if how == "gone":
            hub.cas.proofs = False
        else:
            hub.cas.to_the_end = True
            monkeypatch.setattr(provedbody, "MOST_BEYOND", MIB)
        assert one.fetch.state == "partial"
        async with trio.open_nursery() as nursery:
            for off in (3 * MIB, 3 * MIB + 10_000, MIB, 100):
                nursery.start_soon(one.read, off, 10)
        await until(lambda: one.fetch.state == "sealed")
        assert one.fetch.proof == "bound"


@pytest.mark.logs("it is fetched whole")
async def test_p1_all_of_a_file_is_had_when_proofs_end_amid_it(tmp_path: Path, hub: ScriptedHub) -> None:
    async with mounted(tmp_path, hub) as one:
        await one.read(100, 10)
        hub.cas.proofs = False
        await one.fetcher.complete(one.fetch)
        assert one.fetch.state == "sealed"


@pytest.mark.logs("A read failed")
async def test_who_refuses_what_is_unproved_is_told_so(tmp_path: Path, hub: ScriptedHub) -> None:
    async with mounted(tmp_path, hub, unproved="refuse") as one:
        await one.read(100, 10)
        hub.cas.proofs = False
        with pytest.raises(NoEvidence, match="nothing proves it"):
            await one.read(3 * MIB, 10)
        await one.read(100, 10)


# Trouble


@pytest.mark.parametrize(
    ("what", "kind", "options"),
    one_soon(
        [
            ("status", "xorb", {"status": 503}),
            ("status", "proof", {"status": 503}),
            ("status", "proof", {"status": 429, "retry_after": "1"}),
            ("status", "reconstruction", {"status": 500}),
            ("status", "reconstruction", {"status": 429, "retry_after": "1"}),
            ("status", "token", {"status": 500}),
            ("reset-before", "xorb", {}),
            ("reset-amid", "xorb", {}),
            ("reset-amid", "proof", {}),
            ("reset-amid", "reconstruction", {}),
            ("short-body", "xorb", {}),
            ("short-clean", "xorb", {}),
            ("long-body", "xorb", {}),
            ("long-chunked", "xorb", {}),
            ("whole-for-range", "xorb", {}),
            ("wrong-content-range", "xorb", {}),
            ("no-content-range", "xorb", {}),
            ("wrong-length", "xorb", {}),
            ("wrong-bytes", "xorb", {}),
            ("wrong-bytes", "proof", {}),
            ("wrong-bytes", "reconstruction", {}),
            ("gzip", "proof", {}),
            ("html", "proof", {}),
            ("html", "reconstruction", {}),
            ("redirect-loop", "xorb", {}),
            ("redirect-loop", "proof", {}),
            ("redirect-loop", "reconstruction", {}),
            ("silence-before", "xorb", {}),
            ("silence-amid", "xorb", {}),
            ("silence-before", "proof", {}),
            ("silence-amid", "reconstruction", {}),
            ("cut-body", "xorb", {"at": 50_000}),
        ]
    ),
)
@pytest.mark.logs("does not match|A read failed|in trouble|left alone|fetched whole")
async def test_p2_p6_trouble_that_passes_is_got_over(
    tmp_path: Path, hub: ScriptedHub, what: str, kind: str, options: dict[str, object]
) -> None:
    async with mounted(tmp_path, hub, stall=0.3) as one:
        hub.fault(what, kind, times=2, **options)  # type: ignore[arg-type]
        await one.read_in_the_end()


async def test_p2_urls_and_tokens_that_end_amid_a_file_are_asked_for_again(tmp_path: Path, hub: ScriptedHub) -> None:
    async with mounted(tmp_path, hub) as one:
        await one.read(0, 100)
        hub.cas.end_tokens()
        await one.read(2 * MIB, 100)
        hub.fault("act", "reconstruction", act=lambda: hub.fault("act", "xorb", act=hub.cdn.expire))
        await one.read(4 * MIB, 100)
        await one.read()
    assert hub.count("token") == 2


@pytest.mark.logs("A read failed|in trouble")
@pytest.mark.parametrize("kind", one_soon(["xorb", "proof", "reconstruction"]))
async def test_p6_a_store_that_falls_silent_for_ever_is_an_error_in_time(
    tmp_path: Path, hub: ScriptedHub, kind: str
) -> None:
    async with mounted(tmp_path, hub, timeout=2.0, stall=0.3) as one:
        await one.read(0, 100)
        hub.fault("silence-before", kind, times=None)
        with pytest.raises(FusefsError), trio.fail_after(60):
            await one.read(3 * MIB, 100)
        hub.clear_faults()
        hub.release()
        await one.read_in_the_end()


async def test_an_old_server_is_asked_in_the_old_way_once_it_said_so(tmp_path: Path, hub: ScriptedHub) -> None:
    hub.cas.version = 1
    async with mounted(tmp_path, hub) as one:
        await one.read(0, 100)
        before = hub.count("reconstruction")
        await one.read(3 * MIB, 100)
        assert hub.count("reconstruction") == before + 1


async def test_terms_that_come_whole_cost_bytes_and_break_nothing(tmp_path: Path, hub: ScriptedHub) -> None:
    hub.cas.whole_terms = True
    async with mounted(tmp_path, hub) as one:
        await one.read(3 * MIB + 5, 100)
        await one.read()


async def test_a_file_without_xet_beside_one_with_it(tmp_path: Path) -> None:
    data = noise(3 * MIB, 5)
    with ScriptedHub() as hub:
        hub.add("org/m", {"old.bin": data, "w.safetensors": DATA}, keeping={"old.bin": "lfs"})
        async with mounted(tmp_path, hub, Blob(Digest.of(data), len(data))) as one:
            assert bytes(await one.file.read(0, 100)) == data[:100]
        assert hub.count("proof") == 0

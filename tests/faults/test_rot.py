"""P1, P5, P10: whatever a file of the cache turns into, nothing wrong is served, and nothing outside is touched."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fusefs.cache.blob.verification import verify
from fusefs.cache.disk import DiskCache
from fusefs.cache.documents.reader import mend
from fusefs.cache.documents.writer import Keeper
from fusefs.engine.resolve import last_known, resolve
from fusefs.errors import FusefsError, InvalidChunkList, TransportError
from fusefs.values.chunkpack import unpack
from fusefs.values.digest import Digest
from tests.chunkers import corrupt, reboot
from tests.fake_source import FakeSource, fail
from tests.faults.rot import (
    BLOB,
    CHUNK,
    DATA,
    HERE,
    KINDS,
    OTHER,
    SHAPES,
    START,
    WHICH,
    Caches,
    Rot,
    Secret,
    Shape,
    path_of,
    rot,
    setting,
    wrong_chunks,
)
from tests.marks import one_soon
from tests.patience import eventually
from tests.world import NAME, running

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.cache.place import Place

    Record = Callable[[str, object], None]

Moment = Literal["always", "boot", "verify"]
"""Mounted again in the same boot with `--verify always`; mounted in another boot; after `fusefs verify`."""

ROUNDS = [30, pytest.param(300, marks=pytest.mark.slow)]

ANY = pytest.mark.logs(
    "changed on disk|does not match its digest|fetched again|could not be sealed|no bytes|replaced the data|no room"
    "|served from memory|using the manifest of|whole blob"
)


@dataclass
class Tally:
    """What was done and found."""

    rounds: int = 0
    injected: int = 0
    compared: int = 0
    refetched: int = 0

    def record(self, record: Record) -> None:
        record("faults.rounds", self.rounds)
        record("faults.injected", self.injected)
        record("faults.bytes_compared", self.compared)
        record("faults.bytes_refetched", self.refetched)
        record("faults.bytes_wrong", 0)  # one would have failed the test


_ROTS = st.builds(
    Rot, st.sampled_from(WHICH), st.sampled_from(KINDS), st.integers(0, 2 * len(DATA)), bit=st.integers(0, 7)
)


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Caches:
    return Caches(tmp_path_factory.mktemp("shapes"))


@ANY
@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("moment", one_soon(["always", "boot", "verify"]))
def test_p5_rot_is_found_at_the_stated_moment_and_never_served(
    caches: Caches, moment: Moment, rounds: int, record_property: Record
) -> None:
    tally = Tally()

    @settings(max_examples=rounds)
    @example(rots=[Rot("data", "flip", 250)], shape="partial", online=True)
    @example(rots=[Rot("sealed", "flip", 250)], shape="sealed", online=False)
    @example(rots=[Rot("sealed", "link", 0)], shape="single", online=True)
    @example(rots=[Rot("sealed", "hard-link", 0)], shape="unlisted", online=True)
    @example(rots=[Rot("map", "flip", 128 + 6, 0)], shape="partial", online=True)
    @example(rots=[Rot("map", "flip", 128 + 2, 1)], shape="partial", online=True)
    @example(rots=[Rot("data", "hard-link", 0)], shape="partial", online=True)
    @example(rots=[Rot("data", "flip", 150), Rot("chunks", "flip", 99)], shape="partial", online=False)
    @example(rots=[Rot("data", "flip", 150), Rot("chunks", "link", 0)], shape="partial", online=False)
    @example(rots=[Rot("data", "cut", 0)], shape="partial", online=False)
    @example(rots=[Rot("chunks", "folder", 0)], shape="partial", online=True)
    @given(
        rots=st.lists(_ROTS, min_size=1, max_size=2, unique_by=lambda one: one.which),
        shape=st.sampled_from(SHAPES),
        online=st.booleans(),
    )
    def attack(rots: list[Rot], shape: Shape, online: bool) -> None:
        with (
            tempfile.TemporaryDirectory(dir=caches.root, ignore_cleanup_errors=True) as folder,
            pytest.MonkeyPatch.context() as patch,
        ):
            secret, root = Secret(Path(folder) / "secret"), Path(folder) / "cache"
            place = caches.copy(shape, root)
            done = [one for one in rots if _do(place, one, secret)]
            if moment == "boot":
                reboot(patch)
            trio.run(partial(_survive, place, shape, done, moment, online=online, tally=tally))
            secret.check()
            # A record of the load may still be on its way to the disk.
            eventually("no temporary file is left", lambda: not list((root / "partial").glob(".tmp-*")))

    attack()
    tally.record(record_property)


def _do(place: Place[Path], one: Rot, secret: Secret) -> bool:
    return rot(path_of(place, one.which), one.kind, one.where, one.bit, other=OTHER, secret=secret)


async def _survive(
    place: Place[Path], shape: Shape, done: list[Rot], moment: Moment, *, online: bool, tally: Tally
) -> None:
    tally.rounds += 1
    tally.injected += len(done)
    changes = setting(shape) | {"verify": "always" if moment == "always" else "boot"}
    wrong = wrong_chunks(place, shape)
    assert DiskCache.open(place.root).trace(BLOB) in (None, START), "a record that has changed is none"
    if moment == "verify":
        _verify(place, shape, wrong)
    if not online:
        await _offline(place, changes, shape, wrong, done, tally)
    source = FakeSource()
    async with running(place.root, DATA, source=source, **changes) as world:
        await world.read(0, len(DATA))
        tally.compared += len(DATA)
        await world.sealed()
    tally.refetched += source.bytes_asked
    assert not place.sealed.is_symlink()
    assert place.sealed.read_bytes() == DATA
    tally.compared += len(DATA)
    if shape == "sealed" and {one.which for one in done} <= {"sealed", "start"} and -1 not in wrong:
        assert {i for chunk in source.asked for i in range(chunk.start // CHUNK, chunk.end // CHUNK + 1)} <= wrong
    assert all(not found.dropped and not found.broken for found in verify(DiskCache.open(place.root)))


def _verify(place: Place[Path], shape: Shape, wrong: set[int]) -> None:
    """`fusefs verify` says what is wrong, and leaves nothing of it that would be served."""
    listed = os.path.lexists(place.chunks)
    rotten = listed and not _is_list(place.chunks)
    sealed = place.sealed.exists()
    if not sealed and place.data.exists() and place.data.stat().st_nlink > 1:
        wrong = set()  # a second name is no damage: the file is left to those who have the other one
    found = [one for one in verify(DiskCache.open(place.root)) if one.digest == BLOB.digest]
    # Of what has only arrived nobody can say anything, and neither of a part whose list is gone.
    told = shape != "arrived" and (listed or sealed or -1 in wrong)
    if (wrong and told) or rotten:
        assert any(one.dropped or one.broken for one in found), found


def _is_list(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    try:
        unpack(path.read_bytes(), len(DATA))
    except (OSError, InvalidChunkList):
        return False
    return True


async def _offline(
    place: Place[Path], changes: dict[str, Any], shape: Shape, wrong: set[int], done: list[Rot], tally: Tally
) -> None:
    """Right bytes or an error, and right bytes where nothing was damaged."""
    source = FakeSource()
    source.always = fail
    gone = set()
    async with running(place.root, DATA, source=source, **changes | {"timeout": 0.3}) as world:
        for i, off in enumerate(range(0, len(DATA), CHUNK)):
            try:
                await world.read(off, CHUNK)
                tally.compared += CHUNK
            except FusefsError:
                gone.add(i)
    only_bytes = all(one.which in ("data", "sealed", "start") for one in done) and -1 not in wrong
    if only_bytes and shape == "sealed":
        assert gone == wrong
    if only_bytes and shape == "partial":
        assert gone == wrong | (set(range(9)) - set(HERE))


# ---- manifests

MODEL = json.dumps({"layers": [{"digest": str(BLOB.digest), "size": BLOB.size}]}).encode()
CHANGED = MODEL.replace(BLOB.digest.hex[:1].encode(), b"0" if BLOB.digest.hex[0] != "0" else b"1", 1)


class _Unreachable(FakeSource):
    def manifest(self, name: object) -> bytes:
        raise TransportError("no route to host", source="far")


def _resolve(root: Path, source: FakeSource) -> bytes:
    cache = DiskCache.open(root)
    keeper = Keeper(cache)
    try:
        return resolve(NAME, [source], cache, keeper).raw
    finally:
        keeper.write()


@ANY
@pytest.mark.parametrize("rounds", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_p1_a_manifest_that_has_rotted_is_never_used(rounds: int, record_property: Record) -> None:
    tally = Tally()
    honest = FakeSource()
    honest.add_manifest(NAME, MODEL)

    @settings(max_examples=rounds)
    @example(link=True, kind="other", where=0, bit=0, noted=True)
    @example(link=True, kind="other", where=0, bit=0, noted=False)
    @example(link=False, kind="other", where=0, bit=0, noted=False)
    @given(
        link=st.booleans(),
        kind=st.sampled_from(KINDS),
        where=st.integers(0, len(MODEL)),
        bit=st.integers(0, 7),
        noted=st.booleans(),
    )
    def attack(link: bool, kind: str, where: int, bit: int, noted: bool) -> None:
        tally.rounds += 1
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "cache"
            secret = Secret(Path(folder) / "secret", CHANGED)
            assert _resolve(root, honest) == MODEL
            cache = DiskCache.open(root)
            named, blob = cache.links.path(NAME), cache.path(Digest.of(MODEL))
            assert cache.links.noted(NAME) == Digest.of(MODEL)
            if not noted:  # as on a disk that keeps no attributes
                os.removexattr(named, "user.fusefs.digest")
            path = named if link else blob
            if kind == "other":
                path.chmod(0o600)
                path.write_bytes(CHANGED)
            else:
                assert rot(path, kind, where, bit, other=CHANGED, secret=secret)  # type: ignore[arg-type]
            rotten = path.is_symlink() or not path.is_file() or path.read_bytes() != MODEL
            tally.injected += rotten
            try:
                assert last_known(NAME, TransportError("down", source="far"), cache).raw == MODEL
                tally.compared += len(MODEL)
            except TransportError:
                assert link, "the link is right, and vouched for by the name of the blob"
                assert rotten
            secret.check()
            finding = mend(cache, NAME)
            if rotten and link:
                assert finding != "good"
            secret.check()
            assert _resolve(root, honest) == MODEL
            for file in (named, blob):
                assert not file.is_symlink()
                assert file.read_bytes() == MODEL
            assert mend(cache, NAME) == "good"
            secret.check()

    attack()
    tally.record(record_property)


async def test_p10_a_blob_replaced_by_a_link_while_it_is_open_does_not_lead_a_repair_out_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The final name is taken away from what has rotted; by then a link may have that name."""
    secret, root = Secret(tmp_path / "secret"), tmp_path / "cache"
    async with running(root, DATA, chunk_size=CHUNK) as world:
        await world.read(0, len(DATA))
        await world.sealed()
        sealed = world.cache.path(BLOB.digest)
    corrupt(sealed, 250)
    reboot(monkeypatch)
    async with running(root, DATA, chunk_size=CHUNK) as world:
        await world.read(0, CHUNK)
        sealed.unlink()
        sealed.symlink_to(secret.path)
        await world.read(0, len(DATA))
    secret.check()
    async with running(root, DATA, chunk_size=CHUNK) as world:
        await world.read(0, len(DATA))
        await world.sealed()
    secret.check()
    assert sealed.read_bytes() == DATA


@pytest.mark.logs("changed on disk|served from memory")
async def test_p10_a_blob_with_a_second_name_is_not_repaired_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cp -al` of a cache: what is written to one of the names would be written to the other."""
    async with running(tmp_path / "cache", DATA, chunk_size=CHUNK) as world:
        await world.read(0, len(DATA))
        await world.sealed()
        sealed = world.cache.path(BLOB.digest)
    corrupt(sealed, 250)
    second = tmp_path / "second"
    second.hardlink_to(sealed)
    before = second.read_bytes()
    reboot(monkeypatch)
    for _ in range(2):
        async with running(tmp_path / "cache", DATA, chunk_size=CHUNK) as world:
            await world.read(0, len(DATA))
            assert second.read_bytes() == before
    assert second.read_bytes() == before
    async with running(tmp_path / "cache", DATA, chunk_size=CHUNK) as world:
        await world.read(0, len(DATA))
        await world.sealed()
    assert sealed.read_bytes() == DATA

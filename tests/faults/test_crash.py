"""kill -9 at every named step of a chunk's life and of sealing, and anywhere: nothing wrong, nothing lost."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import pytest
import trio

from fusefs.cache.blob.mapfile import ABSENT, peek
from fusefs.cache.place import Place
from fusefs.fuse.mountpoint import mounted_at
from fusefs.system.steps import Step
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from tests.conftest import fusefs_mounts
from tests.faults.calls import Failing, watched
from tests.faults.calls_scenes import (
    ACTS,
    GOODS,
    Stage,
    boot,
    copy,
    locks_left,
    prepare,
    recover,
    sweep_old,
    without_waiting,
)
from tests.faults.crash import Death, Forge, Job
from tests.faults.paced import PacedRegistry
from tests.faults.processes import Reader, marked
from tests.marks import one_soon
from tests.patience import eventually
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEATHS = {
    "a chunk is locked": ("arrive", Death("chunk locked", nth=3)),
    "its bytes are hashed": ("arrive", Death("chunk written", "before")),
    "half of it is written": ("arrive", Death("chunk written", "half")),
    "it is written": ("arrive", Death("chunk written", nth=2)),
    "half of its slot is written": ("arrive", Death("slot written", "half")),
    "its slot is written": ("arrive", Death("slot written", nth=2)),
    "it is marked": ("arrive", Death("chunk marked", nth=2)),
    "it is unlocked": ("arrive", Death("chunk unlocked", nth=2)),
    "the running hash reads back": ("arrive", Death("hash read back")),
    "before the fsync of the data": ("arrive", Death("data fsynced", "before")),
    "after it": ("arrive", Death("data fsynced")),
    "it cannot be written any more": ("arrive", Death("data read-only")),
    "before it has its final name": ("arrive", Death("data sealed", "before")),
    "it has its final name": ("arrive", Death("data sealed")),
    "the folder is synced": ("arrive", Death("seal fsynced")),
    "the computed list is half written": ("arrive", Death("list bound", "half")),
    "the computed list is there": ("arrive", Death("list bound")),
    "all is marked, the map not bound yet": ("arrive", Death("all marked")),
    "the map is half bound to it": ("arrive", Death("map bound", "half")),
    "the map is bound to it": ("arrive", Death("map bound")),
    "a map is half made": ("arrive", Death("map made", "half", nth=2)),
    "data has no size yet": ("arrive", Death("data sized", "before")),
    "half of a manifest is kept": ("arrive", Death("blob written", "half")),
    "a manifest has no name yet": ("arrive", Death("blob named", "before")),
    "a manifest is a blob, and not linked": ("arrive", Death("blob named")),
    "a manifest is linked": ("arrive", Death("name linked")),
    "a start is half written": ("arrive", Death("trace kept", "half")),
    "a start is written": ("arrive", Death("trace kept")),
    "another boot is half known": ("return", Death("marks claimed", "half")),
    "what was marked is claimed": ("return", Death("marks claimed")),
    "a claim is proved": ("return", Death("claim proved")),
    "a rotten chunk is absent": ("return", Death("seal taken away", "before")),
    "a blob has lost its final name": ("return", Death("seal taken away")),
    "it can be written": ("return", Death("data writable")),
    "it is open for that": ("return", Death("data reopened")),
    "before a liar is put aside": ("be lied to", Death("liar put aside", "before")),
    "a liar is put aside": ("be lied to", Death("liar put aside")),
    "a pin is half written": ("evict", Death("name pinned", "half")),
    "a pin is written": ("evict", Death("name pinned")),
    "a blob that makes room has no final name": ("evict", Death("seal lifted")),
    "what makes room is marked absent": ("evict", Death("victims absent")),
    "before a hole is punched": ("evict", Death("hole punched", "before", nth=2)),
    "a hole is punched": ("evict", Death("hole punched", nth=2)),
    "a blob is stored": ("store", Death("blob named")),
    "verify has marked a chunk": ("look after", Death("chunk marked")),
}


class Rounds:
    """Kills, looks at what is left, and counts.

    Attributes:
        root: the cache directory.
    """

    def __init__(self, folder: Path, forge: Forge, patch: pytest.MonkeyPatch) -> None:
        self.root = folder / "cache"
        self.totals: Counter[str] = Counter(bytes_wrong=0)
        self._arrived = folder / "arrived"
        self._forge = forge
        self._patch = patch
        without_waiting(patch)
        boot(patch, 1)
        prepare(self._arrived)
        boot(patch, 2)

    def play(self, act: str, death: Death) -> bool:
        """An act in a child that dies at `death`; False when it did not come there."""
        copy(self._arrived, self.root, ACTS[act])
        died = self._forge.run(Job(act, self.root, death))
        try:
            self.check(again=act == "be lied to")
        except BaseException as exc:
            exc.add_note(f"{act}: {death}")
            raise
        return died

    def calls(self, act: str) -> int:
        """How many calls an act makes."""
        copy(self._arrived, self.root, ACTS[act])
        failing = Failing()
        with watched(failing):
            trio.run(ACTS[act].scene, Stage(self.root))
        shutil.rmtree(self.root)
        return failing.counts[""]

    def check(self, *, again: bool) -> None:
        """All reads right, nothing that was marked is fetched again, nobody is locked out."""
        if self.root.exists():
            assert locks_left(self.root, everything=True) == ()
            sweep_old(self.root)
        if again:
            trio.run(ACTS["be lied to"].scene, Stage(self.root))
        left = [_Left(self.root, data) for data in (GOODS.listed, GOODS.evidenced)]
        stage = recover(self.root)
        again_bytes = sum(one.fetched_again(stage) for one in left)
        self.totals.update(rounds=1, injected=1, bytes_compared=stage.compared, bytes_refetched=again_bytes)
        shutil.rmtree(self.root)

    def report(self, record: Callable[[str, object], None]) -> None:
        """Record the numbers."""
        for name, number in self.totals.items():
            record(f"faults.{name}", number)


class _Left:
    """What a killed process has left of one blob."""

    def __init__(self, root: Path, data: bytes) -> None:
        self._place = Place(root, Digest.of(data))
        self._data = data
        self._marked = _marked(self._place, data, GOODS.chunk)
        self._on_disk = self._place.data.read_bytes() if self._place.data.exists() else b""

    def fetched_again(self, stage: Stage) -> int:
        """Bytes that lay there, were right and not marked, and were fetched again since; of marked ones none were."""
        chunk, wanted = GOODS.chunk, self._place.digest
        asked = [(c.start // chunk, c.end // chunk) for digest, c in stage.requests if digest == wanted]
        indices = {i for first, last in asked for i in range(first, last + 1)}
        assert not self._marked & indices, f"marked, and fetched again: {self._marked & indices}"
        written = {i for i in indices if self._on_disk[i * chunk :][:chunk] == self._data[i * chunk :][:chunk]}
        return chunk * len(written - self._marked)


def _marked(place: Place[Path], data: bytes, chunk: int) -> set[int]:
    count = -(-len(data) // chunk)
    states = peek(place.map, Blob(place.digest, len(data)))
    # What is rotten, in a blob that has another boot's marks, is found and fetched.
    on_disk = next((path.read_bytes() for path in (place.sealed, place.data) if path.exists()), b"")
    right = {i for i in range(count) if on_disk[i * chunk :][:chunk] == data[i * chunk :][:chunk]}
    return {i for i in right if len(states) == count and states[i] != ABSENT}


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with Forge() as made:
        yield made


@pytest.fixture
def rounds(
    tmp_path: Path, forge: Forge, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> Iterator[Rounds]:
    made = Rounds(tmp_path, forge, monkeypatch)
    yield made
    made.report(record_property)


def test_every_step_that_the_code_names_has_somebody_who_dies_at_it() -> None:
    assert {death.step for _, death in DEATHS.values()} == set(get_args(Step))


PARTS = 6
"""Of `DEATHS`; the default run has the first."""


@pytest.mark.logs(".")
@pytest.mark.parametrize("part", one_soon(range(PARTS)))
def test_p5_killed_at_a_named_step(rounds: Rounds, part: int) -> None:
    for name, (act, death) in list(DEATHS.items())[part::PARTS]:
        assert rounds.play(act, death), f"nobody came to where {name}"


ANYWHERE = (Death(None, "before"), Death(None, "half"), Death(None, "after"))


@pytest.mark.slow
@pytest.mark.logs(".")
def test_p5_killed_anywhere(rounds: Rounds) -> None:
    """At a random call of a random act, before it, amid it or after it."""
    dice = random.Random(1)
    counts = {act: rounds.calls(act) for act in ACTS}
    died = 0
    for number in range(300):
        act = list(ACTS)[number % len(ACTS)]
        death = replace(dice.choice(ANYWHERE), nth=dice.randint(1, counts[act]))
        died += rounds.play(act, death)
    assert died > 250


DATA = some_bytes(300_000, seed=5)
CHUNK = 8192
SPAN = 50_000
"""More than one request asks for, so more than the last one may still wait for."""


class Outside:
    """Kills pulls, or daemons whose files are being read, at a byte of their transfer; on one cache until it is whole.

    Attributes:
        totals: what to record.
    """

    def __init__(self, folder: Path, forge: Forge, registry: PacedRegistry, *, mounting: bool) -> None:
        self.totals: Counter[str] = Counter(bytes_wrong=0)
        self._forge = forge
        self._registry = registry
        self._cache = folder / "cache"
        self._mountpoint = folder / "mnt"
        self._mountpoint.mkdir()
        self._what = "mount" if mounting else "pull"
        self._dice = random.Random(7)

    def round(self) -> None:
        """Kill once."""
        before = marked(self._cache, self._registry)
        if len(before) > len(self._registry.chunks) // 2:
            self.finish()
            before = set()
        quota = self._dice.randrange(1, len(DATA) // 5)
        self._registry.begin(quota)
        pid = self._begin(self._what)
        reader = self._read() if self._what == "mount" else None
        self._registry.wait_asked()
        self._registry.wait_sent(self._dice.randrange(quota) - SPAN)
        os.kill(pid, signal.SIGKILL)
        assert self._forge.end() == -signal.SIGKILL
        if reader is not None:
            reader.join(30)
            assert reader.wrong == []
            assert reader.failed in (errno.ENOTCONN, errno.ECONNABORTED), os.strerror(reader.failed)
            self.umount()
        self._check(before)
        self._registry.forget_clients()
        assert before <= marked(self._cache, self._registry), "a kill loses no mark"
        self.totals.update(rounds=1, injected=1)

    def die_at(self, death: Death) -> None:
        """Have the process kill itself at a step, from an empty cache on, and then finish."""
        self._registry.begin()
        self._forge.begin(Job(self._what, self._cache, death, self._registry.name, self._mountpoint))
        reader = self._read() if self._what == "mount" else None
        assert self._forge.end() == -signal.SIGKILL, f"nobody came to {death}"
        if reader is not None:
            reader.join(30)
            assert reader.wrong == []
            self.umount()
        self._check(set())
        self._registry.forget_clients()
        assert locks_left(self._cache, everything=True) == ()
        sweep_old(self._cache)
        self.finish()
        self.totals.update(rounds=1, injected=1)

    def finish(self) -> None:
        """Let one pull come to its end: all is right, and only what was not marked was asked for."""
        before = marked(self._cache, self._registry)
        self._registry.begin()
        self._begin("pull")
        assert self._forge.end() == 0
        assert sorted(self._registry.asked_chunks()) == sorted(set(range(len(self._registry.chunks))) - before)
        assert Place(self._cache, self._registry.blob.digest).sealed.read_bytes() == DATA
        self.totals.update(bytes_compared=len(DATA))
        shutil.rmtree(self._cache)

    def umount(self) -> None:
        """Clean up the mount point, whatever is there."""
        subprocess.run(["fusermount3", "-uz", self._mountpoint], timeout=20, check=False, capture_output=True)
        assert str(self._mountpoint) not in fusefs_mounts()

    def _begin(self, what: str) -> int:
        return self._forge.begin(Job(what, self._cache, name=self._registry.name, mountpoint=self._mountpoint))

    def _read(self) -> Reader:
        eventually("mounted", lambda: mounted_at(self._mountpoint) is not None)
        reader = Reader(self._mountpoint / "model.gguf", DATA)
        reader.start()
        return reader

    def _check(self, before: set[int]) -> None:
        asked = self._registry.asked_chunks()
        assert not before.intersection(asked), "what was marked is not asked for again"
        assert len(asked) == len(set(asked)), "nothing failed, so nothing is asked for twice"


@pytest.fixture
def outside(
    tmp_path: Path, forge: Forge, record_property: Callable[[str, object], None]
) -> Iterator[Callable[[bool], Outside]]:
    made: list[Outside] = []
    with PacedRegistry(DATA, chunk_size=CHUNK) as registry:

        def make(mounting: bool) -> Outside:
            made.append(Outside(tmp_path, forge, registry, mounting=mounting))
            return made[0]

        yield make
        for one in made:
            one.umount()
            registry.begin(0)
            for name, number in one.totals.items():
                record_property(f"faults.{name}", number)


NOT_LISTED = ("hash read back", "slot written")

LIFE = [name for name, (act, death) in DEATHS.items() if act == "arrive" and death.step not in NOT_LISTED][:12]
"""The steps of a chunk's life and of sealing, which a blob with a list goes through."""


@pytest.mark.slow
@pytest.mark.parametrize("mounting", [False, True], ids=["pull", "daemon"])
def test_p5_a_real_process_killed_at_a_named_step(outside: Callable[[bool], Outside], mounting: bool) -> None:
    rounds = outside(mounting)
    for name in LIFE:
        rounds.die_at(DEATHS[name][1])


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 90])
def test_p5_a_pull_killed_amid_its_transfer(outside: Callable[[bool], Outside], count: int) -> None:
    """With its request sent, half of a chunk received, and anything later."""
    rounds = outside(False)
    for _ in range(count):
        rounds.round()
    rounds.finish()


@pytest.mark.parametrize("count", [3, pytest.param(70, marks=pytest.mark.slow)])
def test_p5_a_daemon_killed_amid_its_reads(outside: Callable[[bool], Outside], count: int) -> None:
    rounds = outside(True)
    for _ in range(count):
        rounds.round()
    rounds.finish()

"""Several sources of one model: who lies is blocked for that blob, who is dead costs little, who comes back is found.

Two real servers each; through the real HTTP client, fetcher and cache, and once through the command and the kernel.
"""

from __future__ import annotations

import contextlib
import json
import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
import trio

from fusefs.errors import DigestMismatch, FusefsError, NotFound
from fusefs.values.names import Name
from tests.faults.test_servers import CHUNK, DATA, list_of
from tests.faults.wired import SHORT, wired
from tests.faulty_registry import FaultyRegistry, Model
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.programs.world import World
    from tests.wire_faults import Kind

BYTES, LIST = "/blobs/", "/chunksums/"


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as made:
        yield made


@pytest.fixture
def mirror() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as made:
        yield made


def model_of(*registries: FaultyRegistry, data: bytes = DATA) -> Model:
    """The model at all of them; its name is that at the first."""
    models = [made.add_model("library/m:latest", {"model.gguf": data}, chunk_size=CHUNK) for made in registries]
    return models[0]


def closed_port() -> str:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_a_mirror_is_asked_instead_of_the_registry(
    tmp_path: Path, registry: FaultyRegistry, mirror: FaultyRegistry
) -> None:
    model = model_of(registry, mirror)
    async with wired(tmp_path, model.name, model.blobs["model.gguf"], DATA, mirrors=(mirror.url,)) as world:
        await world.read()
    assert not registry.asked(model.blobs["model.gguf"].digest), "but for its word on what is right"


@pytest.fixture
def whole_mirror() -> Iterator[FaultyRegistry]:
    """A cache in front of a registry that answers with all of what it does not have yet."""
    with FaultyRegistry(ranges=False) as made:
        yield made


GIVES_WHOLE = pytest.mark.logs("answers a request for a part of a file with all of it: while it does, it is used for")


@GIVES_WHOLE
async def test_p6_a_part_comes_from_the_registry_where_a_mirror_has_the_whole_alone(
    tmp_path: Path, registry: FaultyRegistry, whole_mirror: FaultyRegistry
) -> None:
    model = model_of(registry, whole_mirror)
    blob = model.blobs["model.gguf"]
    async with wired(tmp_path, model.name, blob, DATA, mirrors=(whole_mirror.url,), stall=30.0) as world:
        await world.read(3 * CHUNK, CHUNK)
        assert registry.asked(blob.digest) == [(3 * CHUNK, 4 * CHUNK - 1)]
        await world.read(7 * CHUNK, CHUNK)
        assert len(whole_mirror.asked(blob.digest)) == 1, "it is known for a while, and not asked for each part"
        assert world.counters.snapshot()["bytes_fetched"] == 2 * CHUNK


@pytest.mark.slow
@GIVES_WHOLE
async def test_who_wants_all_of_a_file_has_it_in_one_stream_of_such_a_mirror(
    tmp_path: Path, registry: FaultyRegistry, whole_mirror: FaultyRegistry
) -> None:
    model = model_of(registry, whole_mirror)
    blob = model.blobs["model.gguf"]
    async with wired(tmp_path, model.name, blob, DATA, mirrors=(whole_mirror.url,), stall=30.0) as world:
        await world.read(3 * CHUNK, CHUNK)
        await world.fetcher.complete(world.fetch)
        assert len(registry.asked(blob.digest)) == 1, "the part that was read before"
        assert world.file.state == "sealed"


@pytest.mark.slow
@GIVES_WHOLE
async def test_p6_such_a_mirror_is_better_than_nothing_for_a_part(
    tmp_path: Path, registry: FaultyRegistry, whole_mirror: FaultyRegistry
) -> None:
    model = model_of(registry, whole_mirror)
    registry.fault("status", BYTES, times=None, status=404)
    blob = model.blobs["model.gguf"]
    async with wired(tmp_path, model.name, blob, DATA, mirrors=(whole_mirror.url,), stall=30.0) as world:
        await world.read(3 * CHUNK, CHUNK)
        await world.read()


@pytest.mark.slow
async def test_mirrors_are_asked_in_their_order_and_each_for_what_the_one_before_lacks(
    tmp_path: Path, registry: FaultyRegistry, mirror: FaultyRegistry
) -> None:
    with FaultyRegistry() as first:
        model = model_of(registry, mirror)
        blob = model.blobs["model.gguf"]
        urls = (f"{first.url}/some/where", mirror.url)
        async with wired(tmp_path, model.name, blob, DATA, mirrors=urls) as world:
            await world.read()
        assert all(path.startswith("/some/where/v2/library/m/blobs/") for path in first.paths())
        assert first.requests
        assert not registry.asked(blob.digest)


@pytest.mark.logs("does not match its digest|is blocked for")
async def test_p1_wrong_bytes_put_a_mirror_aside_for_that_blob(
    tmp_path: Path, registry: FaultyRegistry, mirror: FaultyRegistry
) -> None:
    model = model_of(registry, mirror)
    blob = model.blobs["model.gguf"]
    mirror.fault("wrong-bytes", BYTES, times=None)
    async with wired(tmp_path, model.name, blob, DATA, mirrors=(mirror.url,)) as world:
        await world.read(0, 10)
        assert len(mirror.asked(blob.digest)) == 2, "once is an accident"
        await world.read()
        assert len(mirror.asked(blob.digest)) == 2


@pytest.mark.logs("does not match its digest|chunk list was wrong|is blocked for .* a wrong chunk list")
async def test_p1_a_wrong_list_of_a_mirror_does_not_stand_against_the_registry(
    tmp_path: Path, registry: FaultyRegistry, mirror: FaultyRegistry
) -> None:
    """Its bytes are right, so they and the registry's fail its list alike: it is the list that is to blame."""
    model = model_of(registry, mirror)
    blob = model.blobs["model.gguf"]
    mirror.set_chunksums(blob.digest, list_of(some_bytes(len(DATA), seed=9)))
    async with wired(tmp_path, model.name, blob, DATA, mirrors=(mirror.url,)) as world:
        await world.read()
        assert any(LIST in path for path in registry.paths())


@pytest.mark.logs("chunk list of|is blocked for .* a chunk list that is none")
async def test_f5_a_list_of_a_mirror_that_is_none_is_had_from_the_registry(
    tmp_path: Path, registry: FaultyRegistry, mirror: FaultyRegistry
) -> None:
    model = model_of(registry, mirror)
    mirror.fault("replace-body", LIST, times=None, body=b"<html>")
    async with wired(tmp_path, model.name, model.blobs["model.gguf"], DATA, mirrors=(mirror.url,)) as world:
        await world.read()


@pytest.mark.logs("quarantine|list lied|is blocked for .* a wrong chunk list")
async def test_p4_a_registry_that_lies_consistently_is_found_out_when_the_whole_is_proved(
    tmp_path: Path, registry: FaultyRegistry, mirror: FaultyRegistry
) -> None:
    lie = DATA[:-1] + bytes([DATA[-1] ^ 1])
    model = model_of(registry, mirror)
    blob = model.blobs["model.gguf"]
    registry.set_chunksums(blob.digest, list_of(lie))
    last = len(DATA) // CHUNK * CHUNK
    for made in (registry, mirror):
        made.fault("replace-body", f"{BYTES}.*bytes={last}-", times=1, body=lie[last:])
    async with wired(tmp_path, model.name, blob, DATA, mirrors=(mirror.url,), span_size=CHUNK) as world:
        await world.file.read(0, last)
        right = False
        while not right:  # the read that completes the blob comes before the verdict
            await trio.sleep(0.001)
            with contextlib.suppress(FusefsError):
                right = bytes(await world.file.read(last, len(DATA) - last)) == DATA[last:]
        await world.read()


DEAD: list[tuple[Kind, dict[str, Any]]] = [
    ("silence-before", {}),
    ("silence-amid", {}),
    ("silence-amid", {"at": 0}),
    ("reset-before", {}),
    ("reset-amid", {}),
    ("status", {"status": 502}),
    ("status", {"status": 429, "retry_after": "30"}),
    ("status", {"status": 403}),
    ("status", {"status": 404}),
    ("whole-for-range", {}),
    ("redirect-loop", {}),
]


@pytest.mark.logs("chunk list of|a part of a file with all of it")
@pytest.mark.parametrize(
    ("kind", "options"), DEAD, ids=lambda value: str(value).translate({ord(c): None for c in "{}' "})
)
async def test_p6_a_mirror_in_trouble_does_not_use_up_the_timeout(
    tmp_path: Path, registry: FaultyRegistry, mirror: FaultyRegistry, kind: Kind, options: dict[str, Any]
) -> None:
    """The world ends after 20 s: to wait out `--timeout` at the mirror once would be too long."""
    model = model_of(registry, mirror)
    mirror.fault(kind, times=None, **options)
    changes = {"mirrors": (mirror.url,), "timeout": 240.0, "stall": 0.1}
    async with wired(tmp_path, model.name, model.blobs["model.gguf"], DATA, **changes) as world:
        await world.read(0, 10)
        await world.read()


async def test_p6_a_silent_mirror_is_not_waited_for_by_each_request(
    tmp_path: Path, registry: FaultyRegistry, mirror: FaultyRegistry
) -> None:
    model = model_of(registry, mirror)
    mirror.fault("silence-before", times=None)
    changes = {"mirrors": (mirror.url,), "timeout": 240.0, "stall": 0.2}
    async with wired(tmp_path, model.name, model.blobs["model.gguf"], DATA, **changes) as world:
        for off in range(0, len(DATA), CHUNK):
            await world.read(off, 10)
    assert len(mirror.requests) < len(DATA) // CHUNK / 2, "the next one is due when it has rested, longer each time"


@pytest.mark.parametrize("broken", ["refused", "redirects nowhere"])
async def test_p6_a_mirror_that_is_gone_costs_nothing(
    tmp_path: Path, registry: FaultyRegistry, mirror: FaultyRegistry, broken: str
) -> None:
    model = model_of(registry, mirror)
    mirror.fault("redirect", times=None, to=closed_port() + "/x")
    url = mirror.url if broken == "redirects nowhere" else closed_port()
    async with wired(tmp_path, model.name, model.blobs["model.gguf"], DATA, mirrors=(url,), timeout=240.0) as world:
        await world.read()


@pytest.mark.slow
@pytest.mark.logs("is in trouble")
async def test_p6_a_mirror_that_comes_back_is_found_though_the_registry_never_answers(
    tmp_path: Path, mirror: FaultyRegistry
) -> None:
    model = model_of(mirror)
    name = Name.parse(f"{closed_port()}/library/m")
    mirror.fault("reset-before", LIST, times=3)
    mirror.fault("status", BYTES, times=5, status=503)
    changes = {"mirrors": (mirror.url,), "timeout": 240.0}
    async with wired(tmp_path, name, model.blobs["model.gguf"], DATA, **changes) as world:
        await world.read()


async def test_p6_when_all_are_in_trouble_a_read_fails_within_the_timeout(tmp_path: Path) -> None:
    name = Name.parse(f"{closed_port()}/library/m")
    with FaultyRegistry() as elsewhere:
        blob = model_of(elsewhere).blobs["model.gguf"]
    async with wired(tmp_path, name, blob, DATA, mirrors=(closed_port(), closed_port()), timeout=SHORT) as world:
        with pytest.raises(FusefsError):
            await world.read()


async def test_p6_what_nobody_has_is_not_found_at_once(
    tmp_path: Path, registry: FaultyRegistry, mirror: FaultyRegistry
) -> None:
    """Whoever was in trouble before: the registry of the name has the last word."""
    with FaultyRegistry() as elsewhere:
        model = model_of(elsewhere)
    name = Name.parse(f"{registry.url}/library/m")
    changes = {"mirrors": (closed_port(), mirror.url), "timeout": 240.0, "single_chunk_limit": 1 << 20}
    async with wired(tmp_path, name, model.blobs["model.gguf"], DATA, **changes) as world:
        with pytest.raises(NotFound):
            await world.read()


@pytest.mark.logs("does not match its digest")
async def test_p1_when_all_lie_nobody_is_set_aside_and_the_next_read_asks_anew(
    tmp_path: Path, registry: FaultyRegistry, mirror: FaultyRegistry
) -> None:
    model = model_of(registry, mirror)
    for made in (registry, mirror):
        made.fault("wrong-bytes", BYTES, times=None)
    async with wired(tmp_path, model.name, model.blobs["model.gguf"], DATA, mirrors=(mirror.url,)) as world:
        with pytest.raises(DigestMismatch):
            await world.read(0, 10)
        for made in (registry, mirror):
            made.clear_faults()
        await world.read()
        assert mirror.sent(model.blobs["model.gguf"].digest)[-1] == 1, "the mirror, again"


@pytest.mark.parametrize("listless", ["mirror", "both"])
async def test_a_registry_without_lists_is_as_good_as_before_when_its_mirror_is_dead(
    tmp_path: Path, listless: str
) -> None:
    with FaultyRegistry(chunksums=listless == "mirror") as registry:
        model = model_of(registry)
        async with wired(tmp_path, model.name, model.blobs["model.gguf"], DATA, mirrors=(closed_port(),)) as world:
            await world.read()


def test_p10_through_a_mount_a_mirror_that_lies_is_set_aside_for_that_blob_alone_and_status_names_it(
    world: World,
) -> None:
    bad, good = some_bytes(300_000, seed=5), some_bytes(200_000, seed=6)
    with ExitStack() as stack:
        registry, mirror = stack.enter_context(FaultyRegistry()), stack.enter_context(FaultyRegistry())
        models = [made.add_model("library/m:latest", {"bad": bad, "good": good}) for made in (registry, mirror)]
        blobs = models[0].blobs
        mirror.fault("flipped-bit", f"/blobs/{blobs['bad'].digest}", times=None)
        options = ("--mirror", mirror.url, "--mirror", closed_port())
        logs = "does not match its digest|is blocked for"
        with world.mount(str(models[0].name), options=options, logs=logs) as mounted:
            assert (mounted.path / "bad").read_bytes() == bad
            assert (mounted.path / "good").read_bytes() == good
            shown = json.loads(world.fusefs("status", "--json", mounted.path).stdout)["mounts"][0]["sources_state"]
            plain = world.fusefs("status", mounted.path).stdout
        assert not registry.asked(blobs["good"].digest), "for other blobs the mirror is as good as before"
        assert len(registry.asked(blobs["bad"].digest)) == 1
    states = {state["label"]: state for state in shown}
    assert states[mirror.host] == {
        "label": mirror.host,
        "state": "blocked",
        "reason": f"wrong bytes twice of {blobs['bad'].digest.short}",
        "blobs_blocked": 1,
        "ignores_range": False,
        "mirror": True,
    }
    assert states[registry.host]["state"] == "ok"
    assert f"{mirror.host} is blocked for 1 blob: wrong bytes twice of" in plain

"""What goes over the wire for each way to read a model, with the real kernel: which ranges, in which order, once.

What reads a mapping is a program of its own: a page fault keeps the interpreter's lock, and the server needs it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.components import MANIFEST_TYPE, OllamaLayer, nginx, write_static_registry
from tests.fake_source import chunk_list
from tests.headers import entry, safetensors
from tests.patience import eventually
from tests.programs.models import random_bytes
from tests.programs.world import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.programs.world import Mounted, World

pytestmark = pytest.mark.reads

MIB = 1 << 20
EACH = 5 * MIB + 4096 * 3 + 64
COUNT = 16
_HEADER = safetensors({f"layer.{i:02}": entry(i * EACH, (i + 1) * EACH) for i in range(COUNT)})
DATA = _HEADER + random_bytes(COUNT * EACH, 5)
TENSORS = [(len(_HEADER) + i * EACH, len(_HEADER) + (i + 1) * EACH) for i in range(COUNT)]
LIES = (b"\xff" * 8, b"GGUF" + b"\xff" * 40, safetensors({"t": entry(0, 2**50)}))
SCATTERED = [TENSORS[i] for i in (9, 2, 13, 6, 0, 11, 4, 15)]

MAPPED = """
import hashlib, json, mmap, sys
found = hashlib.sha256()
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as area:
    for start, stop in json.loads(sys.argv[2]):
        for off in range(start, stop, 1 << 20):
            found.update(area[off:min(stop, off + (1 << 20))])
print(found.hexdigest())
"""

ONE_TENSOR = """
import sys
from safetensors import safe_open
with safe_open(sys.argv[1], framework="numpy") as file:
    file.get_tensor("layer.07")
"""

METADATA = """
import sys
from gguf import GGUFReader
print(len(GGUFReader(sys.argv[1]).tensors))
"""


class Served:
    """A model of one file in chunks of 1 MiB, served by nginx, which logs what it is asked for.

    Attributes:
        source: what to mount.
        digest: of the file.
    """

    def __init__(self, address: str, name: str, digest: str, log: Path) -> None:
        self.source = f"http://{address}/{name}:latest"
        self.digest = digest
        self._log = log
        self._seen = 0

    def forget(self) -> None:
        """Let what was asked for so far not count."""
        self._seen = len(self._lines())

    def spans(self) -> list[tuple[int, int]]:
        """What was asked for, as [start, stop), in the order in which it was answered; no chunk twice."""
        found = [re.search(rf"/blobs/{self.digest} bytes=(\d+)-(\d+)$", line) for line in self._lines()[self._seen :]]
        spans = [(int(match[1]), int(match[2]) + 1) for match in found if match]
        chunks = [chunk for span in spans for chunk in chunks_of([span])]
        assert len(chunks) == len(set(chunks)), "a chunk was asked for twice"
        return spans

    def asked(self) -> set[int]:
        """The chunks that were asked for."""
        return chunks_of(self.spans())

    def settled(self, mounted: Mounted) -> None:
        """Wait until nothing is on its way, and all that came was logged: nginx logs when it has answered."""

        def quiet() -> bool:
            status = mounted.status()
            (file,) = [file for file in status["files"] if file["path"] == "model.gguf"]
            idle = not status["in_flight"] and not status["queued"]
            return idle and sum(stop - start for start, stop in self.spans()) >= file["present"]

        # Twice: what to fetch ahead may just be found out.
        eventually("nothing in flight", lambda: quiet() and quiet())

    def _lines(self) -> list[str]:
        return self._log.read_text().splitlines()


def chunks_of(ranges: Iterable[tuple[int, int]]) -> set[int]:
    return {chunk for start, stop in ranges for chunk in range(start // MIB, (stop - 1) // MIB + 1)}


@contextmanager
def serving(root: Path, **models: bytes) -> Iterator[dict[str, Served]]:
    """nginx with a model for each name; its file is `model.gguf`, whatever is in it."""
    log = root / "asked"
    digests = {}
    for name, data in models.items():
        layer = OllamaLayer("model", data)
        write_static_registry(root / "www", f"library/{name}", "latest", [layer])
        lists = root / "www" / "v2" / "library" / name / "chunksums"
        lists.mkdir()
        (lists / layer.digest).write_text("".join(chunk_list(data, MIB).format()))
        digests[name] = layer.digest
    server = f"root {root}/www; default_type {MANIFEST_TYPE}; access_log {log} ranges;"
    with nginx(root / "nginx", server) as address:
        yield {name: Served(address, f"library/{name}", digest, log) for name, digest in digests.items()}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[dict[str, Served]]:
    gguf = (models / "llama" / "model.gguf").read_bytes()
    lies = {f"lie{i}": lie + DATA[len(lie) : 66 * MIB] for i, lie in enumerate(LIES)}
    with serving(tmp_path_factory.mktemp("patterns"), tensors=DATA, gguf=gguf, **lies) as found:
        yield found


@pytest.fixture
def model(served: dict[str, Served]) -> Served:
    """A file of 16 tensors of 5 MiB."""
    served["tensors"].forget()
    return served["tensors"]


def read_mapped(path: Path, ranges: Iterable[tuple[int, int]], data: bytes = DATA) -> None:
    """Touch the bytes of a mapping in order, and compare them."""
    ranges = list(ranges)
    right = hashlib.sha256(b"".join(data[start:stop] for start, stop in ranges)).hexdigest()
    assert run(sys.executable, "-c", MAPPED, path, json.dumps(ranges)).strip() == right


def read_plain(path: Path, ranges: Iterable[tuple[int, int]]) -> None:
    with path.open("rb", buffering=0) as file:
        for start, stop in ranges:
            assert os.pread(file.fileno(), stop - start, start) == DATA[start:stop]


@pytest.mark.slow
def test_tensors_in_random_order_through_a_mapping(world: World, model: Served) -> None:
    with world.mount(model.source) as mounted:
        read_mapped(mounted.path / "model.gguf", [(0, len(_HEADER)), *SCATTERED])
        model.settled(mounted)
        fetched = model.asked()
    assert chunks_of(SCATTERED) <= fetched
    beyond = fetched - chunks_of([(0, 1), *SCATTERED])
    assert len(beyond) <= 2 * len(SCATTERED), "what the kernel reads round the ends of a tensor"
    assert len(model.spans()) < len(fetched) / 1.5, "neighbours come together"


@pytest.mark.slow
def test_one_tensor_of_a_safetensors_file(world: World, model: Served) -> None:
    with world.mount(model.source) as mounted:
        run(sys.executable, "-c", ONE_TENSOR, mounted.path / "model.gguf")
        model.settled(mounted)
        fetched = model.asked()
    needed = chunks_of([(0, len(_HEADER)), TENSORS[7]])
    assert needed <= fetched
    assert len(fetched - needed) <= 2


@pytest.mark.slow
def test_the_metadata_of_a_gguf_file(world: World, served: dict[str, Served]) -> None:
    model = served["gguf"]
    with world.mount(model.source) as mounted:
        run(sys.executable, "-c", METADATA, mounted.path / "model.gguf")
        model.settled(mounted)
        assert len(model.asked()) <= 1 + 2


@pytest.mark.slow
def test_in_order_all_of_it_in_large_requests(world: World, model: Served) -> None:
    with world.mount(model.source) as mounted:
        read_plain(mounted.path / "model.gguf", [(off, off + MIB) for off in range(0, len(DATA) - MIB, MIB)])
        model.settled(mounted)
        fetched = model.asked()
        assert len(model.spans()) <= len(fetched) / 2
    assert fetched >= chunks_of([(0, len(DATA) - MIB)])


@pytest.mark.slow
def test_random_pages_cost_their_chunks(world: World, model: Served) -> None:
    pages = random.Random(4).sample(range(MIB, len(DATA) - MIB, 4096), 10)
    with world.mount(model.source) as mounted:
        read_plain(mounted.path / "model.gguf", [(off, off + 4096) for off in pages])
        model.settled(mounted)
        assert model.asked() <= {0, *chunks_of((off, off + 4096) for off in pages)}


@pytest.mark.slow
def test_backward(world: World, model: Served) -> None:
    stop = TENSORS[12][1]
    with world.mount(model.source) as mounted:
        read_plain(mounted.path / "model.gguf", [(off - MIB, off) for off in range(stop, TENSORS[8][0] + MIB, -MIB)])
        model.settled(mounted)
        fetched = model.asked()
    assert fetched >= chunks_of([(TENSORS[7][0] + MIB, stop)]), "ahead of the reader, into the tensor before"
    assert max(fetched) * MIB <= stop + MIB


@pytest.mark.slow
def test_reading_again_after_the_pages_were_dropped_causes_no_traffic(world: World, model: Served) -> None:
    with world.mount(model.source) as mounted:
        path = mounted.path / "model.gguf"
        read_plain(path, [(0, len(_HEADER)), *SCATTERED])
        model.settled(mounted)
        before = model.spans()
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        read_plain(path, [(0, len(_HEADER)), *sorted(SCATTERED)])
        model.settled(mounted)
        assert model.spans() == before


@pytest.mark.slow
def test_an_access_trace_is_replayed_by_the_next_cold_mount(world: World, model: Served, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with world.mount(model.source, cache=cache) as mounted:
        read_mapped(mounted.path / "model.gguf", [(0, len(_HEADER)), *SCATTERED])
        model.settled(mounted)
        first = model.asked()
    (start,) = (cache / "starts").iterdir()
    assert start.name == model.digest.replace(":", "-")
    for folder in ("partial", "blobs"):
        for path in (cache / folder).rglob("*"):
            if path.is_file() and start.name in str(path):
                path.unlink()
    model.forget()
    with world.mount(model.source, cache=cache) as mounted:
        path = mounted.path / "model.gguf"
        read_mapped(path, [(0, len(_HEADER))])
        model.settled(mounted)
        ahead = model.asked()
        assert len(ahead) >= 7
        assert len(ahead & chunks_of(SCATTERED[:2])) >= len(ahead) - 4, "what was wanted next, before it is asked for"
        read_mapped(path, SCATTERED)
        model.settled(mounted)
        assert model.asked() <= first


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(LIES)))
def test_p2_a_mount_reads_right_whatever_the_header_says(world: World, served: dict[str, Served], number: int) -> None:
    data = LIES[number] + DATA[len(LIES[number]) : 66 * MIB]
    with world.mount(served[f"lie{number}"].source) as mounted:
        path = mounted.path / "model.gguf"
        read_mapped(path, [(off, off + MIB) for off in (0, 40 * MIB, 3 * MIB, 65 * MIB)], data)
        assert path.read_bytes() == data
        mounted.wait_sealed("model.gguf")

"""The places that the benchmark reads from: curl and a mount get the same bytes there, and the mount is lazy."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from scripts.benchmarks import content, mounts, places, servers
from scripts.benchmarks.bench import Bench
from scripts.benchmarks.results import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
SIZE = 66 * MIB
"""Larger than what is always read whole."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("STATE", "CACHE", "CONFIG"):
            patch.setenv(f"XDG_{kind}_HOME", str(root / kind.lower()))
        model = content.make_model(root / "www", "big", "model.gguf", SIZE)
        with servers.nginx(root, root / "www") as near:
            yield Bench(root, root / "www", Report({}, {}), 1, model, model, near, None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(places.KINDS))
def test_p4_each_place_has_the_model_and_a_list_that_makes_it_lazy(bench: Bench, kind: str) -> None:
    with places.KINDS[kind](bench, bench.big) as place:
        curl = subprocess.run(["curl", "-sS", "-f", place.url], capture_output=True, check=True, timeout=60)
        assert curl.stdout == bench.big.plain.read_bytes()
        with (
            mounts.fusefs(bench.mnt, bench.fresh("cache"), [place.source]) as mount,
            (mount.folder / place.file).open("rb", buffering=0) as file,
        ):
            file.seek(60 * MIB)
            assert file.read(10) == curl.stdout[60 * MIB :][:10]
            assert mount.status()["counters"]["bytes_fetched"] < SIZE // 2

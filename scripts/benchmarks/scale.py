"""Scale (B12): one blob of 2^20 chunks, and a store of a thousand models."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from scripts.benchmarks import machine, mounts
from scripts.benchmarks.bench import Bench, WrongContent, read
from scripts.benchmarks.content import CHUNK, GGUF_TYPE, Model, write_manifest
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.shaped import curl_all, curl_chunk, far_apart
from scripts.benchmarks.stage import clear, run

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
PAGE = 4096
LAYERS = 20
HOST = "store.invalid"


def scale(bench: Bench, *, chunks: int, models: int) -> None:
    """Both."""
    _huge(bench, chunks)
    _many(bench, models)


def _huge(bench: Bench, chunks: int) -> None:
    """A blob of holes: each chunk is a MiB of zeros, and so has the same digest."""
    server = bench.far or bench.near
    size = chunks * CHUNK
    digest = "sha256:" + hashlib.sha256(str(size).encode()).hexdigest()  # nobody reads all of it
    folder = bench.www / "v2/library/huge"
    for part in ("blobs", "manifests", "chunksums"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with (folder / "blobs" / digest).open("wb") as file:
        file.truncate(size)
    zeros = "sha256:" + hashlib.sha256(bytes(CHUNK)).hexdigest()
    with (folder / "chunksums" / digest).open("w") as file:
        file.writelines(f"{zeros} {off}-{off + CHUNK - 1}\n" for off in range(0, size, CHUNK))
    write_manifest(folder / "manifests/latest", [{"mediaType": GGUF_TYPE, "digest": digest, "size": size}])
    machine.warm(folder / "chunksums" / digest)
    *offs, unread = far_apart(size, 13, seed=12)
    model = Model("huge", "model.gguf", folder / "blobs" / digest, digest, size, 0)
    curl = [curl_chunk(server, model, off) for off in offs]
    listed = curl_all(f"{server.url}/v2/library/huge/chunksums/{digest}")
    cache = bench.fresh("cache")
    with mounts.fusefs(bench.mnt, cache, [server.source(model)]) as mount:
        listing = run(["ls", "-lR", mount.folder]).seconds
        first = read("single", path=mount.folder / "model.gguf", offs=[PAGE])["each"][0]
        found = read("single", path=mount.folder / "model.gguf", offs=offs, pause=0.2)
        peak = mount.peak()
    if found["sha256"] != hashlib.sha256(bytes(PAGE * len(offs))).hexdigest():
        raise WrongContent("B12: the huge file is not zeros")
    with mounts.fusefs(bench.mnt, cache, [server.source(model)]) as again:
        second = read("single", path=again.folder / "model.gguf", offs=[unread])["each"][0]
    what = f"{size / 2**40:.3g} TiB, {chunks:,} chunks"
    _figures(bench, what, [mount.seconds, again.seconds], [listing], [peak])
    later = bench.report.raw("B12", f"{what}: later reads", "ms", [seconds * 1e3 for seconds in found["each"]])
    theirs = bench.report.raw("B12", f"{what}: curl of a chunk", "ms", [seconds * 1e3 for seconds in curl])
    bench.report.raw("B12", f"{what}: first read, with its chunk list", "s", [first])
    bench.report.raw("B12", f"{what}: first read after a remount", "s", [second])
    bench.report.raw("B12", f"{what}: curl of the chunk list", "s", [listed])
    first_words = f"{what}: first read ÷ curl of its chunk list and chunk"
    bench.report.add(
        Result("B12", first_words, first / (listed + theirs / 1e3), goal=Goal("≤", 1.3), note=f"{first:.2f} s"),
        Result("B12", f"{what}: first read after a remount ÷ curl of a chunk", second / theirs * 1e3),
        Result("B12", f"{what}: later reads ÷ curl of a chunk", later / theirs, goal=Goal("≤", 1.3)),
    )
    clear(cache, folder)


def _figures(bench: Bench, what: str, mount: list[float], listing: list[float], peaks: list[int]) -> None:
    mounting = bench.report.raw("B12", f"{what}: time to mount", "s", mount)
    listed = bench.report.raw("B12", f"{what}: ls -lR", "s", listing)
    bench.report.add(
        Result("B12", f"{what}: time to mount", mounting, "s", Goal("≤", 1)),
        Result("B12", f"{what}: ls -lR", listed, "s", Goal("≤", 3)),
        Result("B12", f"{what}: memory of the daemon", max(peaks) / MIB, "MiB", Goal("≤", 250)),
    )


def _many(bench: Bench, models: int) -> None:
    """Small blobs in a local store, many of them."""
    store = bench.fresh("store")
    names = _make_store(store, models)
    mounting: list[float] = []
    listing: list[float] = []
    first: list[float] = []
    peaks: list[int] = []
    for _ in range(min(3, bench.runs)):
        cache = bench.fresh("cache")
        machine.sync()
        with mounts.fusefs(bench.mnt, cache, names, "--store", str(store)) as mount:
            done = run(["ls", "-lR", mount.folder])
            files = sum(1 for line in done.out.splitlines() if line.startswith("-"))
            path = next(path for path in mount.folder.rglob("*") if path.is_file() and path.stat().st_size == PAGE)
            found = read("single", path=path, offs=[0])
            peaks.append(mount.peak())
        if files < models * LAYERS:
            raise WrongContent(f"B12: {files} files are listed, {models * LAYERS} are in the store")
        mounting.append(mount.seconds)
        listing.append(done.seconds)
        first.append(found["each"][0] * 1e3)
    what = f"{models:,} models, {models * LAYERS:,} blobs"
    _figures(bench, what, mounting, listing, peaks)
    bench.report.raw("B12", f"{what}: first read", "ms", first)
    clear(cache, store)


def _make_store(store: Path, models: int) -> list[str]:
    """An OLLAMA_MODELS folder; returns the names of its models."""
    (store / "blobs").mkdir(parents=True)
    names = []
    for model in range(models):
        layers: list[dict[str, object]] = []
        for layer in range(LAYERS):
            data = f"{model} {layer} ".encode().ljust(PAGE, b".")
            digest = hashlib.sha256(data).hexdigest()
            (store / "blobs" / f"sha256-{digest}").write_bytes(data)
            kind = GGUF_TYPE if layer == 0 else "application/vnd.fusefs.file"
            entry: dict[str, object] = {"mediaType": kind, "digest": f"sha256:{digest}", "size": PAGE}
            layers.append(entry if layer == 0 else entry | {"name": f"part-{layer}"})
        name = f"model{model}"
        folder = store / "manifests" / HOST / "many" / name
        folder.mkdir(parents=True)
        write_manifest(folder / "latest", layers)
        names.append(f"{HOST}/many/{name}:latest")
    return names

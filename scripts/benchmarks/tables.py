"""What a mount must have before it can serve (B21): a list of 10^5 lines, and the table of an archive.

The list lies where `fusefs publish` puts it, behind a tag of its own in a registry without `chunksums`: the longest way
to one.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

from scripts.benchmarks import machine, mounts
from scripts.benchmarks.bench import Bench, WrongContent, read
from scripts.benchmarks.content import CHUNK, FILE_TYPE, Model
from scripts.benchmarks.places import EMPTY, OCI_MANIFEST, TITLE
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.shaped import far_apart
from scripts.benchmarks.stage import clear

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
MEMBERS = 1000
MEMBER = 66 << 10
"""Bytes of a member: the archive is just larger than what is always read whole, so that only its table is."""

_CNCF = "application/vnd.cncf.model."


def tables(bench: Bench, *, lines: int) -> None:
    """B21."""
    _long_list(bench, lines)
    _archive(bench)


def _long_list(bench: Bench, lines: int) -> None:
    """A file of holes: each chunk is a MiB of zeros, and so has the same digest."""
    size = lines * CHUNK
    digest = "sha256:" + hashlib.sha256(str(size).encode()).hexdigest()  # nobody reads all of it
    folder = _repository(bench.www, "listed")
    with (folder / "blobs" / digest).open("wb") as file:
        file.truncate(size)
    zeros = "sha256:" + hashlib.sha256(bytes(CHUNK)).hexdigest()
    text = "".join(f"{zeros} {off}-{off + CHUNK - 1}\n" for off in range(0, size, CHUNK)).encode()
    layer = {"mediaType": FILE_TYPE, "digest": digest, "size": size, "annotations": {TITLE: "model.bin"}}
    manifest = _manifest(folder, "latest", {"layers": [layer]})
    kind = "application/vnd.fusefs.chunksums.v1"
    listed = _blob(folder, f"{kind}+text", text, f"{digest.replace(':', '-')}.chunksums")
    subject = {"mediaType": OCI_MANIFEST, "digest": manifest, "size": (folder / "manifests/latest").stat().st_size}
    tag = f"{manifest.replace(':', '-')}.chunksums"
    _manifest(folder, tag, {"artifactType": kind, "layers": [listed], "subject": subject})
    machine.warm(folder / "blobs" / str(listed["digest"]))
    model = Model("listed", "model.bin", folder / "blobs" / digest, digest, size, 0)
    first, later = list[float](), list[float]()
    for _ in range(bench.runs):
        cache = bench.fresh("cache")
        offs = far_apart(size, 6, seed=21)
        with mounts.fusefs(bench.mnt, cache, [bench.near.source(model)]) as mount:
            found = read("single", path=mount.folder / model.file, offs=offs, pause=0.2)
            fetched = mount.status()["counters"]["bytes_fetched"]
        if found["sha256"] != hashlib.sha256(bytes(PAGE * len(offs))).hexdigest():
            raise WrongContent("B21: the listed file is not zeros")
        if fetched > size // 2:
            raise WrongContent("B21: the list was not used")
        first.append(found["each"][0])
        later += found["each"][1:]
    clear(cache, folder)
    what = f"a list of {lines:,} lines"
    took = bench.report.raw("B21", f"{what}: first read", "s", first)
    took -= bench.report.raw("B21", f"{what}: later reads", "s", later)
    bench.report.add(
        Result("B21", f"{what}, found and checked: first read, less a later one", took, "s", Goal("≤", 0.3))
    )


def _archive(bench: Bench) -> None:
    """A mount of an archive against one of the same bytes as a file: the table is what is between them."""
    folder = _repository(bench.www, "archive")
    data = _tar()
    raw = _blob(folder, FILE_TYPE, data, "all.bin")
    tar = _blob(folder, f"{_CNCF}weight.v1.tar", data, "all")
    _manifest(folder, "plain", {"layers": [raw]})
    config = _blob(folder, f"{_CNCF}config.v1+json", b"{}", "")
    _manifest(folder, "tar", {"config": config, "artifactType": f"{_CNCF}manifest.v1+json", "layers": [tar]})
    lines = "".join(
        f"sha256:{hashlib.sha256(data[off : off + CHUNK]).hexdigest()} {off}-{min(len(data), off + CHUNK) - 1}\n"
        for off in range(0, len(data), CHUNK)
    )
    (folder / "chunksums").mkdir()
    (folder / "chunksums" / str(tar["digest"])).write_text(lines)
    took: dict[str, list[float]] = {"plain": [], "tar": []}
    requests = list[float]()
    for _ in range(bench.runs):
        for tag, seconds in took.items():
            cache = bench.fresh("cache")
            bench.near.mark()
            with mounts.fusefs(bench.mnt, cache, [f"{bench.near.url}/library/archive:{tag}"]) as mount:
                seconds.append(mount.seconds)
                if tag == "tar":
                    requests.append(sum(str(tar["digest"]) in request.path for request in bench.near.content()))
                    _check_members(mount.folder)
            clear(cache)
    clear(folder)
    what = f"a tar of {MEMBERS:,} members, {len(data) / 2**20:.0f} MiB"
    medians = {tag: bench.report.raw("B21", f"{what}: time to mount, {tag}", "s", found) for tag, found in took.items()}
    bench.report.add(
        Result(
            "B21",
            f"{what}: time to mount, less that of the same bytes as a file",
            medians["tar"] - medians["plain"],
            "s",
        ),
        Result("B21", f"{what}: requests for its table", max(requests), goal=Goal("≤", 12)),
    )


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number in range(MEMBERS):
            info = tarfile.TarInfo(f"part-{number // 100}/{number:04}.txt")
            info.size = MEMBER
            archive.addfile(info, io.BytesIO(_member(number)))
    return stream.getvalue()


def _member(number: int) -> bytes:
    return f"{number:08}".encode() * (MEMBER // 8)


def _check_members(mnt: Path) -> None:
    names = sorted(path.name for path in mnt.rglob("*.txt"))
    right = names == [f"{number:04}.txt" for number in range(MEMBERS)]
    if not right or (mnt / "part-7/0777.txt").read_bytes() != _member(777):
        raise WrongContent("B21: the archive's files are others")


# A registry of files, as nginx shows them


def _repository(www: Path, name: str) -> Path:
    folder = www / "v2/library" / name
    clear(folder)
    for part in ("blobs", "manifests"):
        (folder / part).mkdir(parents=True)
    return folder


def _blob(folder: Path, kind: str, data: bytes, title: str) -> dict[str, object]:
    """Its descriptor."""
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    (folder / "blobs" / digest).write_bytes(data)
    found: dict[str, object] = {"mediaType": kind, "digest": digest, "size": len(data)}
    return found | {"annotations": {TITLE: title}} if title else found


def _manifest(folder: Path, tag: str, words: dict[str, object]) -> str:
    """Its digest."""
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": EMPTY} | words).encode()
    (folder / "manifests" / tag).write_bytes(raw)
    return "sha256:" + hashlib.sha256(raw).hexdigest()

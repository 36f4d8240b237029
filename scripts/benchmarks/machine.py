"""Machine: what it is, what is in its memory, and what a process has used.  Linux' /proc and /sys."""

from __future__ import annotations

import os
import platform
import re
import resource
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from scripts.benchmarks.stage import CommandFailed, run

MIB = 1 << 20
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
    facts.update({name: version(name) for name in ("fusefs", "pyfuse3", "trio", "urllib3")})
    for name, argv, pattern in (
        ("libfuse", ["fusermount3", "--version"], r"version: (\S+)"),
        ("nginx", ["nginx", "-v"], r"nginx/(\S+)"),
        ("curl", ["curl", "--version"], r"curl (\S+)"),
        ("openssl", ["openssl", "version"], r"OpenSSL (\S+)"),
        ("rclone", ["rclone", "version"], r"rclone v(\S+)"),
        ("casync", ["casync", "--version"], r"casync (\S+)"),
        ("tc", ["tc", "-V"], r"iproute2-(\S+)"),
    ):
        facts[name] = _version(argv, pattern)
    return facts


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


def drop_caches() -> None:
    """Forget every file's pages; needs root."""
    sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


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


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process and its dead children so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICK


def peak_memory(pid: int) -> int:
    """Bytes of the largest resident set so far."""
    return int(_first(r"VmHWM:\s*(\d+)", f"/proc/{pid}/status")) << 10


def open_many() -> None:
    """Lift the limit of open files to what is allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

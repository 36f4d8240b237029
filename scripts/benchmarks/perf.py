"""Perf: in which code the daemon is found while it serves a cold read.  Linux' perf, as root."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

from scripts.benchmarks import mounts
from scripts.benchmarks.bench import dd
from scripts.benchmarks.stage import background, clear, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scripts.benchmarks.bench import Bench

HERTZ = 499
GROUPS = {
    "FUSE replies": r"\b(fuse_dev_do_write|fuse_dev_write|fuse_dev_splice_write)",
    "FUSE requests": r"\b(fuse_dev_do_read|fuse_dev_read|fuse_dev_poll)",
    "receiving": r"\b(tcp_recvmsg|inet_recvmsg|sock_recvmsg|sock_sendmsg)",
    "reading the cache": r"\b(filemap_read|generic_file_read|vfs_p?read|filemap_splice_read)",
    "writing to the cache": r"\b(ext4_|xfs_|btrfs_|iomap_|generic_perform_write|vfs_p?write|vfs_fallocate)",
    "locks and waiting": r"\b(futex|do_epoll_wait|ep_poll|schedule|sched_yield|do_poll)",
    "page faults": r"\b(exc_page_fault|asm_exc_page_fault|handle_mm_fault)",
}
"""What the kernel was asked for, by a function in the chain of calls; the first that is found counts."""

OWN = {"sha256": r"(sha256|libcrypto|_hashlib|_sha2)", "Python": r""}
"""Whose code it is, by the innermost function, where the kernel was not asked for anything."""


def sample(bench: Bench) -> str:
    """Fill in the report's shares; returns why it cannot be done, or nothing."""
    if not shutil.which("perf"):
        return "perf is missing (Debian: linux-perf)"
    if os.geteuid() != 0:
        return "only root may look into the kernel"
    data, cache = bench.folder / "perf.data", bench.fresh("cache")
    bench.settle()
    with mounts.fusefs(bench.mnt, cache, [bench.near.source(bench.big)]) as mount:
        argv = [
            "perf",
            "record",
            "-q",
            "-e",
            "cpu-clock",
            "-F",
            str(HERTZ),
            "-g",
            "-p",
            str(mount.pid),
            "-o",
            str(data),
        ]
        with background(argv, log=bench.folder / "perf.log") as process:
            wait_until(lambda: data.exists() or process.poll() is not None, 10)
            dd(mount.folder / bench.big.file)
            process.send_signal(signal.SIGINT)  # after which it writes what it has
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                return "perf does not end"
    clear(cache)
    script = run(["perf", "script", "-i", data, "-F", "ip,sym,dso"], limit=120).out
    clear(data)
    counts = count(re.split(r"\n\s*\n", script))
    if not counts:
        return "perf saw nothing: " + (bench.folder / "perf.log").read_text()[-200:]
    total = sum(counts.values())
    bench.report.shares.update({name: number / total for name, number in counts.most_common()})
    return ""


def count(chains: Iterable[str]) -> Counter[str]:
    """Sort call chains into groups: by what the kernel does for them, else by whose code it is."""
    return Counter(_group(chain.strip()) for chain in chains if chain.strip())


def _group(chain: str) -> str:
    for name, functions in GROUPS.items():
        if re.search(functions, chain):
            return name
    innermost = chain.splitlines()[0]
    if "[kernel" in innermost:
        return "the rest of the kernel"
    return next(name for name, code in OWN.items() if re.search(code, innermost))

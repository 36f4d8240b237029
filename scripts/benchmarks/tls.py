"""A cold read in order over TLS, on loopback (B17): every byte is deciphered before it is proved."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from scripts.benchmarks import flow, mounts, rclone, servers
from scripts.benchmarks.bench import Bench, Sample, check_file, dd
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.stage import clear, run
from scripts.benchmarks.threads import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scripts.benchmarks.servers import Server

GIB = 1 << 30
TRUST = "SSL_CERT_FILE"
"""What fusefs, rclone and openssl take their certificates from; curl is told by an option."""


def in_order(bench: Bench) -> None:
    """B17: against curl, curl and openssl, and rclone."""
    if not servers.has_nginx():
        bench.report.add(Result("B17", "cold, in order, TLS", note="there is no nginx"))
        return
    certificate, key = bench.folder / "tls.pem", bench.folder / "tls.key"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    run(["openssl", "req", "-x509", *kind, *subject, "-keyout", key, "-out", certificate], limit=30)
    with _trusted(certificate), servers.nginx(bench.folder / "tls", bench.www, (certificate, key)) as server:
        contenders: dict[str, Callable[[], Sample]] = {
            "fusefs mount": lambda: _fusefs(bench, server),
            "curl": lambda: _curl(bench, server, certificate, prove=False),
            "curl + openssl": lambda: _curl(bench, server, certificate, prove=True),
        }
        if bench.rivals and rclone.program():
            contenders["rclone off, best flags"] = lambda: _rclone(bench, server, certificate)
        samples = bench.take_turns("B17", contenders)
    words = "cold, in order, TLS: time ÷ "
    for name, goal in (("curl", None), ("curl + openssl", Goal("≤", 1.0)), ("rclone off, best flags", None)):
        if name in contenders:
            bench.compare("B17", words + name, samples, "fusefs mount", name, goal)
    spent = [sample.threads for sample in samples["fusefs mount"]]
    flow.note_threads(bench.report, "B17", "fusefs mount", spent, bench.big.size / GIB)


@contextlib.contextmanager
def _trusted(certificate: Path) -> Iterator[None]:
    os.environ[TRUST] = str(certificate)
    try:
        yield
    finally:
        del os.environ[TRUST]


def _fusefs(bench: Bench, server: Server) -> Sample:
    cache = bench.fresh("cache")
    with mounts.fusefs(bench.mnt, cache, [server.source(bench.big)]) as mount:
        before = mount.cpu()
        with counted(mount.pid) as threads:
            seconds, cpu = dd(mount.folder / bench.big.file)
        cpu += mount.cpu() - before
        check_file(mount.folder / bench.big.file, bench.big.digest)
    clear(cache)
    return Sample(seconds, cpu, threads=threads)


def _curl(bench: Bench, server: Server, certificate: Path, *, prove: bool) -> Sample:
    out = bench.folder / "download"
    done = run(["curl", "-s", "-f", "--cacert", certificate, "-o", out, server.url + bench.big.blob])
    seconds, cpu = done.seconds, done.cpu
    if prove:
        proof = run(["openssl", "dgst", "-sha256", out])
        seconds, cpu = seconds + proof.seconds, cpu + proof.cpu
    clear(out)
    return Sample(seconds, cpu)


def _rclone(bench: Bench, server: Server, certificate: Path) -> Sample:
    cache = bench.fresh("rclone")
    url = server.url + "/plain/"
    with rclone.mount(bench.mnt, cache, url, "off", None, "--ca-cert", str(certificate)) as mount:
        before = mount.cpu()
        seconds, cpu = dd(mount.folder / bench.big.file)
        cpu += mount.cpu() - before
    clear(cache)
    return Sample(seconds, cpu)

"""JuiceFS, a peer that keeps files as blocks in a bucket: its volume in SeaweedFS on loopback, and its mounts.

The bucket stands for the registry, the volume's catalogue is a file of SQLite.  JuiceFS asks the bucket for checksums
that it keeps itself, and proves no digest.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from scripts.benchmarks import mounts
from scripts.benchmarks.servers import free_ports
from scripts.benchmarks.stage import CommandFailed, background, beside_python, clear, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

KEY, SECRET = "bench", "no secret, for loopback alone"
VOLUME_MIB = 1024
QUIET = ("--no-usage-report", "--no-syslog", "--metrics", "127.0.0.1:0", "--backup-meta", "0")
"""Nothing goes to anybody, and no port is fixed."""


class Volume:
    """A volume of JuiceFS and the bucket that it is in.  It is filled once, and served while somebody measures it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._catalogue = f"sqlite3://{folder}/catalogue.db"
        names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))

    @contextlib.contextmanager
    def served(self, mnt: Path, *files: Path) -> Iterator[None]:
        """Serve it; these files are put into it when it is new.

        Raises:
            CommandFailed, LookupError: it cannot be had.
        """
        with self._bucket() as url:
            if not self._folder.joinpath("filled").exists():
                self._fill(url, mnt, files)
            yield

    @contextlib.contextmanager
    def mount(self, folder: Path, cache_dir: Path, *options: str) -> Iterator[mounts.Mount]:
        """Mount it, with a cache of its own."""
        argv: list[str | Path] = [_juicefs(), "--no-agent", "mount", *QUIET, "--cache-dir", cache_dir, *options]
        argv += [self._catalogue, folder]
        with mounts.foreground(argv, folder) as made:
            yield made

    def _fill(self, url: str, mnt: Path, files: Sequence[Path]) -> None:
        access = ["--storage", "s3", "--bucket", url, "--access-key", KEY, "--secret-key", SECRET]
        run([_juicefs(), "--no-agent", "format", *access, "--trash-days", "0", self._catalogue, "bench"], limit=60)
        with self.mount(mnt, self._folder / "cache") as made:
            for file in files:
                shutil.copyfile(file, made.folder / file.name)
        clear(self._folder / "cache")
        self._folder.joinpath("filled").touch()

    @contextlib.contextmanager
    def _bucket(self) -> Iterator[str]:
        """SeaweedFS on loopback, as small as it can be; the address of a bucket."""
        weed = beside_python("weed")
        if weed is None:
            raise LookupError("weed is not installed")
        data, access, log = (self._folder / name for name in ("data", "access.json", "weed.log"))
        data.mkdir(parents=True, exist_ok=True)
        key = {"credentials": [{"accessKey": KEY, "secretKey": SECRET}], "name": KEY, "actions": ["Admin"]}
        access.write_text(json.dumps({"identities": [key]}))
        argv: list[str | Path] = [
            weed,
            "server",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
        ]
        # The two ports that are 0 are of services that nobody asks here, and would be fixed.
        argv += [f"-s3.config={access}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
        argv += [f"-master.volumeSizeLimitMB={VOLUME_MIB}", *(f"-{name}={port}" for name, port in self._ports.items())]
        url = f"http://127.0.0.1:{self._ports['s3.port']}"
        with background(argv, log=log) as process:
            wait_until(lambda: process.poll() is not None or _answers(url), 60, pause=0.1)
            if process.poll() is not None or not _answers(url):
                raise CommandFailed(f"weed does not answer: {log.read_text()[-300:]}")
            yield f"{url}/bench"


def why_not() -> str:
    """Why nothing can be measured; empty when it can."""
    lacking = [name for name in ("juicefs", "weed") if beside_python(name) is None]
    return f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed" if lacking else ""


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True  # it wants a signature: it is there
    except OSError:
        return False


def _juicefs() -> Path:
    juicefs = beside_python("juicefs")
    if juicefs is None:
        raise LookupError("juicefs is not installed")
    return juicefs

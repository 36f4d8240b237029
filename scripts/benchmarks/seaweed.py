"""SeaweedFS on loopback, a bucket of S3's protocol: what JuiceFS keeps its blocks in, and a place of models itself."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from scripts.benchmarks import servers
from scripts.benchmarks.stage import CommandFailed, background, beside_python, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

KEY, SECRET = "bench", "no secret, for loopback alone"
VOLUME_MIB = 1024


def free_ports() -> dict[str, int]:
    """A port for each of its services."""
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    return dict(zip(names, servers.free_ports(len(names)), strict=True))


@contextlib.contextmanager
def serving(folder: Path, ports: Mapping[str, int]) -> Iterator[str]:
    """Run it as small as it can be, with what the folder holds from before; `http://host:port`.

    Raises:
        LookupError: it is not installed.
        CommandFailed: it does not start.
    """
    weed = beside_python("weed")
    if weed is None:
        raise LookupError("weed is not installed")
    data, access, log = (folder / name for name in ("data", "access.json", "weed.log"))
    data.mkdir(parents=True, exist_ok=True)
    key = {"credentials": [{"accessKey": KEY, "secretKey": SECRET}], "name": KEY, "actions": ["Admin"]}
    access.write_text(json.dumps({"identities": [key]}))
    argv: list[str | Path] = [weed, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    # The two ports that are 0 are of services that nobody asks here, and would be fixed.
    argv += [f"-s3.config={access}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    argv += [f"-master.volumeSizeLimitMB={VOLUME_MIB}", *(f"-{name}={port}" for name, port in ports.items())]
    url = f"http://127.0.0.1:{ports['s3.port']}"
    with background(argv, log=log) as process:
        wait_until(lambda: process.poll() is not None or _answers(url), 60, pause=0.1)
        if process.poll() is not None or not _answers(url):
            raise CommandFailed(f"weed does not answer: {log.read_text()[-300:]}")
        yield url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True  # it wants a signature: it is there
    except OSError:
        return False

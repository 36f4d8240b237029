"""Real servers on loopback for the tests: Debian's docker-registry and nginx, `fusefs serve`, a certificate."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
OLLAMA_TYPE = "application/vnd.ollama.image."

FUSEFS = (sys.executable, "-m", "fusefs")


class Process:
    """A server in a process of its own.  What it writes is kept, and can be waited for instead of sleeping."""

    def __init__(
        self, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
    ) -> None:
        self.output: list[str] = []
        self._wrote = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            # Servers end with the tests, also when those are killed.
            ["setpriv", "--pdeathsig", "TERM", *command],
            env=env,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._drain, name=f"output of {command[0]}", daemon=True)
        self._reader.start()

    def _drain(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with self._wrote:
                    self.output.append(line)
                    self._wrote.notify_all()
        with self._wrote:
            self._ended = True
            self._wrote.notify_all()

    def wait_for_line(self, pattern: str, timeout: float = 60) -> re.Match[str]:
        """The first line that matches, already written or still to come."""

        def find() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line) for line in self.output)), None)

        with self._wrote:
            self._wrote.wait_for(lambda: self._ended or find() is not None, timeout)
            match = find()
        if match is None:
            self.stop()
            raise AssertionError(f"{self._process.args!r} did not write {pattern!r}:\n{''.join(self.output)}")
        return match

    def stop(self, *, signum: int = signal.SIGTERM, timeout: float = 20) -> int:
        """End it.  Returns its exit status; idempotent."""
        if self._process.poll() is None:
            self._process.send_signal(signum)
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        self._reader.join(timeout)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def fusefs_serve(directory: Path, *options: str) -> Iterator[str]:
    """Run `fusefs serve` on a port of the kernel's choice.  Yields `host:port`."""
    with fusefs_serve_process(directory, *options) as (_, address):
        yield address


@contextmanager
def fusefs_serve_process(directory: Path, *options: str, listen: str = "127.0.0.1:0") -> Iterator[tuple[Process, str]]:
    """The same, with the process, for tests that end it themselves."""
    env = {**os.environ, "XDG_CACHE_HOME": str(directory.parent / f"{directory.name}.serve-cache")}
    with Process([*FUSEFS, "serve", directory, "--listen", listen, *options], env=env) as process:
        yield process, process.wait_for_line(r"https?://((?:127\.0\.0\.1|\[::1\]):[1-9]\d*)")[1]


@contextmanager
def docker_registry(root: Path, *, auth: Mapping[str, Any] | None = None, caches: str = "") -> Iterator[str]:
    """Run Debian's docker-registry with file-system storage under `root`.  Yields `host:port`.

    Args:
        root: a folder.
        auth: what its configuration says under that name: `htpasswd` or `token`.
        caches: the `host:port` of a registry of which it is a pull-through cache.
    """
    root.mkdir(parents=True, exist_ok=True)
    config = {
        "version": "0.1",
        "log": {"level": "info", "formatter": "text", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(root / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0"},
        **({"auth": auth} if auth else {}),
        **({"proxy": {"remoteurl": f"http://{caches}"}} if caches else {}),
    }
    path = root / "config.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    env = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with Process(["docker-registry", "serve", path], env=env) as process:
        yield process.wait_for_line(r"listening on (127\.0\.0\.1:\d+)")[1]


HTPASSWD = "user:$2b$04$d3yIFJt2GJSbVEA9boaaKuU32vxQTqvCSCDFwHCvT.YzsJwq6QA0W\n"
"""What an htpasswd file says of `user` with the password `hidden`."""


def htpasswd(root: Path) -> dict[str, Any]:
    """The `auth` of a docker_registry that lets in `user` with the password `hidden`."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "htpasswd").write_text(HTPASSWD)
    return {"htpasswd": {"realm": "fusefs tests", "path": str(root / "htpasswd")}}


def oci_layout(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write a folder that skopeo copies as `oci:<folder>`: an OCI manifest with a titled layer for each file."""
    blobs = root / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def described(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content), **more}

    layers = [
        described(data, "application/vnd.example.model", annotations={"org.opencontainers.image.title": name})
        for name, data in files.items()
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST_TYPE,
        "config": described(b'{"architecture": "amd64", "os": "linux"}', "application/vnd.oci.image.config.v1+json"),
        "layers": layers,
    }
    index = {"schemaVersion": 2, "manifests": [described(json.dumps(manifest).encode(), OCI_MANIFEST_TYPE)]}
    (root / "index.json").write_text(json.dumps(index))
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return root


def skopeo_push(layout: Path, address: str, name: str, *, user: str = "") -> None:
    """Have skopeo copy an OCI layout to `name` on a registry without TLS."""
    credentials = [f"--dest-creds={user}"] if user else []
    command = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", *credentials]
    done = subprocess.run(
        [*command, f"oci:{layout}", f"docker://{address}/{name}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def nginx(
    root: Path, server: str, *, certificate: Certificate | None = None, host: str = "127.0.0.1", around: str = ""
) -> Iterator[str]:
    """Run nginx with one server block, whose body is `server`, on a free port.  Yields `host:port`.

    What `around` says of caches and logs stands before that block.

    The listening socket is ours and is inherited, the way that nginx hands it to a new version of itself: the port
    cannot be taken by somebody else in between, and connections wait in its queue until nginx is up.
    """
    root.mkdir(parents=True, exist_ok=True)
    listener = socket.create_server((host, 0))
    port = listener.getsockname()[1]
    tls = ""
    if certificate is not None:
        tls = f"ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};"
    temporary = "".join(
        f"{what}_temp_path {root}/{what};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = root / "nginx.conf"
    config.write_text(
        f"""
        {"user root;" if os.geteuid() == 0 else ""}
        daemon off; worker_processes 1; pid {root}/nginx.pid; error_log stderr notice;
        events {{ worker_connections 256; }}
        http {{
            access_log off; log_format ranges '$uri $http_range'; {temporary}
            {around}
            server {{ listen {host}:{port} {"ssl" if certificate else ""}; {tls} {server} }}
        }}
        """
    )
    executable = shutil.which("nginx") or "/usr/sbin/nginx"
    env = {**os.environ, "NGINX": f"{listener.fileno()};"}
    with listener, Process([executable, "-c", config, "-p", root], env=env, pass_fds=[listener.fileno()]) as process:
        process.wait_for_line("start worker process ")
        listener.close()
        yield f"{host}:{port}"


@dataclass(frozen=True)
class Certificate:
    """A server certificate for 127.0.0.1 (and no other), and the authority that signed it.

    Attributes:
        authority: PEM file of the authority, for SSL_CERT_FILE.
        chain: PEM file of the server's certificate.
        key: PEM file of the server's key.
    """

    authority: Path
    chain: Path
    key: Path


def make_certificate(root: Path) -> Certificate:
    """Make an authority and a certificate that it signed."""
    root.mkdir(parents=True, exist_ok=True)
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fusefs test authority")])
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fusefs test server")])
    now = dt.datetime.now(dt.UTC)

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    authority = (
        builder(authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = (
        builder(server_name, server_key)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = Certificate(root / "authority.pem", root / "server.pem", root / "server.key")
    certificate.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    certificate.chain.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    certificate.key.write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate


@dataclass(frozen=True)
class OllamaLayer:
    """A layer as Ollama pushes it.

    Attributes:
        kind: the end of its media type: `model`, `template`, `license`, …
        content: its bytes.
    """

    kind: str
    content: bytes

    @property
    def digest(self) -> str:
        """Text form."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"


def ollama_manifest(layers: Sequence[OllamaLayer], config: bytes) -> bytes:
    """A manifest in the form that `ollama push` writes."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {
            "mediaType": CONFIG_TYPE,
            "digest": f"sha256:{hashlib.sha256(config).hexdigest()}",
            "size": len(config),
        },
        "layers": [
            {"mediaType": OLLAMA_TYPE + layer.kind, "digest": layer.digest, "size": len(layer.content)}
            for layer in layers
        ],
    }
    return json.dumps(document, separators=(",", ":")).encode()


CONFIG = b'{"model_format":"gguf","model_family":"llama","model_type":"10M","file_type":"F16","os":"linux"}'


def push(address: str, repository: str, tag: str, layers: Sequence[OllamaLayer], config: bytes = CONFIG) -> bytes:
    """Push a model to a registry as a client does: blobs first, then the manifest.  Returns the manifest."""
    with urllib3.PoolManager(retries=False, timeout=30) as http:
        base = f"http://{address}/v2/{repository}"
        for content in (config, *(layer.content for layer in layers)):
            push_blob(http, base, content)
        manifest = ollama_manifest(layers, config)
        answer = http.request("PUT", f"{base}/manifests/{tag}", body=manifest, headers={"Content-Type": MANIFEST_TYPE})
        assert answer.status == 201, answer.data
    return manifest


def push_blob(http: urllib3.PoolManager, base: str, content: bytes) -> None:
    """Push one blob to the repository at `base`."""
    answer = http.request("POST", f"{base}/blobs/uploads/")
    assert answer.status == 202, answer.data
    location = answer.headers["Location"]
    digest = f"sha256%3A{hashlib.sha256(content).hexdigest()}"
    answer = http.request(
        "PUT",
        f"{location}{'&' if '?' in location else '?'}digest={digest}",
        body=content,
        headers={"Content-Type": "application/octet-stream"},
    )
    assert answer.status == 201, answer.data


def write_static_registry(
    root: Path, repository: str, tag: str, layers: Sequence[OllamaLayer], config: bytes = CONFIG
) -> bytes:
    """Write a registry's answers as files, for a web server that knows nothing of registries.  Returns the manifest."""
    base = root / "v2" / repository
    (base / "manifests").mkdir(parents=True)
    (base / "blobs").mkdir()
    manifest = ollama_manifest(layers, config)
    (base / "manifests" / tag).write_bytes(manifest)
    for content in (config, *(layer.content for layer in layers)):
        (base / "blobs" / f"sha256:{hashlib.sha256(content).hexdigest()}").write_bytes(content)
    return manifest

"""A registry that refuses, and hosts written in unusual ways: what the command says, and what `status` does."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.certificate import make_certificate
from tests.components import fusefs_serve_process
from tests.faulty_registry import FaultyRegistry

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

BASIC = "Basic " + base64.b64encode(b"user:right").decode()

pytestmark = pytest.mark.slow


def _config(fusefs: Shell, host: str, password: str, mode: int = 0o600) -> Path:
    path = Path(fusefs.env["HOME"]) / ".docker" / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"user:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    path.chmod(mode)
    return path


@pytest.mark.parametrize("command", ["mount", "pull"])
def test_the_error_names_the_cause_and_the_file(fusefs: Shell, command: str) -> None:
    where = [fusefs.folder("mnt")] if command == "mount" else []
    with FaultyRegistry(basic=BASIC) as registry:
        name = str(registry.add_model("library/m:latest", {"model.gguf": b"data"}).name)
        line = fusefs.fails(command, name, *where)
        path = Path(fusefs.env["HOME"]) / ".docker" / "config.json"
        assert line.endswith(
            f"it asks for Basic: there is no {path}; for who has a password: `fusefs login {registry.host}`"
        )
        _config(fusefs, registry.host, "wrong")
        assert f"{path} has a password for {registry.host}, which it refuses" in fusefs.fails(command, name, *where)
        _config(fusefs, registry.host, "right", 0o644)
        assert f"{path} is not used: others may read or write it (mode 0644); chmod 600 it" in fusefs.fails(
            command, name, *where
        )


def test_p7_a_refusal_does_not_mount_what_is_cached_in_silence(fusefs: Shell) -> None:
    with FaultyRegistry(basic=BASIC) as registry:
        name = str(registry.add_model("library/m:latest", {"model.gguf": b"data"}).name)
        _config(fusefs, registry.host, "right")
        assert fusefs("pull", name).stderr == ""
        _config(fusefs, registry.host, "wrong")
        mnt = fusefs.folder("mnt")
        said = fusefs("mount", name, mnt).stderr
        assert said.count("\n") == 1, said
        assert said.startswith(f"fusefs: warning: {registry.host}: registry responded with status 401")
        assert "which it refuses; using the manifest of" in said
        (note,) = json.loads(fusefs("status", mnt, "--json").stdout)["mounts"][0]["notes"]
        assert said == f"fusefs: warning: {note}\n"
        assert f"warning: {note}" in fusefs("status", mnt).stdout
        assert (mnt / "model.gguf").read_bytes() == b"data"
        fusefs("umount", mnt)
        assert fusefs("pull", name).stderr == said
        assert json.loads(fusefs("pull", name, "--json").stdout)["notes"] == [note]


def test_p7_the_wrong_scheme_does_not_mount_what_is_cached_in_silence(fusefs: Shell, tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        name = registry.add_model("library/m:latest", {"model.gguf": b"data"}).name
        fusefs("pull", str(name))
        mnt = fusefs.folder("mnt")
        said = fusefs("mount", f"https://{registry.host}/library/m", mnt).stderr
        assert said.count("\n") == 1, said
        assert "to ask it in the clear, write http:// before its name; using the manifest of" in said
        fusefs("umount", mnt)
    with FaultyRegistry(certificate=make_certificate(tmp_path)) as registry:
        line = fusefs.fails("pull", f"http://{registry.host}/library/m")
        assert line.endswith("write https:// before its name")


def test_a_password_in_a_name_is_shown_by_no_command(fusefs: Shell) -> None:
    mnt = fusefs.folder("mnt")
    for args in (
        ("pull", "http://user:hidden@h/n/m"),
        ("mount", "http://user:hidden@h", mnt),
        ("mount", "m", "user:hidden@h/n/m"),
        ("pin", "user:hidden@h/n/m"),
        ("pull", "m", "--mirror", "http://user:hid/hidden@h"),
    ):
        assert "hid" not in fusefs.fails(*args, code=2)


def test_a_dead_proxy_is_blamed(fusefs: Shell) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{closed.getsockname()[1]}"
        fusefs.env["https_proxy"] = f"http://user:hidden@{proxy}"
        line = fusefs.fails("pull", "reg.example.org:5000/team/m", "--timeout", "1s")
    assert line.startswith(f"the proxy {proxy} (https_proxy): ")
    assert "it was to ask reg.example.org:5000" in line
    assert "hidden" not in line


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_what_serve_prints_of_ipv6_can_be_pulled_and_mounted(fusefs: Shell, tmp_path: Path) -> None:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "tiny" / "a.txt").write_bytes(b"over IPv6")
    with fusefs_serve_process(tmp_path / "models", listen="[::1]:0") as (_, address):
        assert address.startswith("[::1]:")
        name = f"http://{address}/local/tiny"
        mnt = fusefs.folder("mnt")
        fusefs("mount", name, mnt)
        assert (mnt / "a.txt").read_bytes() == b"over IPv6"
        fusefs("umount", mnt)
        fusefs("pull", name)
    fusefs("mount", name, mnt)
    assert (mnt / "a.txt").read_bytes() == b"over IPv6", "without a network, by the cache's manifest"
    shown = subprocess.run(["findmnt", "-no", "SOURCE", mnt], capture_output=True, text=True, check=True, timeout=10)
    assert shown.stdout.strip() == f"{name}:latest"
    fusefs("umount", mnt)
    (model,) = json.loads(fusefs("ls", "--json").stdout)["models"]
    assert model["name"] == f"{address}/local/tiny:latest"
    assert fusefs("pin", name).stderr == ""
    assert f"{address}/local/tiny" in fusefs("ls").stdout

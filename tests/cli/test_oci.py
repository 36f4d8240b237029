"""Registries as they are: Debian's docker-registry with passwords and with a token service, filled by skopeo."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.values.digest import Digest
from tests.components import docker_registry, htpasswd, oci_layout, skopeo_push
from tests.faulty_registry import FaultyRegistry
from tests.programs.models import random_bytes
from tests.token_server import TokenServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Shell

FILES = {"model.gguf": random_bytes(300_000, 7), "tokenizer.json": b"{}", "sub/config.json": b'{"a": 1}'}
DEEP = "a/b.c/d_e/f__g/h-i/j---k/0/1a/a1/z"
LONG = "T" * 128


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return oci_layout(tmp_path_factory.mktemp("layout"), FILES)


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory, layout: Path) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        for name in ("flat:v1", f"{DEEP}:{LONG}", "team/model:v1"):
            skopeo_push(layout, address, name)
        yield address


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory, layout: Path) -> Iterator[str]:
    root = tmp_path_factory.mktemp("registry")
    with docker_registry(root, auth=htpasswd(root)) as address:
        skopeo_push(layout, address, "team/deep/model:v1", user="user:hidden")
        yield address


def _read(fusefs: Shell, source: str, name: str = "mnt") -> None:
    mnt = fusefs.folder(name)
    fusefs("mount", source, mnt)
    found = {str(path.relative_to(mnt)): path.read_bytes() for path in mnt.rglob("*") if path.is_file()}
    assert {path: found[path] for path in FILES} == FILES
    fusefs("umount", mnt)


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        "{address}/flat:v1",
        f"oci://{{address}}/{DEEP}:{LONG}",
        "oci+http://{address}/flat:v1",
        "http://{address}/flat:v1",
        "docker://{address}/team/model:v1",
    ],
)
def test_a_model_has_the_name_that_skopeo_gave_it(fusefs: Shell, open_registry: str, source: str) -> None:
    _read(fusefs, source.format(address=open_registry))


@pytest.mark.slow
@pytest.mark.parametrize("pinned", [False, True])
def test_a_mount_costs_three_round_trips_before_its_files_are_listed(fusefs: Shell, pinned: bool) -> None:
    """Challenge, token, manifest."""
    with FaultyRegistry(token="t") as registry:
        model = registry.add_model("a/b/c/m:v1", {"model.gguf": b"x" * 1000})
        reference = f"@{Digest.of(model.manifest)}" if pinned else ":v1"
        mnt = fusefs.folder("mnt")
        fusefs("mount", f"oci://{registry.host}/a/b/c/m{reference}", mnt)
        listed = {path.name: path.stat().st_size for path in mnt.iterdir()}
        asked = registry.paths()
        fusefs("umount", mnt)
    assert listed["model.gguf"] == 1000
    manifest = f"/v2/a/b/c/m/manifests/{reference[1:]}"
    token = "/token?scope=repository%3Aa%2Fb%2Fc%2Fm%3Apull&service=faulty"
    assert asked == [manifest, token, manifest]


@pytest.mark.slow
def test_a_host_lists_models_of_any_depth(fusefs: Shell, open_registry: str) -> None:
    said = fusefs("pull", f"oci://{open_registry}", code=2)
    for name in ("flat:v1", f"{DEEP}:{LONG}", "team/model:v1"):
        assert f"{open_registry}/{name}" in said.stdout + said.stderr


@pytest.mark.slow
def test_one_mount_of_several_depths_and_p7_again_without_the_registry(fusefs: Shell, layout: Path) -> None:
    with docker_registry(fusefs.root / "registry") as address:
        for name in ("flat:v1", f"{DEEP}:v1"):
            skopeo_push(layout, address, name)
        names = [f"oci://{address}/flat:v1", f"oci://{address}/{DEEP}:v1"]
        fusefs("pull", *names)
        fusefs("pin", names[0])
    mnt = fusefs.folder("mnt")
    said = fusefs("mount", *names, mnt).stderr
    assert "using the manifest of" in said
    for folder in ("flat/v1", "z/v1"):
        for path, data in FILES.items():
            assert (mnt / folder / path).read_bytes() == data
    fusefs("umount", mnt)
    rows = fusefs("ls").stdout
    assert f"{address}/flat:v1" in rows
    assert f"{address}/{DEEP}:v1" in rows
    fusefs("rm", names[1])
    assert DEEP not in fusefs("ls").stdout


# login


def _login(fusefs: Shell, *args: str, password: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "fusefs", "login", *args, "--password-stdin"],
        env=fusefs.env,
        input=f"{password}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done
    assert password not in done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("\n") == 1
    return done.stdout + done.stderr


def _config(fusefs: Shell) -> Path:
    return Path(fusefs.env["HOME"]) / ".docker" / "config.json"


def test_a_login_opens_a_registry_and_skopeo_reads_it_and_a_logout_ends_it(fusefs: Shell, closed_registry: str) -> None:
    source = f"oci://{closed_registry}/team/deep/model:v1"
    assert "it asks for Basic: there is no" in fusefs.fails("pull", source)
    said = _login(fusefs, closed_registry, "-u", "user", password="wrong", code=1)
    assert "it asks for Basic: the password that was given, which it refuses" in said
    assert not _config(fusefs).exists()
    said = _login(fusefs, closed_registry, "-u", "user", password="hidden")
    assert said == f"{closed_registry}: the password is kept in {_config(fusefs)}\n"
    assert os.stat(_config(fusefs)).st_mode & 0o777 == 0o600
    _read(fusefs, source)
    inspect = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"--authfile={_config(fusefs)}"]
    subprocess.run([*inspect, f"docker://{closed_registry}/team/deep/model:v1"], check=True, capture_output=True)
    assert fusefs("logout", closed_registry).stdout == f"{closed_registry}: the password is forgotten\n"
    assert "has no password for" in fusefs.fails("pull", source, "--cache-dir", fusefs.root / "other")
    assert f"has no password for {closed_registry}" in fusefs.fails("logout", closed_registry)


@pytest.mark.slow
def test_skopeos_login_is_found_by_us(fusefs: Shell, closed_registry: str) -> None:
    """In podman's auth.json, under a namespace."""
    subprocess.run(
        ["skopeo", "login", "--tls-verify=false", "-u", "user", "-p", "hidden", f"{closed_registry}/team"],
        env=fusefs.env,
        check=True,
        capture_output=True,
    )
    path = Path(fusefs.env["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    assert list(json.loads(path.read_text())["auths"]) == [f"{closed_registry}/team"]
    fusefs("pull", f"oci://{closed_registry}/team/deep/model:v1")
    line = fusefs.fails("pull", f"oci://{closed_registry}/other/model:v1")
    assert f"has no password for {closed_registry}" in line


@pytest.fixture
def service(fusefs: Shell) -> Iterator[TokenServer]:
    with TokenServer(fusefs.root, users={"user": "hidden"}, public={"public/deep/model"}) as service:
        yield service


@pytest.fixture
def guarded(fusefs: Shell, layout: Path, service: TokenServer) -> Iterator[str]:
    """A registry whose token service is on another port, with a model for everybody and one for the user."""
    with docker_registry(fusefs.root / "registry", auth=service.auth) as address:
        for name in ("public", "private"):
            skopeo_push(layout, address, f"{name}/deep/model:v1", user="user:hidden")
        service.requests.clear()
        yield address


@pytest.mark.slow
def test_an_anonymous_token_does_for_what_is_public(fusefs: Shell, guarded: str, service: TokenServer) -> None:
    _read(fusefs, f"oci://{guarded}/public/deep/model:v1")
    assert service.requests == [("GET", "", "repository:public/deep/model:pull")], "one token for the whole mount"
    assert "it asks for Bearer: there is no " in fusefs.fails("pull", f"oci://{guarded}/private/deep/model:v1")


@pytest.mark.slow
def test_a_token_service_elsewhere_gets_the_password_when_the_person_says_so(
    fusefs: Shell, guarded: str, service: TokenServer
) -> None:
    line = _login(fusefs, guarded, "-u", "user", password="hidden", code=1)
    assert f"`fusefs login {guarded} --token-service {service.host}`" in line
    assert service.requests == []
    line = _login(fusefs, guarded, "-u", "user", "--token-service", service.host, password="bad", code=1)
    assert "who are you?" in line
    _login(fusefs, guarded, "-u", "user", "--token-service", service.host, password="hidden")
    assert list(json.loads(_config(fusefs).read_text())["auths"]) == [guarded, service.host]
    service.requests.clear()
    _read(fusefs, f"oci://{guarded}/private/deep/model:v1")
    assert service.requests == [("GET", "user", "repository:private/deep/model:pull")]


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_person_is_asked_whether_a_token_service_elsewhere_may_see_the_password(
    fusefs: Shell, guarded: str, service: TokenServer, answer: str
) -> None:
    code, shown = _at_a_terminal(fusefs, ["login", guarded, "-u", "user"], ["hidden", answer])
    (question,) = [line for line in shown.splitlines() if "[y/N]" in line]
    assert question.startswith(f"{guarded} has its tokens made by {service.host}. Show the password to {service.host}")
    assert "hidden" not in shown
    if answer == "y":
        assert code == 0
        assert list(json.loads(_config(fusefs).read_text())["auths"]) == [guarded, service.host]
        _read(fusefs, f"oci://{guarded}/private/deep/model:v1")
    else:
        assert code == 1
        assert f"`fusefs login {guarded} --token-service {service.host}`" in shown
        assert service.requests == []
        assert not _config(fusefs).exists()


def _at_a_terminal(fusefs: Shell, args: list[str], answers: list[str]) -> tuple[int, str]:
    """Run a command with a terminal of its own, at which each question (which ends in a colon) gets the next answer."""
    ours, its = os.openpty()
    with open(ours, "r+b", buffering=0) as terminal:
        with open(its, "r+b", buffering=0) as end:
            process = subprocess.Popen(
                ["setsid", "--ctty", "--wait", sys.executable, "-m", "fusefs", *args],
                env=fusefs.env,
                stdin=end,
                stdout=end,
                stderr=end,
            )
        shown = b""
        with process, contextlib.suppress(OSError):  # EIO: nobody has the other end any more
            while data := terminal.read(4096):
                shown += data
                if answers and data.rstrip(b" ").endswith(b":"):
                    terminal.write(answers.pop(0).encode() + b"\n")
        return process.returncode, shown.decode()


@pytest.mark.slow
def test_an_identity_token_is_posted(fusefs: Shell, guarded: str, service: TokenServer) -> None:
    _config(fusefs).parent.mkdir(parents=True)
    _config(fusefs).write_text(json.dumps({"auths": {service.host: {"identitytoken": service.identity}}}))
    _config(fusefs).chmod(0o600)
    _read(fusefs, f"oci://{guarded}/private/deep/model:v1")
    assert service.requests == [("POST", "identity", "repository:private/deep/model:pull")]

"""Issue "Bad input": each is one line that says what to do, from the real command in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import FAKE_DEVICE, ORDINARY, Shell, crash
from tests.components import make_certificate, nginx
from tests.marks import one_soon

if TYPE_CHECKING:
    from collections.abc import Sequence

root_only = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user or to hide devices")


@pytest.mark.parametrize(
    ("name", "says"),
    one_soon(
        [
            ("-hh/nn/mm:tt", "No such option"),
            ("h/-n/m:t", "invalid repository '-n/m'"),
            ("n/m:t:u", "invalid tag 't:u'"),
            ("mm:", "an empty part in 'mm:'"),
            ("a/B/c/d:t", "no capital letters"),
            ("h/../m", "invalid repository '../m'"),
            ("oci://h/Team/m", "the OCI specification has no capital letters in a repository, want 'team'"),
            ("oras://h/n/m", "write oci:// in its place"),
            ("ftp://h/n/m:t", "unsupported scheme 'ftp'"),
            ("m@sha256:beef", "invalid digest 'sha256:beef'"),
            ("", "invalid or missing name"),
            ("a\nb", "invalid model"),
        ]
    ),
)
@pytest.mark.parametrize("command", ["mount", "pull"])
def test_a_wrong_name_is_wrong_usage(fusefs: Shell, command: str, name: str, says: str) -> None:
    where = [fusefs.folder("mnt")] if command == "mount" else []
    line = fusefs.fails(command, name, *where, code=2)
    assert says in line
    assert line.endswith(f"(see fusefs {command} --help)")


@pytest.mark.parametrize(
    ("args", "says"),
    one_soon(
        [
            (["mount", "m", "mnt", "--timeout", "soon"], "invalid time 'soon'"),
            (["mount", "m", "mnt", "--memory", "lots"], "invalid size 'lots'"),
            (["mount", "m", "mnt", "--memory", "0"], "at least one byte"),
            (["mount", "m", "mnt", "--layout", "cubist"], "'cubist' is not one of 'files', 'ollama'"),
            (["mount", "m", "mnt", "--mirror", "http://h/v2"], "invalid mirror URL 'http://h/v2'"),
            (["pull", "m", "--mirror", "h:5000"], "invalid mirror URL 'h:5000'"),
            (["mount", "m"], "Missing argument 'MOUNTPOINT'"),
            (["mount", "http://127.0.0.1:1/local/x"], "Missing argument 'MOUNTPOINT'"),
            (["mount", "m", "http://u:secret@127.0.0.1:1/local/x"], "Missing argument 'MOUNTPOINT'"),
            (["mount", "m", "llama3.2:1b"], "Missing argument 'MOUNTPOINT'"),
            (["mount", "/mnt"], "Missing argument 'SOURCE...'"),
            (["mount"], "Missing argument"),
            (["pull", "m", "--timeout", "3y"], "units are s, m and h"),
            (["gc", "--older-than", "3y"], "units are s, m (minutes), h, d and w"),
            (["gc", "--cache-size", "3PiB"], "units are B, K, M, G and T"),
            (["-v", "status"], "options stand behind it"),
            (["--json", "status"], "options stand behind it"),
            (["umount"], "Missing argument 'MOUNTPOINT'"),
            (["serve", ".", "--listen", "here"], "invalid address 'here'"),
            (["serve", ".", "--listen", "http://127.0.0.1:8080"], "want HOST:PORT, for example 127.0.0.1:8080"),
            (["index", "x", "--chunk-size", "-1"], "invalid size '-1'"),
            (["mont"], "No such command 'mont'"),
            (["status", "--jsn"], "No such option"),
        ]
    ),
)
def test_wrong_usage_is_one_line_and_exit_status_2(fusefs: Shell, args: Sequence[str], says: str) -> None:
    assert says in fusefs.fails(*args, code=2)


def test_an_unknown_model(fusefs: Shell, model: str) -> None:
    line = fusefs.fails("mount", model.replace("tiny", "huge"), fusefs.folder("mnt"))
    assert "local/huge" in line
    assert "not found" in line


@pytest.mark.slow
def test_an_unreachable_host(fusefs: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    line = fusefs.fails("mount", f"http://127.0.0.1:{port}/n/m", fusefs.folder("mnt"), "--timeout", "1s")
    assert f"127.0.0.1:{port}" in line
    assert "refused" in line


@pytest.mark.slow
def test_a_host_that_does_not_exist(fusefs: Shell) -> None:
    line = fusefs.fails("pull", "http://no-such-host.invalid/n/m", "--timeout", "1s")
    assert "no-such-host.invalid" in line


@pytest.mark.slow
def test_a_certificate_that_nobody_vouches_for(fusefs: Shell) -> None:
    with nginx(fusefs.root / "nginx", "return 404;", certificate=make_certificate(fusefs.root / "tls")) as address:
        line = fusefs.fails("mount", f"{address}/n/m", fusefs.folder("mnt"))
        assert address in line
        assert "certificate" in line


@pytest.mark.slow
def test_a_certificate_of_another_host(fusefs: Shell) -> None:
    certificate = make_certificate(fusefs.root / "tls")
    fusefs.env["SSL_CERT_FILE"] = str(certificate.authority)
    with nginx(fusefs.root / "nginx", "return 404;", certificate=certificate) as address:
        line = fusefs.fails("pull", f"localhost:{address.rpartition(':')[2]}/n/m")
        assert "localhost" in line
        assert "certificate" in line


def test_a_mount_point_that_does_not_exist(fusefs: Shell) -> None:
    assert "mkdir -p" in fusefs.fails("mount", "m", fusefs.root / "nowhere")


@pytest.mark.slow
def test_a_mount_point_that_is_a_file(fusefs: Shell) -> None:
    (fusefs.root / "file").touch()
    assert "not a folder" in fusefs.fails("mount", "m", fusefs.root / "file")


@pytest.mark.slow
def test_a_mount_point_that_is_not_empty(fusefs: Shell) -> None:
    (fusefs.folder("mnt") / "x").touch()
    assert "not empty" in fusefs.fails("mount", "m", fusefs.root / "mnt")


@pytest.mark.slow
def test_a_mount_point_that_is_already_mounted(fusefs: Shell, model: str) -> None:
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt)
    line = fusefs.fails("mount", model, mnt)
    assert "already mounted" in line
    assert f"fusefs umount {mnt}" in line
    fusefs("umount", mnt)


@pytest.mark.slow
def test_p11_a_mount_point_that_is_stale_after_a_crash(fusefs: Shell, model: str) -> None:
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt)
    crash(json.loads(fusefs("status", mnt, "--json").stdout)["mounts"][0]["pid"])
    with pytest.raises(OSError, match="not connected"):
        os.listdir(mnt)
    assert f"left there by a crash; clean up first: fusefs umount {mnt}" in fusefs.fails("mount", model, mnt)
    fusefs("status", mnt, code=1)
    report = json.loads(fusefs("status", "--json", mnt, code=1).stdout)["mounts"][0]
    assert report["state"] == "dead"
    assert f"fusefs umount {mnt}" in report["problem"]
    fusefs("umount", mnt)
    assert os.listdir(mnt) == []
    fusefs("mount", model, mnt)
    fusefs("umount", mnt)


@pytest.mark.slow
@root_only
def test_missing_dev_fuse(fusefs: Shell) -> None:
    hidden = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh")
    line = fusefs.fails("mount", "m", fusefs.folder("mnt"), prefix=hidden)
    assert "/dev/fuse" in line
    assert "modprobe fuse" in line


@pytest.mark.slow
@root_only
def test_no_permission_for_dev_fuse(fusefs: Shell) -> None:
    hidden = ("unshare", "-m", "sh", "-c", FAKE_DEVICE.format(mode="600"), "sh", *ORDINARY)
    line = fusefs.fails("mount", "m", _of_nobody(fusefs, "mnt"), prefix=hidden)
    assert "/dev/fuse" in line
    assert "permission" in line


@pytest.mark.slow
@root_only
def test_missing_fusermount3(fusefs: Shell) -> None:
    fusefs.env["PATH"] = "/nowhere"
    env = ("/usr/bin/unshare", "-m", "/bin/sh", "-c", FAKE_DEVICE.format(mode="666"), "sh", f"/usr/bin/{ORDINARY[0]}")
    line = fusefs.fails("mount", "m", _of_nobody(fusefs, "mnt"), prefix=(*env, *ORDINARY[1:]))
    assert "fusermount3" in line
    assert "fuse3" in line


@pytest.mark.slow
@root_only
def test_no_permission_for_the_mount_point(fusefs: Shell) -> None:
    mnt = fusefs.folder("mnt")
    device = ("unshare", "-m", "sh", "-c", FAKE_DEVICE.format(mode="666"), "sh")
    assert "you may not mount there" in fusefs.fails("mount", "m", mnt, prefix=(*device, *ORDINARY))


@pytest.mark.slow
@root_only
def test_umount_of_another_user_s_mount(fusefs: Shell, model: str) -> None:
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt)
    assert "was mounted by user 0" in fusefs.fails("umount", mnt, prefix=ORDINARY)
    report = json.loads(fusefs("status", "--json", mnt, prefix=ORDINARY).stdout)["mounts"][0]
    assert (report["state"], report["problem"]) == ("denied", "mounted by user 0; ask as that user or as root")
    fusefs("umount", mnt)


def _of_nobody(fusefs: Shell, name: str) -> Path:
    path = fusefs.folder(name)
    os.chown(path, 65534, 65534)
    return path


@pytest.mark.slow
def test_umount_of_what_is_no_mount(fusefs: Shell) -> None:
    assert "is not mounted" in fusefs.fails("umount", fusefs.folder("mnt"))
    assert "does not exist" in fusefs.fails("umount", fusefs.root / "nowhere")
    assert "not a fusefs mount but one of type proc; use `umount`" in fusefs.fails("umount", "/proc")


def test_status_of_what_is_no_mount(fusefs: Shell) -> None:
    assert "is not a fusefs mount" in fusefs.fails("status", fusefs.folder("mnt"))
    assert "is not a fusefs mount" in fusefs.fails("status", fusefs.root, "--json")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["mount", "pull", "verify"])
def test_a_cache_directory_that_is_a_file(fusefs: Shell, command: str) -> None:
    (fusefs.root / "cache.txt").touch()
    args: list[str | Path] = [] if command == "verify" else ["m"]
    args += [fusefs.folder("mnt")] if command == "mount" else []
    line = fusefs.fails(command, *args, "--cache-dir", fusefs.root / "cache.txt")
    assert "cache.txt" in line
    assert "--cache-dir" in line or "not a directory" in line


@root_only
def test_a_cache_directory_on_a_read_only_disk(fusefs: Shell) -> None:
    cache = fusefs.folder("ro")
    read_only = ("unshare", "-m", "sh", "-c", f'mount -t tmpfs -o ro none {cache} && exec "$@"', "sh")
    line = fusefs.fails("pull", "m", "--cache-dir", cache, prefix=read_only)
    assert "cannot be written" in line
    assert "--cache-dir" in line


@pytest.mark.slow
@root_only
def test_a_cache_directory_of_somebody_else(fusefs: Shell) -> None:
    cache = fusefs.folder("theirs")
    cache.chmod(0o755)
    line = fusefs.fails("pull", "m", "--cache-dir", cache, prefix=ORDINARY)
    assert "belongs to root" in line
    assert "--cache-dir" in line


@pytest.mark.slow
def test_a_store_that_is_none(fusefs: Shell) -> None:
    assert "no OLLAMA_MODELS directory" in fusefs.fails("pull", "m", "--store", fusefs.folder("store"))


@pytest.mark.slow
def test_a_log_file_that_cannot_be_written(fusefs: Shell) -> None:
    line = fusefs.fails("mount", "m", fusefs.folder("mnt"), "--log-file", fusefs.root / "no" / "log")
    assert "cannot be written" in line


@pytest.mark.slow
def test_index_of_what_cannot_be_read(fusefs: Shell) -> None:
    assert "No such file" in fusefs.fails("index", "./nothing")
    assert str(fusefs.root) in fusefs.fails("index", fusefs.root)


@pytest.mark.slow
def test_serve_of_what_cannot_be_served(fusefs: Shell) -> None:
    assert "nowhere" in fusefs.fails("serve", fusefs.root / "nowhere")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "choose another with --listen" in fusefs.fails("serve", fusefs.folder("models"), "--listen", address)


@pytest.mark.slow
def test_a_reader_of_our_output_that_has_seen_enough(fusefs: Shell) -> None:
    (fusefs.root / "file").write_bytes(bytes(1 << 20))
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | head -n 1; echo ${PIPESTATUS[0]}', "bash", *_index(fusefs)],
        env=fusefs.env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2


def _index(fusefs: Shell) -> list[str]:

    return [sys.executable, "-m", "fusefs", "index", str(fusefs.root / "file"), "--chunk-size", "16"]


def test_p10_a_password_is_not_repeated_when_the_mount_point_is_missing(fusefs: Shell) -> None:
    assert "secret" not in fusefs.fails("mount", "m", "http://u:secret@127.0.0.1:1/local/x", code=2)


@pytest.mark.slow
def test_pull_of_a_bad_and_a_good_model_fetches_the_good_one(fusefs: Shell, model: str) -> None:
    bad = model.replace("tiny", "huge")
    done = fusefs("pull", bad, model, code=1)
    assert done.stderr.startswith("fusefs: error: could not pull 1 of 2 models; the first: ")
    assert "local/huge" in done.stderr
    assert done.stderr.count("\n") == 1
    assert f"{model}:latest: 3 blobs, 293 KiB, sealed; fetched" in done.stdout
    report = json.loads(fusefs("pull", model, bad, "--json", code=1).stdout)
    assert {blob["state"] for blob in report["blobs"]} == {"sealed"}
    assert [one["name"] for one in report["problems"]] == [f"{bad}:latest"]


@pytest.mark.slow
def test_pull_json_of_what_fails_is_json_all_the_same(fusefs: Shell, model: str) -> None:
    done = fusefs("pull", "--json", model.replace("tiny", "huge"), code=1)
    report = json.loads(done.stdout)
    assert report["blobs"] == []
    assert "not found" in report["problems"][0]["problem"]
    assert done.stderr.count("\n") == 1
    (fusefs.root / "file").touch()
    done = fusefs("pull", "--json", model, "--cache-dir", fusefs.root / "file", code=1)
    assert json.loads(done.stdout)["problems"][0]["problem"] in done.stderr

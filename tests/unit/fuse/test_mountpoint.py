"""Bad mount points: one line each that says what to do.  Those that need a mount are in tests/mount/test_trouble.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusefs.errors import MountError
from fusefs.fuse import mountpoint
from fusefs.fuse.mountpoint import check_device, check_mountpoint, mounted, mounted_at, real_path
from fusefs.fuse.session import mount_options


def _message(path: Path) -> str:
    with pytest.raises(MountError) as caught:
        check_mountpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_empty_folder_is_taken_with_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    assert check_mountpoint(tmp_path / "empty") == tmp_path / "empty"
    assert check_mountpoint(tmp_path / "link") == tmp_path / "empty"
    assert check_mountpoint(Path(os.path.relpath(tmp_path / "empty"))) == tmp_path / "empty"


def test_what_does_not_exist_is_refused_with_mkdir(tmp_path: Path) -> None:
    assert _message(tmp_path / "a/b") == f"{tmp_path}/a/b: no such folder; run: mkdir -p {tmp_path}/a/b"


def test_a_file_is_refused_also_as_a_parent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "not a folder; choose an empty folder" in _message(tmp_path / "file")
    assert "not a folder; choose an empty folder" in _message(tmp_path / "file/x")


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert "not empty; choose an empty folder" in _message(tmp_path)


def test_a_mount_of_another_kind_is_refused_with_umount() -> None:
    assert _message(Path("/proc")) == "/proc: proc is already mounted there; run: umount /proc"


def test_a_link_that_leads_to_itself_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert "Too many levels of symbolic links" in _message(tmp_path / "loop")


def test_a_missing_device_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(MountError, match="modprobe fuse"):
        check_device(tmp_path / "fuse")


def test_the_device_of_this_machine_is_usable() -> None:
    check_device()


def test_mountinfo_is_read_with_optional_fields_and_escapes(tmp_path: Path) -> None:
    info = tmp_path / "mountinfo"
    info.write_text(
        "29 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw\n"
        "54 29 0:51 / /mnt/a\\040b\\134c ro,nosuid,nodev - fuse.fusefs http://h/n/m:t\\040x ro,user_id=0\n"
        "55 29 0:52 / /mnt/a\\040b\\134c ro - fuse.fusefs second ro\n"
    )
    root, first, second = mounted(info)
    assert (root.mountpoint, root.fs_type, root.minor, root.ours) == (Path("/"), "ext4", 0, False)
    assert (first.mountpoint, first.source, first.minor) == (Path("/mnt/a b\\c"), "http://h/n/m:t x", 51)
    assert first.ours
    assert mounted_at(Path("/mnt/a b\\c"), info) == second
    assert mounted_at(Path("/mnt"), info) is None


def test_the_real_mountinfo_is_understood() -> None:
    assert mounted_at(Path("/proc")) is not None
    assert mounted_at(Path("/")) is not None
    assert real_path(Path("/")) == Path("/")
    assert mountpoint.MOUNTINFO.exists()


def test_mount_options_survive_libfuse() -> None:
    options = mount_options("a,b\\c é", allow_other=True)
    assert "fsname=a+b?c ?" in options
    assert {"ro", "nosuid", "nodev", "default_permissions", "subtype=fusefs", "allow_other"} <= options
    assert "allow_other" not in mount_options("x")


def test_the_options_of_a_thousand_sources_fit_a_page() -> None:
    options = mount_options(",".join(f"registry.example.org/team/model{i}:latest" for i in range(1000)))
    assert len(",".join(options)) < 2048
    assert any(option.startswith("fsname=registry.example.org/team/model0:latest+") for option in options)

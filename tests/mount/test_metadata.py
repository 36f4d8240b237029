"""What stat, ls, find, du, df and getfattr see, over the real kernel."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.fuse.mountpoint import mounted_at
from fusefs.fuse.session import mount_options
from fusefs.values.digest import Digest
from tests.fakes import FakeBlobFile, file_system_of
from tests.mounts import start

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mounts import Mounter

DATA = bytes(range(256)) * 5000

CONTENTS: dict[str, bytes | FakeBlobFile] = {
    "model.gguf": FakeBlobFile(DATA),
    "sub/deep/tokens.json": b"{}",
    "sub/x": b"x",
    "template": b"hello",
}


async def test_a_tree_is_walked_with_its_names_and_types(mount: Mounter) -> None:
    live = await mount(CONTENTS)
    walked = await live.run(lambda: [(p, sorted(d), sorted(f)) for p, d, f in os.walk(live.path)])
    root = str(live.path)
    assert walked == [
        (root, ["sub"], ["model.gguf", "template"]),
        (f"{root}/sub", ["deep"], ["x"]),
        (f"{root}/sub/deep", [], ["tokens.json"]),
    ]
    listing = await live.run(
        lambda: subprocess.run(["ls", "-laR", root], check=True, capture_output=True, text=True, timeout=20).stdout
    )
    assert "model.gguf" in listing
    assert "?" not in listing
    found = await live.run(
        lambda: subprocess.run(["find", root, "-type", "f"], check=True, capture_output=True, timeout=20).stdout
    )
    assert len(found.split()) == 4


async def test_p3_stat_shows_the_final_size_and_fixed_values(mount: Mounter) -> None:
    live = await mount({"sub/model.gguf": FakeBlobFile(DATA, present=0, state="absent")})
    seen = await live.run(os.stat, live.path / "sub/model.gguf")
    assert seen.st_size == len(DATA)
    assert stat.filemode(seen.st_mode) == "-rw-r--r--"
    assert (seen.st_uid, seen.st_gid, seen.st_nlink) == (os.getuid(), os.getgid(), 1)
    assert seen.st_mtime_ns == seen.st_ctime_ns == seen.st_atime_ns == 1_700_000_000_123_456_789
    assert (seen.st_blksize, seen.st_blocks) == (1 << 20, 0)
    folder = await live.run(os.stat, live.path / "sub")
    assert stat.filemode(folder.st_mode) == "drwxr-xr-x"
    assert folder.st_mtime_ns == seen.st_mtime_ns
    assert (await live.run(os.stat, live.path)).st_nlink == 3


async def test_p3_nothing_but_st_blocks_changes_while_it_arrives_or_after_a_remount(tmp_path: Path) -> None:
    blob = FakeBlobFile(DATA, present=0, state="absent")

    def shown(seen: os.stat_result) -> tuple[int, ...]:
        return seen.st_ino, seen.st_size, seen.st_mode, seen.st_mtime_ns, seen.st_nlink

    values = []
    for present, state in ((0, "absent"), (len(DATA) // 2, "partial"), (len(DATA), "sealed")):
        blob.present, blob.state = present, state
        async with trio.open_nursery() as nursery:
            live = await start(nursery, file_system_of({"a/model.gguf": blob}), tmp_path / "mnt")
            seen = await live.run(os.stat, live.path / "a/model.gguf")
            values.append(shown(seen))
            assert seen.st_blocks == -(-present // 512)
            nursery.cancel_scope.cancel()
    assert len(set(values)) == 1


async def test_du_is_honest_while_a_file_arrives(mount: Mounter) -> None:
    """st_blocks counts what is present; the kernel asks again when the attributes' time is over."""
    blob = FakeBlobFile(DATA, present=0, state="absent")
    live = await mount({"model.gguf": blob}, changing=0.0)
    assert (await live.run(os.stat, live.path / "model.gguf")).st_blocks == 0
    blob.present, blob.state = 700_000, "partial"
    assert (await live.run(os.stat, live.path / "model.gguf")).st_blocks == -(-700_000 // 512)
    shown = await live.run(
        lambda: subprocess.run(["du", "-B1", live.path], check=True, capture_output=True, timeout=20).stdout
    )
    assert int(shown.split()[0]) == -(-700_000 // 512) * 512


async def test_five_thousand_entries_are_listed_once_each(mount: Mounter) -> None:
    live = await mount({f"blobs/sha256-{number:064x}": b"x" for number in range(5000)})
    names = await live.run(os.listdir, live.path / "blobs")
    assert len(names) == 5000
    assert sorted(names) == [f"sha256-{number:064x}" for number in range(5000)]


async def test_a_listing_can_go_back_to_an_offset(mount: Mounter) -> None:
    """telldir and seekdir, as NFS and Samba use them: find lists twice through one open folder."""
    live = await mount({f"{number:04}": b"" for number in range(1000)})

    def twice() -> tuple[list[str], list[str]]:
        fd = os.open(live.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            first = os.listdir(fd)
            return first, os.listdir(fd)
        finally:
            os.close(fd)

    first, second = await live.run(twice)
    assert first == second
    assert len(set(first)) == 1000


async def test_what_is_not_there_is_enoent(mount: Mounter) -> None:
    live = await mount(CONTENTS)
    for name, reason in (("nothing", errno.ENOENT), ("sub/nothing", errno.ENOENT), ("template/x", errno.ENOTDIR)):
        for _ in range(2):
            with pytest.raises(OSError) as caught:
                await live.run(os.stat, live.path / name)
            assert caught.value.errno == reason


async def test_dots_and_file_handles_lead_back(mount: Mounter) -> None:
    live = await mount(CONTENTS)
    assert await live.run(lambda: (live.path / "sub/deep/../x").read_bytes()) == b"x"
    assert await live.run(lambda: (live.path / "sub/./x").read_bytes()) == b"x"


async def test_readlink_says_that_it_is_no_link(mount: Mounter) -> None:
    live = await mount(CONTENTS)
    with pytest.raises(OSError) as caught:
        await live.run(os.readlink, live.path / "template")
    assert caught.value.errno == errno.EINVAL


async def test_extended_attributes_tell_digest_state_and_present(mount: Mounter) -> None:
    blob = FakeBlobFile(DATA, present=99, state="partial")
    live = await mount({"model.gguf": blob, "manifest.json": b"{}"})

    def attributes(name: str) -> dict[str, str]:
        path = live.path / name
        return {key: os.getxattr(path, key).decode() for key in os.listxattr(path)}

    assert await live.run(attributes, "model.gguf") == {
        "user.fusefs.digest": str(blob.blob.digest),
        "user.fusefs.state": "partial",
        "user.fusefs.present": "99",
        "user.fusefs.proof": "bound",
    }
    assert await live.run(attributes, "manifest.json") == {
        "user.fusefs.digest": str(Digest.of(b"{}")),
        "user.fusefs.state": "sealed",
        "user.fusefs.present": "2",
        "user.fusefs.proof": "bound",
    }
    assert await live.run(os.listxattr, live.path) == []
    for name in ("user.other", "user.fusefs.digest"):
        with pytest.raises(OSError) as caught:
            await live.run(os.getxattr, live.path if name.endswith("digest") else live.path / "manifest.json", name)
        assert caught.value.errno == errno.ENODATA
    for name in ("security.selinux", "security.capability", "system.posix_acl_access"):
        with pytest.raises(OSError) as caught:
            await live.run(os.getxattr, live.path / "manifest.json", name)
        assert caught.value.errno == errno.ENOTSUP


@pytest.mark.parametrize("options", [mount_options("t"), mount_options("t") - {"default_permissions"}])
async def test_access_allows_reading_and_nothing_else(mount: Mounter, options: set[str]) -> None:
    live = await mount(CONTENTS, options=options)

    def allowed() -> list[bool]:
        file, folder = live.path / "template", live.path / "sub"
        return [os.access(file, os.R_OK), os.access(folder, os.R_OK | os.X_OK), os.access(file, os.W_OK)]

    assert await live.run(allowed) == [True, True, False]
    assert not await live.run(os.access, live.path / "template", os.X_OK)


async def test_statfs_shows_a_full_disk_of_the_right_size(mount: Mounter) -> None:
    live = await mount({"a": FakeBlobFile(DATA), "b": b"x" * 5000})
    seen = await live.run(os.statvfs, live.path)
    assert seen.f_blocks * seen.f_frsize == -(-(len(DATA) + 5000) // 4096) * 4096
    assert (seen.f_bsize, seen.f_bfree, seen.f_bavail, seen.f_ffree) == (1 << 20, 0, 0, 0)
    assert (seen.f_files, seen.f_namemax) == (3, 255)
    assert seen.f_flag & os.ST_RDONLY


async def test_proc_mounts_tells_the_source_and_the_type(mount: Mounter) -> None:
    live = await mount(CONTENTS, options=mount_options("http://127.0.0.1:8080/local/a b:latest"))
    there = mounted_at(live.path)
    assert there is not None
    assert (there.fs_type, there.source) == ("fuse.fusefs", "http://127.0.0.1:8080/local/a b:latest")
    assert there.minor == live.session.minor == os.minor((await live.run(os.stat, live.path)).st_dev)

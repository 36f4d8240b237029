"""The commands with a cache on a file system that has less than a cache would like (`tests.strange_disks`)."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.cli.ordinary import UID, ordinary_user
from tests.strange_disks import DISKS, disk

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.getuid() != 0, reason="needs root to mount a disk")]

SAID = "warning: cache directory"


@pytest.mark.parametrize("kind", DISKS)
def test_p7_a_cache_on_a_strange_disk_serves_every_command_and_an_offline_mount(
    fusefs: Shell, model: str, content: dict[str, bytes], kind: str
) -> None:
    """The first command made the cache and the second refused it; the manifest of `host:port` was lost on exFAT."""
    with disk(kind, fusefs.folder("strange")) as where:
        here = ("--cache-dir", where / "cache")
        for _ in range(2):
            done = fusefs("pull", model, *here)
            assert "sealed" in done.stdout
            assert done.stderr.count("\n") == 1
            assert SAID in done.stderr
            assert "keeps no permissions" in done.stderr
        (one,) = json.loads(fusefs("ls", *here, "--json").stdout)["models"]
        assert one["present"] == one["size"] == sum(map(len, content.values()))
        for command in (["verify"], ["pin", model], ["unpin", model]):
            assert fusefs(*command, *here).stderr == ""
        mnt = fusefs.folder("mnt")
        fusefs.env["http_proxy"] = "http://127.0.0.1:9"  # nobody is there: offline
        said = fusefs("mount", model, mnt, *here, "--timeout", "5s").stderr
        assert SAID in said
        assert (mnt / "sub/weights.bin").read_bytes() == content["sub/weights.bin"]
        fusefs("umount", mnt)
        done = fusefs("gc", *here, "--cache-size", "100KiB")
        assert "in use" not in done.stdout
        assert done.stderr == ""
        assert json.loads(fusefs("ls", *here, "--json").stdout)["models"][0]["present"] < 100_000


def test_an_ordinary_user_has_his_cache_on_a_disk_that_root_mounted_for_everybody(
    model: str, content: dict[str, bytes]
) -> None:
    """Every file there is root's whoever made it, so that he may neither chmod one nor ask for a lease."""
    with ordinary_user() as user:
        place = user.root / "disks"
        place.mkdir()
        place.chmod(0o755)
        with disk("bindfs that refuses chmod", place, "--force-user=root", "--force-group=root") as where:
            done = user(f"""
                fusefs pull {model} --cache-dir {where}/cache
                fusefs pull {model} --cache-dir {where}/cache
                stat -c %u {where}/cache
                fusefs gc --cache-size 100KiB --cache-dir {where}/cache
                fusefs mount {model} mnt --cache-dir {where}/cache
                cat mnt/sub/weights.bin | wc -c
                fusefs umount mnt
            """)
    assert done.stdout.count(", sealed; ") == 2, done.stderr
    lines = done.stdout.splitlines()
    assert "0" in lines
    assert str(len(content["sub/weights.bin"])) in lines
    assert "in use" not in done.stdout
    assert done.stderr.count(SAID) == done.stderr.count("\n") == 3


def test_p10_a_folder_of_root_s_that_everybody_may_write_to_is_refused_where_modes_are_kept(model: str) -> None:
    with ordinary_user() as user:
        (user.root / "open").mkdir()
        (user.root / "open").chmod(0o777)
        done = user(f"fusefs pull {model} --cache-dir {user.root}/open", code=1)
        assert "belongs to root" in done.stderr
        assert UID != 0

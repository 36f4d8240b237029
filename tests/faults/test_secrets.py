"""P10: what a person keeps secret is sent to the one host that it was given for, and is written down nowhere."""

from __future__ import annotations

import base64
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faulty_registry import FaultyRegistry
from tests.world import some_bytes

if TYPE_CHECKING:
    from tests.programs.world import World

DATA = some_bytes(300_000, seed=8)
USER, PASSWORD = "nightingale", "correct-horse-battery"


def test_p10_a_password_is_in_no_argument_log_status_mount_table_or_cache(world: World) -> None:
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    with FaultyRegistry(basic=f"Basic {pair}") as registry:
        docker = world.root / ".docker"
        docker.mkdir(mode=0o700)
        config = docker / "config.json"
        config.write_text(json.dumps({"auths": {registry.url.removeprefix("http://"): {"auth": pair}}}))
        config.chmod(0o600)
        model = registry.add_model("library/m:latest", {"model.gguf": DATA}, config=None)
        with world.mount(str(model.name), options=("-v",), env={"DOCKER_CONFIG": str(docker)}) as mount:
            assert (mount.path / "model.gguf").read_bytes() == DATA, "it was used"
            status = mount.status()
            pid = status["pid"]
            os.kill(pid, signal.SIGUSR1)
            mount.wait_sealed()
            seen = {
                "status": json.dumps(status),
                "argv": Path(f"/proc/{pid}/cmdline").read_text(),
                "mount table": Path("/proc/mounts").read_text(),
                "table": world.fusefs("status", mount.path).stdout,
            }
            cache = mount.cache
        seen["log"] = (world.root / "log1").read_text()
        seen |= {str(path): path.read_bytes().decode("latin-1") for path in cache.rglob("*") if path.is_file()}
        assert "SIGUSR1" in seen["log"]
        for where, text in seen.items():
            for secret in (PASSWORD, pair, USER):
                assert secret not in text, f"{secret} is in {where}"

"""The unit on the page about operations: it holds what it allows to what is needed, and what it allows is enough."""

from __future__ import annotations

import ctypes.util
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.daemon.hardening import KEPT
from tests.cli.conftest import REPOSITORY

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

OWN_VIEW = (
    *("ProtectSystem", "ProtectHome", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs"),
    *("ProtectControlGroups", "ProtectProc", "ProcSubset", "PrivateTmp", "PrivateDevices", "PrivateMounts"),
    *("PrivateUsers", "PrivateIPC", "ReadOnlyPaths", "ReadWritePaths", "InaccessiblePaths", "TemporaryFileSystem"),
    *("BindPaths", "BindReadOnlyPaths", "RootDirectory", "RootImage", "DynamicUser", "MountFlags", "ProtectHostname"),
)
"""Options that give a unit a mount namespace, from which no mount comes out (systemd.exec(5), PrivateMounts=)."""

SANDBOX = """
import ctypes, json, os, sys
allowed, families, program = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
libc, seccomp = ctypes.CDLL(None, use_errno=True), ctypes.CDLL(sys.argv[3])
zero = ctypes.c_ulong(0)
for option, value in ((38, 1), (65, 1)):  # linux/prctl.h: PR_SET_NO_NEW_PRIVS, PR_SET_MDWE
    if libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero) and option == 38:
        sys.exit("no_new_privs")
class Compare(ctypes.Structure):  # seccomp.h: scmp_arg_cmp
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]
seccomp.seccomp_init.restype = ctypes.c_void_p
rules = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(0x00050000 | 1)))  # EPERM
allow = ctypes.c_uint32(0x7FFF0000)
for name in allowed:
    number = seccomp.seccomp_syscall_resolve_name(name.encode())
    if number >= 0 and name != "socket":
        assert seccomp.seccomp_rule_add_array(rules, allow, number, 0, None) == 0, name
number = seccomp.seccomp_syscall_resolve_name(b"socket")
for family in families:
    assert seccomp.seccomp_rule_add_array(rules, allow, number, 1, ctypes.byref(Compare(0, 4, family, 0))) == 0
assert seccomp.seccomp_load(rules) == 0
os.execvp(program[1], program[1:])
"""
"""What systemd does before it starts a program, as far as it can be done without systemd: not DevicePolicy= (a BPF
program of the control group), and of the Restrict options the system call filter alone."""


def unit() -> list[tuple[str, str]]:
    (text,) = re.findall(r"^```ini\n(# /etc/systemd/system/model\.service\n.*?)^```$", page(), re.MULTILINE | re.DOTALL)
    lines = [line.partition("=")[::2] for line in text.splitlines() if "=" in line and line[:1] not in "#;"]
    return [(key, value) for key, value in lines]


def page() -> str:
    return (REPOSITORY / "fusefs/docs/operations.md").read_text()


def test_the_unit_allows_the_capabilities_that_the_daemon_keeps_and_no_other() -> None:
    (allowed,) = [value for key, value in unit() if key == "CapabilityBoundingSet"]
    assert sorted(allowed.lower().split()) == sorted(KEPT)


def test_the_unit_has_no_option_that_would_hide_its_mount_from_everybody() -> None:
    assert not {key for key, _ in unit()} & set(OWN_VIEW)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    section = "[Unit]\nDescription=a model\n[Service]\n"
    file = tmp_path / "model.service"
    lines = [f"{key}={value}" for key, value in unit() if key != "WantedBy"]
    file.write_text(section + "\n".join(lines).replace("/usr/local/bin/fusefs", "/bin/true") + "\n")
    done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, timeout=60, check=False)
    assert "model.service" not in done.stderr, done.stderr


def calls_of(sets: str) -> list[str]:
    """The system calls of a `SystemCallFilter=`."""
    found: set[str] = set()
    for name in sets.split():
        if not name.startswith("@"):
            found.add(name)
            continue
        shown = subprocess.run(
            ["systemd-analyze", "syscall-filter", "--no-pager", name],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        inside = [line.strip() for line in shown.stdout.splitlines()[1:] if not line.strip().startswith("#")]
        found.update(calls_of(" ".join(inside)))
    return sorted(found)


LIBSECCOMP = ctypes.util.find_library("seccomp")


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root's daemon has anything to give up")
@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or LIBSECCOMP is None, reason="needs systemd-analyze, libseccomp"
)
@pytest.mark.parametrize("end", ["in use", "umount", "SIGTERM"])
def test_p11_with_exactly_what_the_unit_allows_a_model_is_mounted_read_and_unmounted(
    fusefs: Shell, model: str, content: dict[str, bytes], end: str
) -> None:
    import socket

    options = dict(unit())
    assert options["NoNewPrivileges"] == options["MemoryDenyWriteExecute"] == "yes"
    bounding = ",".join(
        ["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in options["CapabilityBoundingSet"].split())]
    )
    families = [int(getattr(socket, name)) for name in options["RestrictAddressFamilies"].split()]
    confined = [
        *("setpriv", f"--bounding-set={bounding}", "--inh-caps=-all", sys.executable, "-c", SANDBOX),
        *(json.dumps(calls_of(options["SystemCallFilter"])), json.dumps(families), str(LIBSECCOMP)),
    ]
    mnt = fusefs.folder("mnt")
    fusefs("mount", model, mnt, prefix=tuple(confined))
    report = json.loads(fusefs("status", "--json", mnt, prefix=tuple(confined)).stdout)["mounts"][0]
    assert (report["state"], sorted(report["capabilities"])) == ("up", sorted(KEPT))
    status = Path(f"/proc/{report['pid']}/status").read_text()
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    assert not int(re.findall(r"^CapBnd:\t(\w+)$", status, re.MULTILINE)[0], 16) & ~sum(
        1 << bit for bit in KEPT.values()
    )
    assert not [knob for knob in report["kernel"].values() if "not permitted" in str(knob)]
    for path, data in content.items():
        assert hashlib.sha256((mnt / path).read_bytes()).digest() == hashlib.sha256(data).digest()
    daemon = os.pidfd_open(report["pid"])
    try:
        match end:
            case "umount":
                fusefs("umount", mnt, prefix=tuple(confined))
            case "in use":
                hold = subprocess.Popen(
                    ["sh", "-c", 'exec 3< "$0"; echo; exec sleep 60', mnt / "config.json"], stdout=-1
                )
                with hold:
                    assert hold.stdout is not None
                    hold.stdout.readline()
                    fusefs("umount", mnt, prefix=tuple(confined))
                    hold.kill()
            case _:
                os.kill(report["pid"], 15)
        from fusefs.daemon.background import wait_end

        assert wait_end(daemon, 15)
    finally:
        os.close(daemon)
    assert f" {mnt} " not in Path("/proc/mounts").read_text(errors="surrogateescape")

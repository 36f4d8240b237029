"""What pyproject.toml admits: nothing with a hole that is known, and what is installed here."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.private_sigstore import PrivateSigstore
from tests.signing import make_keys, sign

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
EXTRAS = {"serve": {"starlette", "h11", "bcrypt"}, "sign": {"cryptography"}}
ADMITTED = [*PROJECT["dependencies"], *(line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra])]
REQUIREMENTS = {found.name: found for found in map(Requirement, ADMITTED)}

LAST_WITH_A_HOLE = [
    ("urllib3", "2.7.0", "CVE-2026-97689"),
    ("click", "8.3.2", "CVE-2026-7246"),
    ("cryptography", "49.0.0", "CVE-2026-69247"),
    ("starlette", "1.3.0", "CVE-2026-54283"),
    ("h11", "0.15.0", "CVE-2025-43859"),
    ("idna", "3.14", "CVE-2026-45409"),
]


@pytest.mark.parametrize(("name", "last", "hole"), LAST_WITH_A_HOLE)
def test_p10_no_version_with_a_known_hole_is_admitted(name: str, last: str, hole: str) -> None:
    assert not REQUIREMENTS[name].specifier.contains(last), f"{name} {last} has {hole}"


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_what_is_installed_is_admitted(name: str) -> None:
    assert REQUIREMENTS[name].specifier.contains(version(name))


def test_p10_the_server_has_no_code_that_speaks_another_protocol_than_http11() -> None:
    """HTTP/2 had holes of its own (h2: CVE-2026-71554); what is not there needs no lower bound."""
    assert not {"h2", "wsproto", "hypercorn"} & set(REQUIREMENTS)
    program = "import sys, fusefs.serve.server; print(*{'h2', 'wsproto', 'hypercorn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_what_not_everybody_needs_is_an_extra() -> None:
    for extra, names in EXTRAS.items():
        assert {Requirement(line).name for line in PROJECT["optional-dependencies"][extra]} == names
        assert not names & {Requirement(line).name for line in PROJECT["dependencies"]}


WITHOUT = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None  # as if it were not installed
from fusefs.__main__ import main
main()
"""


def without(modules: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command where some modules are not installed."""
    command = [sys.executable, "-c", WITHOUT, modules, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["starlette", "h11", "bcrypt"])
def test_serve_without_its_extra_says_in_one_line_what_to_install(tmp_path: Path, missing: str) -> None:
    (tmp_path / "f").write_bytes(b"f")
    options = ["--htpasswd", str(tmp_path / "f")] if missing == "bcrypt" else []
    done = without(missing, "serve", tmp_path, *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"fusefs: error: fusefs serve needs {missing}, which is not installed; run: pip install 'fusefs[serve]'\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "extra", "believed"),
    [
        ("cryptography", "sign", ("--key", "publisher.pub")),
        ("cryptography", "sign", ("--certificate-chain", "publisher.pub")),
        ("sigstore", "sigstore", ("--identity", "a@example.org", "--identity-provider", "https://example.org")),
    ],
)
def test_a_signature_without_its_extra_says_in_one_line_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, extra: str, believed: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = make_keys(tmp_path, "publisher")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "f").write_bytes(b"f")
    signature = sign(folder, tmp_path / "model.sig", keys)
    if extra == "sigstore":
        signature.write_bytes(PrivateSigstore().sign(signature.read_bytes(), "a@example.org", "https://example.org"))
    done = without(missing, "verify", folder, "--signature", signature, *believed)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"needs {missing}, which is not installed; run: pip install 'fusefs[{extra}]'" in done.stderr


@pytest.mark.slow
def test_all_other_commands_need_no_extra(tmp_path: Path) -> None:
    extras = "starlette,h11,cryptography"
    (tmp_path / "f").write_bytes(b"f")
    assert without(extras, "index", tmp_path / "f").returncode == 0
    assert without(extras, "--help").returncode == 0
    done = without(extras, "pull", "http://127.0.0.1:9/local/m", "--cache-dir", tmp_path / "cache", "--timeout", "1s")
    assert done.returncode == 1
    assert "refused" in done.stderr

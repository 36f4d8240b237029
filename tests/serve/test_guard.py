"""TLS and passwords: who is let in, what is refused at the start, and what the operator is told."""

from __future__ import annotations

import base64
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from fusefs.errors import InvalidSetting
from fusefs.serve.lines import tls_of
from fusefs.serve.passwords import Passwords
from fusefs.values.digest import Digest
from tests.components import HTPASSWD, make_certificate
from tests.marks import one_soon
from tests.serve.world import noise, serving, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.components import Certificate

BIG = noise(3_000_001)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_tree(tmp_path / "models" / "m", {"f": BIG})
    return tmp_path / "models"


@pytest.fixture
def passwords(tmp_path: Path) -> Passwords:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    return Passwords.read(tmp_path / "htpasswd")


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path / "tls")


def test_nothing_is_answered_to_who_has_no_password(models: Path, tmp_path: Path, passwords: Passwords) -> None:
    with serving(models, tmp_path / "index", passwords=passwords) as running:
        get = running.client.get
        wrong = ["", "Basic", "Basic *", "Bearer x", basic("user:hidden").replace("Basic", "Other")]
        people = ["user", "user:wrong", "nobody:hidden", ":", "user:hid\0den", "user:hidden" + "x" * 100]
        wrong += [basic(text) for text in people]
        for header in wrong:
            answer = get("/v2/", Authorization=header)
            assert (answer.status, answer.error[0]) == (401, "UNAUTHORIZED"), header
        for path in ("/", "/v2/", "/v2/_catalog", "/v2/local/m/manifests/latest", "/nothing"):
            answer = get(path)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith('Basic realm="fusefs"')
        for _ in range(2):
            assert get("/v2/", Authorization=basic("user:hidden")).status == 200
        assert get("/v2/", Authorization=basic("user:wrong")).status == 401


def test_a_right_password_is_known_again_and_a_wrong_one_never(passwords: Passwords) -> None:
    right, wrong = basic("user:hidden"), basic("user:Hidden")
    assert not passwords.knows(right)
    assert passwords.admits(right)
    assert passwords.knows(right)
    assert not passwords.admits(wrong)
    assert not passwords.knows(wrong)
    assert not passwords.knows("")


def test_tls_carries_whole_files_and_ranges_and_who_speaks_none_is_hung_up_on(
    models: Path, tmp_path: Path, certificate: Certificate
) -> None:
    tls = tls_of(certificate.chain, certificate.key)
    with serving(models, tmp_path / "index", tls=tls) as running:
        assert running.server.url.startswith("https://127.0.0.1:")
        with running.raw(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n") as plain:
            assert not plain.recv(100).startswith(b"HTTP")
        silent = running.raw()
        http = urllib3.PoolManager(ca_certs=str(certificate.authority), retries=False)
        blob = f"{running.server.url}/v2/local/m/blobs/{Digest.of(BIG)}"
        for _ in range(2):
            assert http.request("GET", blob).data == BIG
        assert http.request("GET", blob, headers={"Range": "bytes=5-9"}).data == BIG[5:10]
        assert f"fusefs mount {running.server.url}/local/m" in http.request("GET", running.server.url).data.decode()
        assert http.request("POST", blob, body=b"x").status == 405
        http.clear()
        silent.close()


@pytest.mark.slow
def test_who_reads_no_answer_over_tls_does_not_hold_the_server(
    models: Path, tmp_path: Path, certificate: Certificate
) -> None:
    long = noise(48 << 20)  # more than the kernel buffers between two processes
    write_tree(models / "m", {"g": long})
    context = ssl.create_default_context(cafile=certificate.authority)
    with (
        serving(models, tmp_path / "index", tls=tls_of(certificate.chain, certificate.key)) as running,
        context.wrap_socket(running.raw(), server_hostname="127.0.0.1") as client,
    ):
        client.sendall(f"GET /v2/local/m/blobs/{Digest.of(long)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.recv(8) == b"HTTP/1.1"
        running.stop()


@pytest.mark.parametrize(
    ("text", "said"),
    one_soon(
        [
            ("user:$apr1$abc$xyz", "line 1: want a hash of bcrypt"),
            ("# a\n\nuser:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "line 3: want a hash of bcrypt"),
            ("user:plain", "want a hash of bcrypt"),
            ("user", "want NAME:HASH"),
            (":$2b$04$" + "a" * 53, "want NAME:HASH"),
            ("user:$2y$31$" + "a" * 53, "want a cost of bcrypt from 4 to 15"),
            ("# nobody\n", "nobody is in it"),
            ("\0" * (1 << 20) + "x", "more than"),
        ]
    ),
)
def test_other_password_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "htpasswd").write_text(text)
    with pytest.raises(InvalidSetting, match=said):
        Passwords.read(tmp_path / "htpasswd")


def test_what_apache_writes_is_read(tmp_path: Path) -> None:
    """`$2y$` is what `htpasswd -B` writes; the algorithm is the same."""
    (tmp_path / "htpasswd").write_text(HTPASSWD.replace("$2b$", "$2y$"))
    assert Passwords.read(tmp_path / "htpasswd").admits(basic("user:hidden"))


@pytest.mark.parametrize(
    ("passwords_too", "tls_too", "said"),
    [
        (False, False, ["may read all", "--htpasswd", "--tls-cert"]),
        (True, False, ["can be read on the way", "--tls-cert"]),
        (False, True, ["may read all", "--htpasswd"]),
        (True, True, []),
    ],
)
def test_what_is_not_protected_beyond_loopback_is_one_line(
    models: Path,
    tmp_path: Path,
    passwords: Passwords,
    certificate: Certificate,
    passwords_too: bool,
    tls_too: bool,
    said: list[str],
) -> None:
    warned: list[str] = []
    options: dict[str, Any] = {
        "passwords": passwords if passwords_too else None,
        "tls": tls_of(certificate.chain, certificate.key) if tls_too else None,
    }
    with serving(models, tmp_path / "index", "0.0.0.0", warn=warned.append, **options):
        assert len(warned) == bool(said)
        assert all(word in warned[0] for word in said)

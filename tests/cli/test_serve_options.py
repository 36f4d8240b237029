"""`fusefs serve` with files for TLS and passwords that are no such files: one line, status 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization

from tests.components import make_certificate
from tests.marks import one_soon

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


@pytest.mark.parametrize(
    ("words", "said"),
    one_soon(
        [
            (["--tls-cert", "{tls}/server.pem", "--tls-key", "{other}/server.key"], "the key is another certificate's"),
            (["--tls-cert", "{tls}/server.pem"], "go together"),
            (["--tls-key", "{tls}/server.key"], "go together"),
            (["--tls-cert", "{tls}/none", "--tls-key", "{tls}/server.key"], "cannot read --tls-cert"),
            (["--tls-cert", "{tls}/server.key", "--tls-key", "{tls}/server.key"], "both as PEM"),
            (["--tls-cert", "{tls}/server.pem", "--tls-key", "{tls}/locked.key"], "unencrypted key"),
            (["--htpasswd", "{tls}/none"], "cannot read --htpasswd"),
            (["--htpasswd", "{tls}"], "Is a directory"),
            (["--htpasswd", "{tls}/server.pem"], "line 1: want NAME:HASH"),
        ]
    ),
)
def test_files_that_are_none_are_one_line(fusefs: Shell, words: list[str], said: str) -> None:
    tls, other = fusefs.root / "tls", fusefs.root / "other"
    make_certificate(tls)
    make_certificate(other)
    key = serialization.load_pem_private_key((tls / "server.key").read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    (tls / "locked.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    told = fusefs.fails("serve", fusefs.folder("models"), *(x.format(tls=tls, other=other) for x in words), code=2)
    assert said in told

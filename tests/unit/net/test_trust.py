"""Certificates that are not trusted, and schemes that were mistaken: what is wrong, and what to write instead."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import SourceError, TlsError
from fusefs.net.transport import Transport
from fusefs.sources.registry.responses import check_status
from fusefs.values.settings import Settings
from tests.certificate import make_certificate
from tests.faulty_registry import FaultyRegistry
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Settings(timeout=5, stall=2)


def _error(url: str, named: str = "127.0.0.1") -> SourceError:
    with closing(Transport(SETTINGS, named=named)) as transport, pytest.raises(SourceError) as caught:
        check_status(transport.get(url, {}))
    return caught.value


def test_a_certificate_that_is_not_trusted_names_the_remedy(tmp_path: Path) -> None:
    with FaultyRegistry(certificate=make_certificate(tmp_path)) as registry:
        error = _error(f"{registry.url}/x")
    assert isinstance(error, TlsError)
    assert "its certificate is not trusted: self-signed certificate; SSL_CERT_FILE=FILE" in str(error)
    assert "https+insecure://" in str(error)


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("SSL_CERT_FILE", "cannot be read (No such file or directory)"),
        ("SSL_CERT_DIR", "is no folder that can be read"),
    ],
)
def test_a_variable_that_names_nothing_is_complained_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, says: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    with FaultyRegistry(certificate=make_certificate(tmp_path)) as registry:
        error = _error(f"{registry.url}/x")
    complaint = f"{variable} names {tmp_path}/nothing, which {says}"
    assert complaint in str(error)
    assert complaint in caplog.text


def test_a_good_variable_is_not_complained_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path}/nothing:{tmp_path}")
    with FaultyRegistry(certificate=certificate) as registry:
        assert "status 404" in str(_error(f"{registry.url}/x"))
    assert caplog.text == ""


def test_tls_at_a_port_without_it_says_which_scheme_to_write() -> None:
    with FaultyRegistry() as registry:
        text = str(_error(f"https://{registry.host}/x"))
    assert (
        text
        == f"{registry.host}: it does not speak TLS at this port; to ask it in the clear, write http:// before its name"
    )


def test_no_tls_at_a_port_with_it_says_which_scheme_to_write(tmp_path: Path) -> None:
    with FaultyRegistry(certificate=make_certificate(tmp_path)) as registry:
        text = str(_error(f"http://{registry.host}/x"))
    assert text.endswith("write https:// before its name")


@pytest.mark.parametrize(
    "body",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"<title>400 The plain HTTP request was sent to HTTPS port</title>",
    ],
)
def test_a_server_that_says_so_itself_is_understood(body: bytes) -> None:
    with FaultyRegistry() as registry:
        registry.expect("/x", answer=Answer(400, b"<html>" + body if b"<" in body else body))
        assert str(_error(f"{registry.url}/x")).endswith("; write https:// before its name")


def test_where_a_registry_led_us_nobody_can_write_another_scheme() -> None:
    with FaultyRegistry() as registry:
        assert "before its name" not in str(_error(f"https://{registry.host}/x", named="registry.example"))


def test_a_host_that_has_answered_is_not_suspected_of_the_other_scheme() -> None:
    with FaultyRegistry() as registry, closing(Transport(SETTINGS, named="127.0.0.1")) as transport:
        transport.get(f"{registry.url}/x", {}).discard()
        registry.fault("reset-before")
        with pytest.raises(SourceError) as caught:
            transport.get(f"{registry.url}/x", {})
        assert "before its name" not in str(caught.value)

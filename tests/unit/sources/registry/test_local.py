"""Registries of this machine: TLS where it is spoken, else plain HTTP, as Docker has it; and of no other machine."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import SourceError, TlsError
from fusefs.net import tlsprobe
from fusefs.sources.registry import registry as module
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.registry import RegistrySource
from fusefs.values.names import Name
from fusefs.values.settings import Settings
from tests.certificate import make_certificate
from tests.faulty_registry import FaultyRegistry, Model
from tests.reading import read_blob

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Settings(timeout=5, stall=2)
DATA = b"data" * 1000


def _source(name: Name, tmp_path: Path) -> RegistrySource:
    return RegistrySource(name.scheme, name.host, SETTINGS, keys=KeyRing(None, tmp_path / "none"))


def _named(model: Model) -> Name:
    name = replace(Name.parse(f"oci://{model.name.host}/x"), namespace=model.name.namespace, model=model.name.model)
    assert name.scheme == "oci"
    return name


def test_plain_http_is_spoken_where_tls_is_not(tmp_path: Path) -> None:
    with FaultyRegistry(token="t") as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": DATA})
        name = _named(model)
        with closing(_source(name, tmp_path)) as source:
            assert source.manifest(name) == model.manifest
            assert read_blob(source, name, model.blobs["model.gguf"]) == DATA
    with FaultyRegistry() as registry, closing(_source(_named(_add(registry)), tmp_path)) as source:
        model = _add(registry)
        assert read_blob(source, _named(model), model.blobs["model.gguf"]) == DATA, "the first request is for bytes"


def _add(registry: FaultyRegistry) -> Model:
    return registry.add_model("library/m:latest", {"model.gguf": DATA})


def test_tls_is_spoken_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    with FaultyRegistry(certificate=certificate) as registry:
        model = _add(registry)
        with closing(_source(_named(model), tmp_path)) as source, pytest.raises(TlsError):
            source.manifest(_named(model))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
        with closing(_source(_named(model), tmp_path)) as source:
            assert source.manifest(_named(model)) == model.manifest


def test_p10_who_writes_https_gets_no_answer_in_the_clear(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        name = replace(_add(registry).name, scheme="https")
        with closing(_source(name, tmp_path)) as source, pytest.raises(SourceError, match="http://"):
            source.manifest(name)
        assert registry.requests == []


def test_p10_no_other_machine_is_asked_in_the_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "speaks_tls", lambda *_: pytest.fail("asked"))
    name = replace(Name.parse("oci://registry.invalid/a/b"), scheme="oci")
    with closing(_source(name, tmp_path)) as source, pytest.raises(SourceError):
        source.manifest(name)


def test_a_server_that_comes_later_is_looked_at_then(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        model = _add(registry)
        registry.refuse()
        with closing(_source(_named(model), tmp_path)) as source:
            with pytest.raises(SourceError):
                source.manifest(_named(model))
            assert tlsprobe.speaks_tls("127.0.0.1", int(registry.host.rpartition(":")[2])) is None


def test_docker_hub_answers_at_another_host_than_it_is_called(tmp_path: Path) -> None:
    name = Name.parse("docker://ai/smollm2")
    with closing(_source(name, tmp_path)) as source:
        assert (source.label, source.host) == ("docker.io", "registry-1.docker.io")

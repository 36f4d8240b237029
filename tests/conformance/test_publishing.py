"""Lists into Debian's docker-registry over every kind of authorization, and what goes over the wire for it."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fusefs.artifacts.listartifact import fallback_tag, list_tag, list_title, referring
from fusefs.errors import FusefsError, Unauthorized
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.listpublisher import publish, publish_apart
from fusefs.sources.registry.pusher import Pusher
from fusefs.sources.registry.registry import RegistrySource
from fusefs.sources.registry.registrylists import RegistryLists
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.settings import Settings
from tests.components import docker_registry, htpasswd
from tests.list_registry import Given, ListRegistry, list_of
from tests.marks import one_soon
from tests.token_server import TokenServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA, OTHER = bytes(range(256)) * 40, b"other" * 999
LISTS = {Blob(Digest.of(data), len(data)): list_of(data, 1000) for data in (DATA, OTHER)}
MODEL = b'{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}'
SETTINGS = Settings(timeout=20, stall=10)


def source_of(address: str, root: Path, *hosts: str) -> RegistrySource:
    """A client with the password of `hosts`."""
    config = root / f"config-{len(hosts)}.json"
    secret = base64.b64encode(b"user:hidden").decode()
    config.write_text(json.dumps({"auths": {host: {"auth": secret} for host in hosts}}))
    config.chmod(0o600)
    return RegistrySource("http", address, SETTINGS, keys=KeyRing(root / "no-key", config))


@pytest.fixture(params=one_soon(["token", "open", "basic"]))
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Its address, and the hosts that want a password."""
    if request.param == "token":
        with (
            TokenServer(tmp_path, users={"user": "hidden"}) as service,
            docker_registry(tmp_path / "registry", auth=service.auth) as address,
        ):
            yield address, (address, service.host)
    else:
        auth = htpasswd(tmp_path) if request.param == "basic" else None
        with docker_registry(tmp_path / "registry", auth=auth) as address:
            yield address, (address,)


def test_p10_lists_are_pushed_once_with_the_right_to_push_and_found(
    registry: tuple[str, tuple[str, ...]], tmp_path: Path
) -> None:
    address, hosts = registry
    with closing(source_of(address, tmp_path, *hosts)) as source:
        pusher = Pusher(source, "team/deep/model")
        done = publish(pusher, MODEL, LISTS)
        assert done.pushed == len(LISTS) + 4, "the texts, the empty config, the manifest, its tag, the index"
        assert done.by == "index"
        assert publish(Pusher(source, "team/deep/model"), MODEL, LISTS).pushed == 0
        index = pusher.read(fallback_tag(Digest.of(MODEL)))
        assert index is not None
        assert referring(index) == [done.artifact]
        found = RegistryLists(source)
        for blob, chunks in LISTS.items():
            assert found.tagged_list("team/deep/model", list_tag(Digest.of(MODEL)), blob) == chunks
        assert [one.tags for one in publish_apart(Pusher(source, "all/lists"), LISTS)] == [
            (list_title(blob.digest),) for blob in LISTS
        ]


@pytest.mark.slow
def test_who_may_not_push_is_told_in_one_line(tmp_path: Path) -> None:
    with (
        docker_registry(tmp_path / "registry", auth=htpasswd(tmp_path)) as address,
        closing(source_of(address, tmp_path)) as source,
        pytest.raises(Unauthorized) as caught,
    ):
        publish(Pusher(source, "team/model"), MODEL, LISTS)
    assert "\n" not in str(caught.value)


def test_p10_an_upload_that_is_sent_to_another_host_takes_no_password_along(tmp_path: Path) -> None:
    with ListRegistry() as registry, ListRegistry() as elsewhere:
        upload = Given(status=202, headers={"Location": f"http://{elsewhere.host}/take/it"})
        registry.answers["/v2/library/m/blobs/uploads/"] = upload
        elsewhere.answers["/take/it"] = Given(status=201)
        with closing(source_of(registry.host, tmp_path, registry.host, elsewhere.host)) as source:
            Pusher(source, "library/m").blob(b"text", Digest.of(b"text"))
        assert elsewhere.asked == ["/take/it"]
        assert "Authorization" not in elsewhere.heads[0]


@pytest.mark.parametrize(
    "answer",
    [
        Given(status=202),
        Given(status=202, headers={"Location": "gopher://x"}),
        Given(status=200),
        Given(b"<html>", "text/html", 500),
        Given(status=307, headers={"Location": "/elsewhere"}),
    ],
)
def test_an_upload_that_cannot_be_is_one_line(tmp_path: Path, answer: Given) -> None:
    with ListRegistry() as registry, closing(source_of(registry.host, tmp_path)) as source:
        registry.answers["/v2/library/m/blobs/uploads/"] = answer
        with pytest.raises(FusefsError) as caught:
            Pusher(source, "library/m").blob(b"text", Digest.of(b"text"))
        assert "\n" not in str(caught.value)
        assert registry.count("elsewhere") == 0, "what changes something is not sent on"

"""A host in the place of a model: what it has is listed, nobody else is asked, and nothing is mounted or fetched."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import click
import pytest

from fusefs.cli.choice import only_models
from fusefs.cli.parameters import PLACE_OR_HOST, SOURCE_OR_HOST
from fusefs.errors import SourceError
from fusefs.sources.registry.listing import MOST, Listing, listing_of
from fusefs.values.names import BaseUrl, Name
from fusefs.values.reference import LocalPath
from fusefs.values.settings import Settings
from tests.components import OllamaLayer, docker_registry, push
from tests.faulty_registry import FaultyRegistry
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell

SETTINGS = Settings(timeout=5, stall=2)


def _listing(registry: FaultyRegistry) -> Listing:
    return listing_of(BaseUrl.parse(registry.url), SETTINGS)


def _catalog(registry: FaultyRegistry, repositories: list[object], *, link: str = "", at: str = "?n=1000") -> None:
    headers = {"Link": link} if link else {}
    body = json.dumps({"repositories": repositories}).encode()
    registry.expect(f"/v2/_catalog{at}", answer=Answer(200, body, headers))


def _tags(registry: FaultyRegistry, repository: str, tags: object, *, status: int = 200) -> None:
    body = json.dumps({"name": repository, "tags": tags}).encode()
    registry.expect(f"/v2/{repository}/tags/list?n=1000", answer=Answer(status, body))


def test_every_tag_of_every_model_is_a_name_to_type() -> None:
    with FaultyRegistry() as registry:
        _catalog(registry, ["local/tiny", "local/big"])
        _tags(registry, "local/tiny", ["latest", "v1", "v1"])
        _tags(registry, "local/big", ["q4"])
        paths = ("local/tiny:latest", "local/tiny:v1", "local/big:q4")
        assert _listing(registry) == Listing(tuple(f"{registry.url}/{path}" for path in paths))


def test_a_catalog_of_several_pages_is_read_to_its_end() -> None:
    with FaultyRegistry() as registry:
        _catalog(registry, ["a/a"], link='</v2/_catalog?last=a%2Fa&n=1000>; rel="next"')
        _catalog(registry, ["a/b", "a/a"], at="?last=a%2Fa&n=1000")
        for repository in ("a/a", "a/b"):
            _tags(registry, repository, ["t"])
        assert _listing(registry).names == (f"{registry.url}/a/a:t", f"{registry.url}/a/b:t")


def test_p10_a_next_page_elsewhere_is_not_asked() -> None:
    with FaultyRegistry() as thief, FaultyRegistry() as registry:
        _catalog(registry, [], link=f"<{thief.url}/v2/_catalog>; rel=next")
        assert _listing(registry) == Listing(())
        assert thief.requests == []


def test_p10_what_is_no_name_is_counted_and_not_shown() -> None:
    with FaultyRegistry() as registry:
        _catalog(registry, ["../etc", "a b", "Flat", "a/B/c", "x/\x1b[31m", "user:hidden@evil/x", 7, None, "a/good"])
        _tags(registry, "a/good", ["t", "-t", "\x1b[0m", 7, "x" * 500])
        assert _listing(registry) == Listing((f"{registry.url}/a/good:t",), more=6)


def test_repositories_of_any_depth_are_listed() -> None:
    with FaultyRegistry() as registry:
        _catalog(registry, ["flat", "a/b/c"])
        for name in ("flat", "a/b/c"):
            _tags(registry, name, ["v1"])
        assert _listing(registry).names == (f"{registry.url}/flat:v1", f"{registry.url}/a/b/c:v1")


def test_a_model_whose_tags_cannot_be_had_is_named_without_one() -> None:
    with FaultyRegistry() as registry:
        _catalog(registry, ["a/a", "a/gone"])
        _tags(registry, "a/a", None, status=404)
        _tags(registry, "a/gone", None)
        assert _listing(registry) == Listing((f"{registry.url}/a/a",), more=1)


def test_p10_more_than_anybody_reads_is_counted_alone() -> None:
    with FaultyRegistry() as registry:
        _catalog(registry, [f"a/{number}" for number in range(3)])
        for number in range(2):
            _tags(registry, f"a/{number}", [f"t{tag}" for tag in range(MOST - 50)])
        assert _listing(registry).more == MOST - 100 + 1


@pytest.mark.parametrize("body", [b"[]", b"{}", b"no", b'{"repositories": {"a": 1}}', b"[" * 70_000])
def test_p10_a_catalog_that_is_none_is_refused(body: bytes) -> None:
    with FaultyRegistry() as registry:
        registry.expect("/v2/_catalog?n=1000", answer=Answer(200, body))
        with pytest.raises(SourceError, match="its list of repositories is none"):
            _listing(registry)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_host_without_a_catalog_says_what_to_write(status: int) -> None:
    with FaultyRegistry() as registry:
        registry.expect("/v2/_catalog?n=1000", answer=Answer(status, b"no such thing"))
        with pytest.raises(SourceError) as caught:
            _listing(registry)
    text = f"does not list its models (status {status}); name one: {registry.url}/REPOSITORY"
    assert text in str(caught.value)


def test_a_page_for_people_is_called_that() -> None:
    with FaultyRegistry() as registry:
        registry.expect("/v2/_catalog?n=1000", answer=Answer(200, b"<!DOCTYPE html><html><title>Hotel</title>"))
        with pytest.raises(SourceError, match="an HTML page, 'Hotel'"):
            _listing(registry)


# The command


@pytest.mark.parametrize(
    "path", ["file:///srv/models", "./team@work/m", "/srv/a:b@c/d", "~/m@x/y", "../m", ".models/m", "~user/m"]
)
def test_a_path_is_asked_for_no_host_and_suspected_of_no_password(path: str) -> None:
    assert PLACE_OR_HOST.convert(path, None, None) == LocalPath.parse(path)
    with pytest.raises(click.UsageError, match="is a folder of this machine"):
        SOURCE_OR_HOST.convert(path, None, None)


@pytest.mark.parametrize("kind", [PLACE_OR_HOST, SOURCE_OR_HOST])
def test_a_host_stands_in_the_place_of_a_model(kind: Any) -> None:
    assert kind.convert("http://h:1/", None, None) == BaseUrl("http", "h:1")
    assert kind.convert("http://h/n/m", None, None) == Name.parse("http://h/n/m")


def test_where_there_is_one_model_nobody_is_asked_to_choose(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyRegistry() as registry:
        _catalog(registry, ["local/tiny"])
        _tags(registry, "local/tiny", ["latest"])
        name = f"{registry.url}/local/tiny:latest"
        with pytest.raises(click.ClickException, match=f"its one model is {name}$"):
            only_models([BaseUrl.parse(registry.url)], SETTINGS)
        assert capsys.readouterr().out == f"{name}\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["pull", "mount"])
def test_a_host_alone_lists_its_models(fusefs: Shell, command: str) -> None:
    where = [fusefs.folder("mnt")] if command == "mount" else []
    with FaultyRegistry() as registry:
        _catalog(registry, ["local/tiny"])
        _tags(registry, "local/tiny", ["latest", "v1"])
        done = fusefs(command, registry.url, *where, code=2)
        assert done.stdout.split() == [f"{registry.url}/local/tiny:latest", f"{registry.url}/local/tiny:v1"]
        assert done.stderr == f"fusefs: error: {registry.url} is a host and no model; choose one of its 2 names\n"


@pytest.mark.slow
def test_a_host_alone_that_is_not_there_is_one_line(fusefs: Shell) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{closed.getsockname()[1]}"
        assert fusefs.fails("pull", f"http://{host}") == f"{host}: Connection refused"


@pytest.mark.slow
def test_other_commands_say_that_a_host_is_no_model(fusefs: Shell) -> None:
    assert "names a host and no model" in fusefs.fails("pin", "http://127.0.0.1:1", code=2)


@pytest.mark.slow
def test_what_docker_s_registry_has_is_listed(fusefs: Shell, tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry") as address:
        for number in range(3):
            push(address, f"library/m{number}", "v1", [OllamaLayer("system", b"%d" % number)])
        done = fusefs("pull", f"http://{address}/", code=2)
        assert done.stdout.split() == [f"http://{address}/library/m{number}:v1" for number in range(3)]
        assert fusefs("pull", *done.stdout.split()).stderr == ""


@pytest.mark.slow
def test_what_serve_prints_lists_what_it_serves(fusefs: Shell, model: str) -> None:
    host = model.removesuffix("/local/tiny")
    done = fusefs("pull", host, code=2)
    assert done.stdout == f"{model}:latest\n"
    mnt = fusefs.folder("mnt")
    fusefs("mount", done.stdout.strip(), mnt)
    assert (mnt / "config.json").read_bytes() == b'{"a": 1}'
    fusefs("umount", mnt)

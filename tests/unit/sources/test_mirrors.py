"""Mirrors: how they are written, the order in which they are asked, and what they are not told."""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fusefs.errors import InvalidSetting, ModelNotFound, StallTimeout, TransportError, Unauthorized, WrongResponse
from fusefs.net.url import Url
from fusefs.sources.distrust import ASIDE, Standing
from fusefs.sources.order import open_sources
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.endpoint import Endpoint
from fusefs.sources.retry import Retrying
from fusefs.values.chunks import Chunk
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.mirror import Mirror
from fusefs.values.names import BaseUrl, Name
from fusefs.values.reference import parse_model
from fusefs.values.settings import Settings
from fusefs.values.webtree import WebTree
from tests.fake_source import FakeSource
from tests.faulty_registry import FaultyRegistry
from tests.reading import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.errors import FusefsError
    from fusefs.sources.base import Source

NAME = Name.parse("http://127.0.0.1:1/library/m")


@pytest.mark.parametrize(
    "text",
    [
        "https://h",
        "http://h:8080",
        "https+insecure://h:1",
        "http://127.0.0.1:65535",
        "http://[::1]:80",
        "https://a.b-c_d",
    ],
)
def test_a_mirror_is_a_scheme_and_a_host(text: str) -> None:
    assert str(BaseUrl.parse(text)) == str(Mirror.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("https://h/", ""),
        ("https://artifactory/api/docker/remote", "/api/docker/remote"),
        ("http://127.0.0.1:80/a.b_c-d~/", "/a.b_c-d~"),
        ("oci://[::1]:5000/v2/x", "/v2/x"),
    ],
)
def test_a_mirror_may_lie_below_a_path(text: str, prefix: str) -> None:
    assert Mirror.parse(text).prefix == prefix


@pytest.mark.parametrize(
    ("text", "told"),
    [
        *(
            (text, r"want https://host\[:port\]\[/path\]")
            for text in ("", "h", "h/a", "ftp://h/a", "https:///a", "h//a")
        ),
        *((f"https://h{path}", "want https://") for path in ("//", "/a//b", "/a/../b", "/.", "/a b", "/a?b", "/a#b")),
        *((f"https://h/{path}", "want https://") for path in ("%2e", "\u0661", "a\n", "a\\b", "a" * 2000, "a/" * 20)),
        *((f"https://h{path}/v2", "leave out /v2") for path in ("", "/a")),
        ("https://user:hidden@h/a", "want https://"),
    ],
)
def test_p10_what_is_no_mirror_is_told_in_one_line_without_a_secret(text: str, told: str) -> None:
    with pytest.raises(InvalidSetting, match=told) as caught:
        Mirror.parse(text)
    assert "\n" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "h", "h:80", "//h", "http://", "ftp://h", "http://h//", "https://h/v2", "https://h?x", "https://h#x"),
        *(
            "http://h:",
            "http://h:0",
            "http://h:65536",
            "http://h:x",
            "http://h h",
            "http://h\n",
            "http://::1",
        ),
        *("http://user:pass@h", "http://h:80:80", "http://[::1", "http://\u0661"),
    ],
)
def test_anything_else_is_wrong_usage(text: str) -> None:
    with pytest.raises(InvalidSetting, match="invalid registry URL"):
        BaseUrl.parse(text)


def test_p10_a_password_in_a_mirror_is_not_repeated() -> None:
    with pytest.raises(InvalidSetting) as caught:
        BaseUrl.parse("https://user:hidden@h")
    assert "hidden" not in str(caught.value)


def opened(name: Name, *mirrors: str, stores: tuple[Path, ...] = (), keys: KeyRing | None = None) -> list[Source]:
    settings = Settings(timeout=2, stall=1, mirrors=mirrors)
    return open_sources(name, stores=stores, settings=settings, counters=Counters(), keys=keys)


def test_mirrors_come_after_local_stores_and_before_the_registry(tmp_path: Path) -> None:
    with ExitStack() as stack:
        sources = opened(NAME, "https://two", "http://one:5000", stores=(tmp_path,))
        for source in sources:
            stack.enter_context(closing(source))
        assert [source.label for source in sources] == [str(tmp_path), "two", "one:5000", "127.0.0.1:1"]


def test_nobody_is_asked_twice() -> None:
    sources = opened(NAME, "https://one", "https://one:443", "https://one/a", "https://one/a/", "http://127.0.0.1:1/")
    assert [source.label for source in sources] == ["one:443", "one/a", "127.0.0.1:1"]
    for source in sources:
        source.close()


def test_p10_a_mirror_gets_no_credentials_of_the_registry_and_no_signature(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "key", tmp_path / "config.json")
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    with FaultyRegistry(basic="Basic dTpw") as registry, FaultyRegistry(token="t") as mirror:
        auth = base64.b64encode(b"u:p").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
        (tmp_path / "key").write_bytes(key)
        for file in tmp_path.iterdir():
            file.chmod(0o600)
        model = registry.add_model("library/m:latest", {"model.gguf": b"data"})
        mirror.add_model("library/m:latest", {"model.gguf": b"data"})
        sources = opened(model.name, mirror.url, keys=keys)
        for source in sources:
            with closing(source):
                source.manifest(model.name)
        assert [request.headers.get("authorization") for request in registry.requests] == [None, "Basic dTpw"]
        assert [request.headers.get("authorization") for request in mirror.requests] == [None, None, "Bearer t"]
        assert "nonce" not in mirror.requests[1].path


def test_p10_a_mirror_that_wants_the_password_of_the_registry_does_not_get_it(tmp_path: Path) -> None:
    with FaultyRegistry(basic="Basic dTpw") as mirror:
        auth = base64.b64encode(b"u:p").decode()
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"auths": {NAME.host: {"auth": auth}}}))
        config.chmod(0o600)
        first, last = opened(NAME, mirror.url, keys=KeyRing(tmp_path / "none", config))
        with closing(first), closing(last), pytest.raises(Unauthorized):
            first.manifest(NAME)
        assert not any("authorization" in request.headers for request in mirror.requests)


def test_a_mirror_is_told_which_registry_it_stands_for(tmp_path: Path) -> None:
    """By `ns`, as containerd tells it, and by the header of Dragonfly."""
    with FaultyRegistry() as mirror:
        blob = mirror.add_model("library/m:latest", {"model.gguf": b"data"}).blobs["model.gguf"]
        first, last = opened(NAME, mirror.url, keys=KeyRing(tmp_path / "none", tmp_path / "none"))
        with closing(first), closing(last), closing(first.open_range(NAME, blob, Chunk(0, 3))):
            pass
        (request,) = mirror.requests
    assert request.path == f"/v2/library/m/blobs/{blob.digest}?ns=127.0.0.1%3A1"
    assert request.headers["x-dragonfly-registry"] == "http://127.0.0.1:1"


def test_p10_a_registry_is_told_nothing_of_the_kind(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        model = registry.add_model("library/m:latest", {"model.gguf": b"data"})
        (source,) = opened(model.name, keys=KeyRing(tmp_path / "none", tmp_path / "none"))
        with closing(source):
            source.manifest(model.name)
        assert not any(
            "?" in request.path or "x-dragonfly-registry" in request.headers for request in registry.requests
        )


def test_docker_hub_is_told_by_the_name_that_mirrors_know() -> None:
    with ExitStack() as stack:
        for source in (sources := opened(Name.parse("docker://a/b"), "https://m", "https://registry-1.docker.io")):
            stack.enter_context(closing(source))
    assert [source.label for source in sources] == ["m", "docker.io"]
    assert Endpoint("/p", "docker.io", "x").url(Url.parse("https://m"), "/v2/?n=1").target == "/p/v2/?n=1&ns=docker.io"


@pytest.mark.logs("--mirror is for registries and does not apply to h, which is a web server")
def test_trees_have_no_mirrors_and_it_is_said(tmp_path: Path) -> None:
    tree = WebTree.read("https://h/dir/")
    assert tree is not None
    (source,) = opened(tree, "https://m", keys=KeyRing(tmp_path / "none", tmp_path / "none"))
    source.close()


@pytest.mark.logs("--mirror is for registries and does not apply to huggingface.co, which is a Hub")
def test_hubs_have_no_mirrors_and_it_is_said(tmp_path: Path) -> None:
    (source,) = opened(parse_model("hf://org/m"), "https://m", keys=KeyRing(tmp_path / "none", tmp_path / "none"))
    source.close()


class Failing(FakeSource):
    def __init__(self, *failures: FusefsError) -> None:
        super().__init__()
        self.failures = failures
        self.calls = 0

    def manifest(self, name: Name) -> bytes:
        self.calls += 1
        raise self.failures[min(self.calls, len(self.failures)) - 1]


@pytest.mark.parametrize(
    ("failure", "calls"),
    [
        (TransportError("reset"), 2),
        (WrongResponse("no range"), 2),
        (StallTimeout("silence"), 1),
        (ModelNotFound("no"), 1),
    ],
)
def test_p6_where_others_can_be_asked_one_quick_try_more_is_all(failure: FusefsError, calls: int) -> None:
    inner, clock = Failing(failure), FakeClock()
    source = Retrying(inner, timeout=300, counters=Counters(), clock=clock, several=True)
    with pytest.raises(type(failure)):
        source.manifest(NAME)
    assert inner.calls == calls
    assert sum(clock.waits) <= 0.1


def test_all_the_patience_is_with_whoever_asks_the_others_too() -> None:
    clock = FakeClock()
    alone = Retrying(FakeSource(), timeout=300, counters=Counters(), clock=clock)
    several = Retrying(FakeSource(), timeout=300, counters=Counters(), clock=clock, several=True)
    assert alone.patience() is None
    patience = several.patience()
    assert patience is not None
    while clock.time - 1000 + 15 < 300:
        patience.pause(TransportError("reset"))
    with pytest.raises(TransportError):
        patience.pause(TransportError("reset"))


@pytest.mark.logs("m is blocked for sha256:.*: wrong bytes")
def test_a_source_is_aside_for_one_blob_for_an_hour() -> None:
    clock = FakeClock()
    standing = Standing("m", clock)
    bad, good = Digest.of(b"bad"), Digest.of(b"good")
    standing.set_aside(bad, "wrong bytes")
    assert (standing.aside(bad), standing.aside(good), standing.blobs) == (True, False, 1)
    assert standing.reason == f"wrong bytes of {bad.short}"
    clock.time += ASIDE
    assert (standing.aside(bad), standing.blobs, standing.reason) == (False, 0, "")


def test_it_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    standing = Standing("m", FakeClock())
    for _ in range(3):
        standing.set_aside(Digest.of(b"bad"), "wrong bytes")
    assert len(caplog.messages) == 1


@pytest.mark.logs("is blocked")
def test_p10_blobs_without_end_do_not_fill_the_memory() -> None:
    standing = Standing("m", FakeClock())
    for number in range(5000):
        standing.set_aside(Digest.of(str(number).encode()), "wrong bytes")
    assert standing.blobs <= 4096

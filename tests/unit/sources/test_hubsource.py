"""The Hub as a source: what it is asked, with which token, and what it may say."""

from __future__ import annotations

import json
import re
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from fusefs.artifacts.hubtree import HubTree
from fusefs.errors import (
    FusefsError,
    HostResting,
    InvalidManifest,
    ModelNotFound,
    NotFound,
    ResponseError,
    SourceError,
    Unauthorized,
    WrongResponse,
)
from fusefs.net.circuit import Circuits
from fusefs.net.secret import Secret
from fusefs.sources.hub.hub import HubSource
from fusefs.sources.hub.hubtoken import find_token
from fusefs.sources.retry import Retrying
from fusefs.values.chunks import ChunkList
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.hubendpoint import HUGGING_FACE, HubEndpoint
from fusefs.values.hubname import HubName
from fusefs.values.settings import Settings
from tests.hub.contents import noise
from tests.hub.origin import edited
from tests.hub.scriptedhub import ScriptedHub
from tests.loopback_server import LoopbackServer
from tests.reading import FakeClock, read_blob, read_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from tests.hub.repository import RepoKind, Repository

DATA = noise(300_000)
FILES = {"README.md": b"# A model\n", "config.json": b"{}", "sub dir/ü+1.bin": noise(9_000, 2), "w.safetensors": DATA}
SETTINGS = Settings(timeout=10, stall=5)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedHub]:
    with ScriptedHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def model(hub: ScriptedHub) -> Repository:
    return hub.add("org/m", FILES, xet=False)


@pytest.fixture
def source(hub: ScriptedHub) -> Iterator[HubSource]:
    with closing(HubSource(HubEndpoint.parse(hub.url), SETTINGS)) as source:
        yield source


def name_of(hub: ScriptedHub, text: str = "hf://org/m") -> HubName:
    name = HubName.read(text, HubEndpoint.parse(hub.url))
    assert name is not None
    return name


def tree_of(source: HubSource, name: HubName) -> HubTree:
    return HubTree.parse(source.manifest(name))


def refused(source: HubSource, name: HubName, kind: type[FusefsError]) -> str:
    with pytest.raises(kind) as caught:
        source.manifest(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What there is


def test_every_file_is_read_by_its_name_in_git_or_its_sha256(
    hub: ScriptedHub, model: Repository, source: HubSource
) -> None:
    name = name_of(hub)
    tree = tree_of(source, name)
    assert tree.commit == model.commit
    assert {file.path for file in tree.files} == set(FILES)
    for file in tree.files:
        assert read_blob(source, name, file.blob) == FILES[file.path]
        assert file.blob.digest.matches(FILES[file.path])
        assert file.blob.digest.is_sha256 == file.path.endswith((".bin", ".safetensors"))


def test_a_mount_costs_two_requests_of_the_api_and_a_known_commit_one(
    hub: ScriptedHub, model: Repository, source: HubSource
) -> None:
    document = source.manifest(name_of(hub))
    assert (hub.count("info"), hub.count("tree")) == (1, 1)
    assert source.manifest(name_of(hub, f"hf://org/m@{model.commit}")) == document
    assert (hub.count("info"), hub.count("tree")) == (1, 2)


def test_pages_are_put_together_and_the_document_does_not_show_them(
    hub: ScriptedHub, model: Repository, source: HubSource
) -> None:
    document = source.manifest(name_of(hub))
    hub.api.page = 1
    assert source.manifest(name_of(hub)) == document
    assert hub.count("tree") > len(FILES)


def test_revisions_share_the_blobs_that_did_not_change(hub: ScriptedHub, model: Repository, source: HubSource) -> None:
    old = tree_of(source, name_of(hub))
    model.push({"config.json": b'{"a": 1}'}, branch="refs/pr/1")
    new = tree_of(source, name_of(hub, "hf://org/m@refs/pr/1"))
    assert old.commit != new.commit
    assert len({file.blob for file in old.files} ^ {file.blob for file in new.files}) == 2


def test_data_sets_spaces_old_names_and_models_without_an_organisation(hub: ScriptedHub, source: HubSource) -> None:
    repositories: list[tuple[RepoKind, str]] = [("datasets", "org/d"), ("spaces", "org/s"), ("models", "gpt2")]
    for kind, repo in repositories:
        hub.add(repo, {"a.txt": repo.encode(), "w.bin": b"w" * 100}, kind=kind, xet=False)
        name = name_of(hub, f"hf://{'' if kind == 'models' else f'{kind}/'}{repo}")
        for file in tree_of(source, name).files:
            assert file.blob.digest.matches(read_blob(source, name, file.blob))
    hub.gate.moved["models", "org/old"] = "gpt2"
    name = name_of(hub, "hf://org/old")
    for file in tree_of(source, name).files:
        assert file.blob.digest.matches(read_blob(source, name, file.blob))


def test_a_name_with_a_digest_is_that_document_or_nothing(
    hub: ScriptedHub, model: Repository, source: HubSource
) -> None:
    name = name_of(hub)
    document = source.manifest(name)
    pinned, commit = name.pinned(Digest.of(document)), model.commit
    assert isinstance(pinned, HubName)
    assert source.manifest(pinned) == document
    model.push({"config.json": b"{ }"})
    assert "is another one by now" in refused(source, pinned, ModelNotFound)
    assert source.manifest(pinned.at(commit)) == document


def test_a_document_is_had_by_its_digest_after_the_hub_has_put_files_into_its_xet_store(
    hub: ScriptedHub, source: HubSource
) -> None:
    """It does so with repositories of years ago; no file has changed, and nothing that is locked must end."""
    hub.add("org/m", FILES)
    hub.change("tree", edited(lambda entries: [entry.pop("xetHash", None) for entry in entries] and None), times=1)
    before = source.manifest(name_of(hub))
    after = source.manifest(name_of(hub))
    assert before != after
    for document in (before, after):
        assert source.manifest(name_of(hub).pinned(Digest.of(document))) == document


def test_p7_bytes_are_had_by_a_document_that_came_from_elsewhere(
    hub: ScriptedHub, model: Repository, source: HubSource
) -> None:
    """A cache has the document; who mounts by it need not ask what the branch leads to by now."""
    name = name_of(hub)
    with closing(HubSource(HubEndpoint.parse(hub.url), SETTINGS)) as other:
        document = other.manifest(name)
    model.push({"w.safetensors": b"another"})
    source.learn(name, Digest.of(document), document)
    blob = next(file.blob for file in HubTree.parse(document).files if file.path == "w.safetensors")
    assert read_blob(source, name, blob) == DATA
    assert hub.count("tree") == 1


def test_a_chunk_list_beside_a_file_is_its_chunk_list(hub: ScriptedHub, source: HubSource) -> None:
    chunks = ChunkList.uniform(len(DATA), 100_000)
    listed = ChunkList.from_pairs(len(DATA), [(Digest.of(DATA[c.start : c.stop]), c) for c in chunks])
    text = "".join(listed.format()).encode()
    hub.add("org/m", {"w.bin": DATA, "w.bin.chunksums": text, "x.bin": b"x" * 100}, xet=False)
    name = name_of(hub)
    blobs = {file.path: file.blob for file in tree_of(source, name).files}
    assert source.chunk_list(name, blobs["w.bin"]) == listed
    assert source.chunk_list(name, blobs["x.bin"]) is None


@pytest.mark.logs("is not what the listing says")
def test_p10_a_chunk_list_that_is_not_the_one_in_the_tree_is_not_used(
    hub: ScriptedHub, source: HubSource, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add("org/m", {"w.bin": DATA, "w.bin.chunksums": b"x" * 100}, xet=False)
    name = name_of(hub)
    blob = next(file.blob for file in tree_of(source, name).files if file.path == "w.bin")
    hub.change("resolve", lambda body: b"y" * len(body))
    assert source.chunk_list(name, blob) is None
    assert "is not what the listing says" in caplog.text


def test_a_place_is_good_for_many_ranges_until_it_ends(hub: ScriptedHub, model: Repository, source: HubSource) -> None:
    name = name_of(hub)
    blob = next(file.blob for file in tree_of(source, name).files if file.path == "w.safetensors")
    for start in (0, 1000, 200_000):
        assert read_range(source, name, blob, start, start + 9) == DATA[start : start + 10]
    assert hub.count("resolve") == 1
    hub.cdn.expire()
    assert read_range(source, name, blob, 5, 14) == DATA[5:15]
    assert hub.count("resolve") == 2


# Who is let in, and with what


def test_p10_the_token_goes_to_the_hub_and_never_to_its_storage(
    hub: ScriptedHub, source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", " hf_reader\n")
    hub.add("org/p", FILES, private=True, readers={"hf_reader"}, xet=False)
    name = name_of(hub, "hf://org/p")
    for file in tree_of(source, name).files:
        for _ in range(2):
            assert read_blob(source, name, file.blob) == FILES[file.path]
    assert hub.endpoint.authorizations == {"Bearer hf_reader"}
    assert hub.storage.authorizations == hub.store.authorizations == set()


def test_p10_the_token_goes_to_no_hub_that_the_environment_does_not_name(
    hub: ScriptedHub, model: Repository, source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name out of somebody else's lock would else send it to whoever wrote that."""
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    for elsewhere in (None, "https://mirror.example"):
        if elsewhere is None:
            monkeypatch.delenv("HF_ENDPOINT")
        else:
            monkeypatch.setenv("HF_ENDPOINT", elsewhere)
        source.refresh()
        tree_of(source, name_of(hub))
    assert hub.endpoint.authorizations == set()
    assert find_token(HUGGING_FACE).secret is None


@pytest.mark.parametrize(
    ("set_up", "token"),
    [
        ({"HF_TOKEN": "a", "HUGGING_FACE_HUB_TOKEN": "b", "file": "c"}, "a"),
        ({"HUGGING_FACE_HUB_TOKEN": "b", "file": "c"}, "b"),
        ({"HF_TOKEN": " \n", "file": "c\n"}, "c"),
        ({"HF_TOKEN": "a", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, None),
        ({"HF_TOKEN": "a b"}, None),
        ({"HF_TOKEN": "a\r\nX: y"}, None),
        ({}, None),
    ],
)
def test_a_token_is_found_where_the_hubs_own_library_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, set_up: dict[str, str], token: str | None
) -> None:
    if "file" in set_up:
        (tmp_path / "hf").mkdir()
        (tmp_path / "hf/token").write_text(set_up.pop("file"))
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "hf/token"))
    for name, value in set_up.items():
        monkeypatch.setenv(name, value)
    found = find_token(HUGGING_FACE).secret
    assert (None if found is None else found.value) == (None if token is None else f"Bearer {token}")


def test_the_file_of_a_token_is_read_where_the_library_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/token").write_text("hf_file\n")
    found = find_token(HUGGING_FACE)
    assert found.secret == Secret("Bearer hf_file")
    assert found.where == str(tmp_path / "hf/token")
    assert "hf_file" not in repr(found)


def test_p10_a_token_is_never_sent_in_the_clear_but_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    for url, shown in (
        ("http://hub.example/x", False),
        ("https://hub.example/x", True),
        ("http://localhost:8/x", True),
    ):
        monkeypatch.setenv("HF_ENDPOINT", url)
        assert (find_token(HubEndpoint.parse(url)).secret is not None) == shown


def test_p10_a_file_that_others_may_write_holds_no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    path = tmp_path / "hf/token"
    path.write_text("hf_file")
    for mode, used in ((0o644, True), (0o600, True), (0o620, False), (0o602, False)):
        path.chmod(mode)
        assert (find_token(HUGGING_FACE).secret is not None) == used
    path.unlink()
    path.mkdir()
    assert "cannot be read" in find_token(HUGGING_FACE).where


@pytest.mark.parametrize(
    ("options", "token", "kind", "said"),
    [
        ({"private": True, "readers": {"hf_x"}}, None, Unauthorized, "it is private, or there is none of that name"),
        ({"private": True, "readers": {"hf_x"}}, "hf_y", ModelNotFound, "or the token \\(HF_TOKEN\\) may not see it"),
        ({"gated": "auto"}, None, Unauthorized, "is gated: accept its conditions at http.*/org/p, then run `hf auth"),
        ({"gated": "manual"}, "hf_y", Unauthorized, "is gated: the account of the token \\(HF_TOKEN\\) has no access"),
        ({"disabled": True}, "hf_y", Unauthorized, "access to it is disabled by the Hub"),
        ({}, "hf_stranger", Unauthorized, "the token \\(HF_TOKEN\\) is not taken: Invalid credentials"),
    ],
)
def test_who_is_not_let_in_is_told_what_to_do(
    hub: ScriptedHub,
    source: HubSource,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    token: str | None,
    kind: type[FusefsError],
    said: str,
) -> None:
    hub.gate.users.add("hf_y")
    hub.add("org/p", FILES, xet=False, **options)
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    text = refused(source, name_of(hub, "hf://org/p"), kind)
    assert re.search(said, text), text
    assert "hf_" not in text.replace("hf_x", "")


def test_a_renewed_token_takes_the_place_of_one_that_has_ended(
    hub: ScriptedHub, source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    hub.add("org/p", FILES, private=True, readers={"hf_old", "hf_new"}, xet=False)
    name = name_of(hub, "hf://org/p")
    document = source.manifest(name)
    hub.gate.users.remove("hf_old")
    monkeypatch.setenv("HF_TOKEN", "hf_new")
    assert source.manifest(name) == document


def test_an_unknown_revision_is_told_as_such(hub: ScriptedHub, model: Repository, source: HubSource) -> None:
    assert "it has no revision 'v9'" in refused(source, name_of(hub, "hf://org/m@v9"), ModelNotFound)


def test_nothing_is_asked_where_the_environment_says_so(
    hub: ScriptedHub, model: Repository, source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in refused(source, name_of(hub), SourceError)
    assert not hub.endpoint.requests


# Limits


def test_trouble_is_told_of_whose_it_is(hub: ScriptedHub, model: Repository, source: HubSource) -> None:
    hub.fault("status", "tree", status=500)
    assert ": Hub responded with status 500: " in refused(source, name_of(hub), ResponseError)
    (large,) = [file.blob for file in tree_of(source, name_of(hub)).files if file.path == "w.safetensors"]
    for _ in range(2):  # where the Hub sends us on to, and where it was found
        hub.fault("status", "lfs", status=503)
        with pytest.raises(ResponseError, match=": storage of the Hub responded with status 503: "):
            read_blob(source, name_of(hub), large)
        read_blob(source, name_of(hub), large)


def test_a_place_where_no_hub_is_is_told_as_that(hub: ScriptedHub, model: Repository, source: HubSource) -> None:
    hub.fault("status", "info", status=404)  # without the code that a Hub has for it
    assert "is a Hub there (HF_ENDPOINT)?" in refused(source, name_of(hub), NotFound)


def test_a_limit_is_waited_out_as_long_as_the_hub_says(hub: ScriptedHub, model: Repository) -> None:
    hub.rates.limit("api", 1, 1.0)
    source = HubSource(HubEndpoint.parse(hub.url), SETTINGS)
    with closing(Retrying(source, timeout=60, counters=Counters())) as patient:
        assert patient.manifest(name_of(hub))
    assert hub.rates.refused >= 1


def test_a_limit_says_how_many_requests_are_allowed(hub: ScriptedHub, model: Repository, source: HubSource) -> None:
    hub.rates.limit("api", 0, 60.0)
    text = refused(source, name_of(hub), SourceError)
    assert "at most 0 in 60 s for its 'api'" in text
    assert "more are allowed with a token" in text


def test_a_limit_is_shown_and_nothing_is_asked_meanwhile(hub: ScriptedHub, model: Repository) -> None:
    circuits = Circuits(Settings(timeout=300))
    hub.rates.limit("resolvers", 1, 100.0)
    with closing(HubSource(HubEndpoint.parse(hub.url), SETTINGS, circuits)) as source:
        name = name_of(hub)
        one, other = (file.blob for file in tree_of(source, name).files if not file.blob.digest.is_sha256)
        read_blob(source, name, one)
        with pytest.raises(ResponseError, match="at most 1 in 100 s for its 'resolvers'"):
            read_blob(source, name, other)
        asked = len(hub.endpoint.requests)
        for _ in range(3):
            with pytest.raises(HostResting, match="left alone"):
                read_blob(source, name, other)
        assert len(hub.endpoint.requests) == asked
        assert "at most 1 in 100 s" in circuits.troubled()[source.host]
        source.refresh()
        circuits.forget()
        hub.rates.limit("resolvers", 10, 100.0)
        assert read_blob(source, name, other)


# Lies


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda entries: entries[-1].update(size=7), "by its pointer"),
        (lambda entries: entries[-1]["lfs"].update(oid="ab" * 32), "is not that of a pointer"),
        (lambda entries: entries[0].update(path="../../etc/passwd"), "a component is '..'"),
        (lambda entries: entries.append(entries[0]), "two"),
        (lambda entries: entries.clear(), "no files"),
        (lambda _entries: {"error": "x"}, "invalid manifest"),
    ],
)
def test_p10_a_tree_that_contradicts_itself_is_refused_in_one_line(
    hub: ScriptedHub, model: Repository, source: HubSource, edit: Callable[[Any], Any], said: str
) -> None:
    hub.change("tree", edited(edit))
    text = refused(source, name_of(hub), InvalidManifest)
    assert "the listing of" in text
    assert said in text


@pytest.mark.parametrize("sha", ["main", "../../x", 7, None])
def test_p10_a_commit_that_is_none_is_refused(
    hub: ScriptedHub, model: Repository, source: HubSource, sha: object
) -> None:
    hub.change("info", edited(lambda document: document.update(sha=sha)))
    refused(source, name_of(hub), WrongResponse)


def test_p1_bytes_of_another_length_are_refused(hub: ScriptedHub, model: Repository, source: HubSource) -> None:
    name = name_of(hub)
    blob = next(file.blob for file in tree_of(source, name).files if file.path == "config.json")
    model.push({"config.json": b"longer"})
    hub.change("resolve", lambda body: body + b"x")
    with pytest.raises(SourceError):
        read_blob(source, name, blob)


class Odd:
    """A Hub that answers as it is told.

    Attributes:
        link: makes the `Link` of a page, of the number of requests so far.
        location: where the API sends on to; None: nowhere.
        asked: targets, and their Authorization.
    """

    def __init__(self) -> None:
        self.link: Callable[[int], str] = lambda _: ""
        self.location: Callable[[str], str | None] = lambda _: None
        self.asked: list[tuple[str, str | None]] = []
        self.server = LoopbackServer(self.handle)
        self.server.start()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append((request.path, request.headers.get("Authorization")))
        location = self.location(request.path)
        tree = "/tree/" in request.path
        number = len(self.asked)
        entry = {"type": "file", "path": f"f{number}", "oid": "ab" * 20, "size": 1}
        body = json.dumps([entry] if tree else {"sha": "cd" * 20}).encode()
        request.send_response(200 if location is None else 302)
        if location is not None:
            request.send_header("Location", location)
        if tree and (link := self.link(number)):
            request.send_header("Link", link)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Odd]:
    odd = Odd()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{odd.server.port}")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield odd
    odd.server.stop()
    assert odd.server.problems == []


def at(odd: Odd) -> tuple[HubSource, HubName]:
    hub = HubEndpoint.parse(f"http://127.0.0.1:{odd.server.port}")
    name = HubName.read("hf://org/m", hub)
    assert name is not None
    return HubSource(hub, SETTINGS), name


def test_p10_pages_that_go_round_in_a_circle_end(odd: Odd) -> None:
    odd.link = lambda number: f'</api/x?cursor=c{number % 3}>; rel="next"'
    source, name = at(odd)
    with closing(source):
        assert "in a circle" in refused(source, name, SourceError)


def test_p10_pages_without_end_end(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    odd.link = lambda number: f'</api/x?cursor=c{number}>; rel="next"'
    monkeypatch.setattr("fusefs.sources.hub.treepages.MAX_PAGES", 20)
    source, name = at(odd)
    with closing(source):
        assert "has no end" in refused(source, name, SourceError)
    assert len(odd.asked) < 30


def test_p10_more_files_than_a_mount_takes_are_refused_as_that(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    odd.link = lambda number: f'</api/x?cursor=c{number}>; rel="next"'
    monkeypatch.setattr("fusefs.sources.hub.treepages.MAX_LAYERS", 5)
    source, name = at(odd)
    with closing(source):
        assert "more than 5 files" in refused(source, name, InvalidManifest)
    assert len(odd.asked) < 10


def test_p10_the_next_page_is_asked_of_the_same_hub_whatever_host_stands_there(odd: Odd) -> None:
    odd.link = lambda number: '<https://huggingface.co/api/x?cursor=c1>; rel="next"' if number == 2 else ""
    source, name = at(odd)
    with closing(source):
        assert len(tree_of(source, name).files) == 2
    assert odd.asked[-1][0].endswith(f"/tree/{'cd' * 20}?cursor=c1")


def test_p10_redirects_in_a_circle_end(odd: Odd) -> None:
    odd.location = lambda path: path + "x" if len(path) % 2 else path[:-1]
    source, name = at(odd)
    with closing(source):
        refused(source, name, WrongResponse)
    assert len(odd.asked) < 20


def test_p10_a_redirect_to_another_host_is_followed_without_the_token(odd: Odd) -> None:
    other = Odd()
    try:
        odd.location = lambda path: f"http://127.0.0.1:{other.server.port}{path}"
        source, name = at(odd)
        with closing(source):
            assert tree_of(source, name).files
    finally:
        other.server.stop()
    assert {secret for _, secret in odd.asked} == {"Bearer hf_secret"}
    assert {secret for _, secret in other.asked} == {None}


def test_a_page_for_people_in_the_place_of_an_answer_is_told(hub: ScriptedHub, model: Repository) -> None:
    hub.change("tree", lambda _: b"<!doctype html><title>Log in to the network</title>")
    source = Retrying(
        HubSource(HubEndpoint.parse(hub.url), SETTINGS), timeout=5, counters=Counters(), clock=FakeClock()
    )
    with closing(source), pytest.raises(WrongResponse, match="Log in to the network"):
        source.manifest(name_of(hub))

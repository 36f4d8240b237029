"""The scripted Hub answers as the real one does: shapes and refusals as they were recorded or are documented."""

from __future__ import annotations

import gzip
import hashlib
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest

from fusefs.values.chunks import Chunk
from fusefs.xet.merkle import Node
from fusefs.xet.windowproof import WindowProof
from tests.hub.asking import Answered, ask
from tests.hub.contents import floats, noise, text
from tests.hub.origin import edited
from tests.hub.packing import hash_bytes, pack
from tests.hub.repository import MASK, HubFile
from tests.hub.scriptedhub import ScriptedHub

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hub.repository import Repository

DATA = noise(300_000)
FILES = {"README.md": b"# A model\n", "config.json": b"{}", "onnx/model.onnx": noise(9_000, 2), "w.safetensors": DATA}


@pytest.fixture
def model(hub: ScriptedHub) -> Repository:
    return hub.add("org/m", FILES)


def _cas_token(hub: ScriptedHub, model: Repository) -> str:
    document = ask(f"{hub.url}/api/models/{model.id}/xet-read-token/main").document
    assert document["casUrl"] == hub.store.url
    return str(document["accessToken"])


def _recipe(hub: ScriptedHub, model: Repository, version: str = "v2", span: str = "") -> Answered:
    packed = model.commits[model.commit].files["w.safetensors"].packed
    assert packed is not None
    url = f"{hub.store.url}/{version}/reconstructions/{packed.hash}"
    return ask(url, token=_cas_token(hub, model), Range=span)


# What is kept how


def test_a_pointer_is_the_recorded_one() -> None:
    """Length and name of the pointer of a file on huggingface.co, of which only the digest is known here."""
    file = HubFile("ref-lfs.bin", bytes(1048576), "lfs")
    file.__dict__["sha256"] = "cd44947308b4b22228767cab8addd523d1de22abd9b23a10808e5fc295202e4f"
    assert (len(file.pointer), file.oid) == (132, "c9176dbf0ba8556845af9072b3dd39d06764e8ba")


@pytest.mark.parametrize(("data", "packing"), [(noise(200_000), 0), (text(200_000), 1), (floats(200_000), 2)])
def test_contents_are_packed_in_every_way(data: bytes, packing: int) -> None:
    packed = pack((data,))
    (xorb,) = packed.xorbs.values()
    ways = Counter(xorb.data[off + 4] for off in xorb.offsets[:-1])
    assert ways.most_common(1)[0][0] == packing
    assert packed.files[0].size == len(data)


def test_files_share_chunks_with_others_and_with_themselves() -> None:
    """So recipes have several terms, of several xorbs, and terms that come twice."""
    old, new = noise(1 << 20), noise(300_000, 3)
    packed = pack((old[:600_000] + new + old[:600_000],), base=(old,))
    assert len(packed.xorbs) == 2
    assert len(packed.files[0].terms) >= 3


# The API


def test_a_revision_is_its_commit(hub: ScriptedHub, model: Repository) -> None:
    first = model.commit
    second = model.push({"config.json": b"{ }"}, branch="refs/pr/1")
    for revision, sha in (("main", first), ("refs%2Fpr%2F1", second), (second, second)):
        assert ask(f"{hub.url}/api/models/org/m/revision/{revision}").document["sha"] == sha
    document = ask(f"{hub.url}/api/models/org/m").document
    assert (document["sha"], document["gated"], document["private"]) == (first, False, False)
    assert {"rfilename": "config.json"} in document["siblings"]


def test_a_tree_is_listed_in_pages(hub: ScriptedHub, model: Repository) -> None:
    hub.api.page = 2
    url, entries, pages = f"{hub.url}/api/models/org/m/tree/{model.commit}?recursive=true", [], 0
    while url:
        answer = ask(url)
        entries += answer.document
        pages += 1
        url = answer.headers.get("link", "").partition(">")[0].removeprefix("<")
    assert pages == 3
    assert [entry["path"] for entry in entries] == sorted([*FILES, "onnx"])
    found = {entry["path"]: entry for entry in entries}
    assert found["onnx"]["type"] == "directory"
    assert found["w.safetensors"]["lfs"]["oid"] == hashlib.sha256(DATA).hexdigest()
    assert len(found["w.safetensors"]["xetHash"]) == 64
    assert found["config.json"]["oid"] == hashlib.sha1(b"blob 2\0{}").hexdigest()


def test_a_folder_is_listed_alone(hub: ScriptedHub, model: Repository) -> None:
    assert [one["path"] for one in ask(f"{hub.url}/api/models/org/m/tree/main").document] == sorted(
        ["README.md", "config.json", "onnx", "w.safetensors"]
    )
    assert [one["path"] for one in ask(f"{hub.url}/api/models/org/m/tree/main/onnx").document] == ["onnx/model.onnx"]


def test_a_folder_is_a_repository(hub: ScriptedHub, tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    for path, data in FILES.items():
        (tmp_path / path).write_bytes(data)
    model = hub.add("org/folder", tmp_path)
    assert {path: file.data for path, file in model.commits[model.commit].files.items()} == FILES


def test_other_kinds_and_old_names(hub: ScriptedHub) -> None:
    hub.add("org/d", FILES, kind="datasets")
    hub.add("gpt2", FILES)
    hub.gate.moved["models", "old"] = "gpt2"
    assert ask(f"{hub.url}/api/datasets/org/d").status == 200
    assert ask(f"{hub.url}/datasets/org/d/resolve/main/w.safetensors").status == 302
    assert ask(f"{hub.url}/gpt2/resolve/main/w.safetensors").status == 302
    assert ask(f"{hub.url}/api/models/old/revision/main").headers["location"] == "/api/models/gpt2/revision/main"


# Files


def test_a_file_in_git_comes_by_a_relative_redirect(hub: ScriptedHub, model: Repository) -> None:
    first = ask(f"{hub.url}/org/m/resolve/main/config.json")
    assert first.status == 307
    assert first.headers["location"].startswith(f"/api/resolve-cache/models/org/m/{model.commit}/config.json?")
    answer = ask(hub.url + first.headers["location"])
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["etag"] == f'"{hashlib.sha1(b"blob 2" + bytes(1) + b"{}").hexdigest()}"'
    assert ask(f"{hub.url}/org/m/resolve/{model.commit}/config.json").body == b"{}"


def test_text_is_compressed_for_who_accepts_it(hub: ScriptedHub, model: Repository) -> None:
    answer = ask(f"{hub.url}/org/m/resolve/{model.commit}/README.md", Accept_Encoding="gzip")
    assert gzip.decompress(answer.body) == FILES["README.md"]
    assert "content-length" not in answer.headers


def test_a_large_file_is_elsewhere(hub: ScriptedHub, model: Repository) -> None:
    answer = ask(f"{hub.url}/org/m/resolve/main/w.safetensors", method="HEAD")
    assert answer.status == 302
    assert answer.headers["x-linked-etag"] == f'"{hashlib.sha256(DATA).hexdigest()}"'
    assert answer.headers["x-linked-size"] == str(len(DATA))
    assert len(answer.headers["x-xet-hash"]) == 64
    there = ask(answer.headers["location"], Range="bytes=5-")
    assert (there.status, there.body) == (206, DATA[5:])
    assert "x-linked-etag" not in there.headers
    hub.cdn.expire()
    assert ask(answer.headers["location"]).status == 403


def test_without_the_xet_store_it_is_a_file_of_git_lfs(hub: ScriptedHub) -> None:
    hub.add("org/old", {"w.bin": DATA}, xet=False)
    answer = ask(f"{hub.url}/org/old/resolve/main/w.bin")
    assert "x-xet-hash" not in answer.headers
    assert ask(answer.headers["location"]).body == DATA


# Who may


def test_refusals_are_worded_as_the_hub_words_them(hub: ScriptedHub, model: Repository) -> None:
    hub.add("org/secret", FILES, private=True, readers={"hf_reader"})
    hub.add("org/off", FILES, disabled=True)
    hub.gate.users.add("hf_other")
    cases = [
        ("/api/models/org/none", None, 401, None, "Invalid username or password."),
        ("/api/models/org/none", "hf_other", 404, "RepoNotFound", "Repository not found"),
        ("/api/models/org/none", "hf_wrong", 401, None, "Invalid credentials in Authorization header"),
        ("/api/models/org/secret", None, 401, None, "Invalid username or password."),
        ("/api/models/org/secret", "hf_other", 404, "RepoNotFound", "Repository not found"),
        ("/api/models/org/off", None, 403, None, "Access to this resource is disabled."),
        ("/api/models/org/m/revision/none", None, 404, "RevisionNotFound", "Invalid rev id: none"),
        ("/org/m/resolve/main/none.json", None, 404, "EntryNotFound", "Entry not found"),
        ("/api/models/org/m/tree/main/none", None, 404, "EntryNotFound", "none does not exist"),
    ]
    for path, token, status, code, message in cases:
        answer = ask(hub.url + path, token=token)
        told = (answer.status, answer.headers.get("x-error-code"), answer.headers["x-error-message"])
        assert told == (status, code, message), path
    assert ask(f"{hub.url}/api/models/org/secret", token="hf_reader").status == 200
    assert ask(f"{hub.url}/org/m/resolve/main/none.json").headers["x-repo-commit"] == model.commit


def test_a_gated_repository_is_listed_with_masks(hub: ScriptedHub) -> None:
    hub.add("org/gated", FILES, gated="manual", readers={"hf_reader"})
    hub.gate.users.add("hf_other")
    url = f"{hub.url}/api/models/org/gated/tree/main"
    masked = {entry["path"]: entry for entry in ask(url).document}["w.safetensors"]
    assert (masked["lfs"]["oid"], masked["xetHash"]) == (MASK, MASK)
    shown = {entry["path"]: entry for entry in ask(url, token="hf_reader").document}["w.safetensors"]
    assert MASK not in (shown["lfs"]["oid"], shown["xetHash"])
    for token, status in ((None, 401), ("hf_other", 403), ("hf_reader", 302)):
        answer = ask(f"{hub.url}/org/gated/resolve/main/w.safetensors", token=token)
        assert answer.status == status
        assert answer.headers.get("x-error-code") == ("GatedRepo" if status != 302 else None)
        status = 200 if status == 302 else status
        assert ask(f"{hub.url}/api/models/org/gated/xet-read-token/main", token=token).status == status
    assert ask(f"{hub.url}/org/gated/resolve/main/README.md").status == 307


def test_rates_are_limited_and_told(hub: ScriptedHub, model: Repository) -> None:
    hub.rates.limit("api", 2, 60)
    told = [ask(f"{hub.url}/api/models/org/m") for _ in range(3)]
    assert [answer.status for answer in told] == [200, 200, 429]
    assert told[0].headers["ratelimit"].startswith('"api";r=1;t=')
    assert told[2].headers["ratelimit-policy"] == '"fixed window";"api";q=2;w=60'
    assert ask(f"{hub.url}/org/m/resolve/main/config.json").status == 307, "another bucket"


# The Xet store


def test_a_recipe_covers_its_range(hub: ScriptedHub, model: Repository) -> None:
    document = _recipe(hub, model, span="bytes=100000-199999").document
    size = sum(term["unpacked_length"] for term in document["terms"])
    assert 100_000 <= size - document["offset_into_first_range"] < len(DATA)
    [(name, [fetch])] = document["xorbs"].items()
    (part,) = fetch["ranges"]
    span = f"bytes={part['bytes']['start']}-{part['bytes']['end']}"
    answer = ask(fetch["url"], Range=span)
    assert answer.status == 206
    xorb = hub.cdn.xorbs[name]
    first = xorb.offsets[part["chunks"]["start"]]
    assert answer.body == xorb.data[first : xorb.offsets[part["chunks"]["end"]]]
    assert answer.body[8:].startswith(DATA[100_000 - document["offset_into_first_range"] :][:1000])


def test_only_the_signed_range_is_given(hub: ScriptedHub, model: Repository) -> None:
    ((fetch,),) = _recipe(hub, model).document["xorbs"].values()
    part = fetch["ranges"][0]["bytes"]
    assert ask(fetch["url"]).status == 403
    assert ask(fetch["url"], Range=f"bytes={part['start']}-{part['end'] - 1}").status == 403
    assert ask(fetch["url"], token="hf_reader", Range=f"bytes={part['start']}-{part['end']}").status == 400
    hub.cdn.expire()
    assert ask(fetch["url"], Range=f"bytes={part['start']}-{part['end']}").status == 403


def test_both_versions_say_the_same(hub: ScriptedHub, model: Repository) -> None:
    new, old = _recipe(hub, model).document, _recipe(hub, model, "v1").document
    assert new["terms"] == old["terms"]
    [(name, [fetch])] = new["xorbs"].items()
    (one,) = old["fetch_info"][name]
    assert (one["range"], one["url_range"]) == (fetch["ranges"][0]["chunks"], fetch["ranges"][0]["bytes"])
    hub.cas.version = 1
    assert _recipe(hub, model).status == 404
    assert _recipe(hub, model, "v1", span="bytes=300000-300001").status == 416


def test_a_token_of_the_store_is_needed_and_ends(hub: ScriptedHub, model: Repository) -> None:
    token = _cas_token(hub, model)
    packed = model.commits[model.commit].files["w.safetensors"].packed
    assert packed is not None
    url = f"{hub.store.url}/v2/reconstructions/{packed.hash}"
    assert [ask(url).status, ask(url, token=token).status] == [401, 200]
    hub.cas.end_tokens()
    assert ask(url, token=token).status == 401


def test_a_proof_is_that_of_its_window(hub: ScriptedHub, model: Repository) -> None:
    """By the hashes that `hf_xet` has for the chunks, and the one that it has for the file."""
    packed = model.commits[model.commit].files["w.safetensors"].packed
    assert packed is not None
    url, token = f"{hub.store.url}/v2/file-chunk-hashes/{packed.hash}", _cas_token(hub, model)
    for settled in (True, False):
        hub.cas.settled = settled
        raw = ask(url, token=token, X_Range_Dirty="bytes=100000-100001").body
        proof = WindowProof.parse(raw, len(DATA), Chunk(100_000, 100_001))
        ends = list(accumulate(size for _, size in packed.chunks))
        assert proof.window.stop in ends
        chunks = [
            Node(raw, size)
            for (raw, size), end in zip(packed.chunks, ends, strict=True)
            if proof.window.start < end <= proof.window.stop
        ]
        proof.verify(chunks, hash_bytes(packed.hash))
    hub.cas.to_the_end = True
    assert WindowProof.parse(ask(url, token=token, X_Range_Dirty="bytes=0-1").body, len(DATA), Chunk(0, 1)).after == ()
    assert ask(url, token=token).status == 400
    hub.cas.proofs = False
    assert ask(url, token=token, X_Range_Dirty="bytes=0-1").status == 404


# Misbehaviour


def test_faults_strike_the_kind_that_they_are_for(hub: ScriptedHub, model: Repository) -> None:
    hub.fault("status", "tree", status=500)
    assert ask(f"{hub.url}/api/models/org/m").status == 200
    assert ask(f"{hub.url}/api/models/org/m/tree/main").status == 500
    assert ask(f"{hub.url}/api/models/org/m/tree/main").status == 200
    assert (hub.count("info"), hub.count("tree"), hub.endpoint.injected) == (1, 2, 1)


def test_documents_and_bytes_are_changed_on_demand(hub: ScriptedHub, model: Repository) -> None:
    hub.change("tree", edited(lambda entries: [{**entry, "size": 7} for entry in entries]), times=1)
    assert {one["size"] for one in ask(f"{hub.url}/api/models/org/m/tree/main").document} == {7}
    assert {one["size"] for one in ask(f"{hub.url}/api/models/org/m/tree/main").document} != {7}
    hub.change("bridge", lambda body: body[:-1])
    location = ask(f"{hub.url}/org/m/resolve/main/w.safetensors").headers["location"]
    assert ask(location).body == DATA[:-1]


def test_bytes_and_credentials_are_counted(hub: ScriptedHub, model: Repository) -> None:
    location = ask(f"{hub.url}/org/m/resolve/main/w.safetensors").headers["location"]
    assert ask(location).status == 200
    assert (hub.count("bridge"), hub.sent("bridge")) == (1, len(DATA))
    hub.gate.users.add("hf_x")
    assert ask(f"{hub.url}/api/models/org/m", token="hf_x").status == 200
    assert hub.endpoint.authorizations == {"Bearer hf_x"}
    assert not hub.storage.authorizations

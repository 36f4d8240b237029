"""One suite for every Source: registries (in the clear, over TLS, redirecting, deep names), a store, folders, a Hub."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from fusefs.artifacts.foldermanifest import folder_manifest
from fusefs.artifacts.hubtree import HubFile, HubTree
from fusefs.errors import Cancelled, ModelNotFound, NotFound, SourceError
from fusefs.sources.hub.hub import HubSource
from fusefs.sources.modelstore import LocalStore
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.registry import RegistrySource
from fusefs.sources.retry import Retrying
from fusefs.sources.tree.bucket import BucketFiles
from fusefs.sources.tree.treesource import TreeSource
from fusefs.sources.tree.web import WebFiles
from fusefs.values.chunkpack import pack
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.hubendpoint import HubEndpoint
from fusefs.values.hubname import HubName
from fusefs.values.reference import parse_model
from fusefs.values.settings import MIB, Settings
from fusefs.values.voucher import NOBODY, Proof, Voucher, registry_of
from tests.certificate import make_certificate
from tests.components import nginx
from tests.faulty_registry import FaultyRegistry, Model
from tests.hub.scriptedhub import ScriptedHub
from tests.marks import one_soon
from tests.reading import FakeClock, read_blob, read_body, read_range

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusefs.sources.base import Source
    from fusefs.values.names import Name
    from tests.bucket import Bucket
    from tests.hub.repository import Repository

DATA = bytes(range(256)) * 400
CHUNK_SIZE = 1000
SETTINGS = Settings(timeout=10, stall=5)


@dataclass
class Made:
    source: Source
    name: Name
    manifest: bytes
    blob: Blob
    chunks: ChunkList


KINDS = ["registry", "tls", "redirecting", "oci", "local", "tree", "bucket", "hub", "proving-hub"]
RETRYING = one_soon(["retrying-registry", "retrying-local", "retrying-tree", "retrying-bucket", "retrying-hub"])


@pytest.fixture(params=[*KINDS, *RETRYING])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    kind = str(request.param).removeprefix("retrying-")
    elsewhere = {"tree": "_tree", "bucket": "_in_bucket", "hub": "_of_hub", "proving-hub": "_of_proving_hub"}
    if kind in elsewhere:
        made: Made = request.getfixturevalue(elsewhere[kind])
        if request.param != kind:
            made.source = Retrying(made.source, timeout=10, counters=Counters(), clock=FakeClock())
        with closing(made.source):
            yield made
        return
    with FaultyRegistry() as storage:
        certificate = make_certificate(tmp_path) if kind == "tls" else None
        with FaultyRegistry(
            certificate=certificate,
            storage=storage if kind == "redirecting" else None,
            token="t" if kind == "oci" else None,
        ) as registry:
            text = f"a/b.c/d__e/m:{'T' * 128}" if kind == "oci" else "library/m:latest"
            model = registry.add_model(text, {"model.gguf": DATA}, chunk_size=CHUNK_SIZE)
            name = model.name
            source: Source
            if kind == "local":
                source = LocalStore(_store(tmp_path / "store", model))
            else:
                name = replace(name, scheme={"tls": "https+insecure", "oci": "oci"}.get(kind, name.scheme))
                keys = KeyRing(tmp_path / "no-key", tmp_path / "no-config")
                source = RegistrySource(name.scheme, name.host, SETTINGS, keys=keys)
            if request.param != kind:
                source = Retrying(source, timeout=10, counters=Counters(), clock=FakeClock())
            with closing(source):
                yield Made(source, name, model.manifest, model.blobs["model.gguf"], _list())


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an nginx that has the file and a Metalink with its pieces, which are the chunk list."""
    root = tmp_path_factory.mktemp("web")
    (root / "m").mkdir()
    (root / "m/model.gguf").write_bytes(DATA)
    (root / "m/m.meta4").write_bytes(_metalink())
    with nginx(tmp_path_factory.mktemp("nginx"), f"root {root};") as address:
        yield address


def _metalink() -> bytes:
    pieces = "".join(f"<hash>{Digest.of(DATA[c.start : c.stop]).hex}</hash>" for c in _list())
    text = (
        f'<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="model.gguf"><size>{len(DATA)}</size>'
        f'<hash type="sha-256">{Digest.of(DATA).hex}</hash>'
        f'<pieces length="{CHUNK_SIZE}" type="sha-256">{pieces}</pieces></file></metalink>'
    )
    return text.encode()


@pytest.fixture
def _in_bucket(bucket: Bucket) -> Made:
    bucket.put("m/model.gguf", DATA)
    bucket.put("m/m.meta4", _metalink())
    name, blob = parse_model(f"s3://{bucket.name}/m"), Blob(Digest.of(DATA), len(DATA))
    with pytest.MonkeyPatch.context() as patch:
        for key, value in bucket.env.items():
            patch.setenv(key, value)
        source = TreeSource(BucketFiles(name.scheme, name.host, SETTINGS))
    return Made(source, name, folder_manifest([("model.gguf", blob)]), blob, _list())


@pytest.fixture
def _tree(web: str) -> Made:
    name = parse_model(f"http://{web}/m/")
    blob = Blob(Digest.of(DATA), len(DATA))
    source = TreeSource(WebFiles(name.scheme, name.host, SETTINGS))
    return Made(source, name, folder_manifest([("model.gguf", blob)]), blob, _list())


@pytest.fixture
def _hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedHub]:
    """With a token: to who has none the Hub does not say whether there is a model."""
    with ScriptedHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_reader")
        hub.gate.users.add("hf_reader")
        yield hub


@pytest.fixture
def _of_hub(_hub: ScriptedHub) -> Made:
    """As git-lfs has it, with its list beside it."""
    text = "".join(_list().format()).encode()
    model = _hub.add("org/m", {"model.gguf": DATA, "model.gguf.chunksums": text}, xet=False)
    return _made_of(_hub, model, _list())


@pytest.fixture
def _of_proving_hub(_hub: ScriptedHub) -> Made:
    """In the Xet store, which proves its parts by the hash that the Hub says its file has."""
    model = _hub.add("org/m", {"model.gguf": DATA})
    made = _made_of(_hub, model, _list())
    packed = model.commits[model.commit].files["model.gguf"].packed
    assert packed is not None
    word = Voucher(Proof.REGISTRY, f"{registry_of(made.name)} Xet {packed.hash[:32]}")
    made.chunks = ChunkList.evidenced(len(DATA), MIB, word)
    return made


def _made_of(hub: ScriptedHub, model: Repository, chunks: ChunkList) -> Made:
    name = parse_model("hf://org/m", HubEndpoint.parse(hub.url))
    assert isinstance(name, HubName)
    files = [
        HubFile(file.path, Blob(Digest(*digest), len(file.data)), file.oid, file.packed.hash if file.packed else "")
        for file in model.commits[model.commit].files.values()
        for digest in [("git-sha1", file.oid) if file.keeping == "regular" else ("sha256", file.sha256)]
    ]
    source = HubSource(name.hub, replace(SETTINGS, single_chunk_limit=0))
    blob = Blob(Digest.of(DATA), len(DATA))
    return Made(source, name, HubTree.of(model.commit, files).document(), blob, chunks)


def _store(root: Path, model: Model) -> Path:
    manifest = root.joinpath("manifests", *model.name.path)
    manifest.parent.mkdir(parents=True)
    manifest.write_bytes(model.manifest)
    (root / "blobs").mkdir()
    blob = model.blobs["model.gguf"]
    (root / "blobs" / blob.digest.file_name).write_bytes(DATA)
    chunks = root / "partial" / blob.digest.file_name / "chunks"
    chunks.parent.mkdir(parents=True)
    chunks.write_bytes(pack(_list(), NOBODY))
    return root


def _list() -> ChunkList:
    uniform = ChunkList.uniform(len(DATA), CHUNK_SIZE)
    return ChunkList.from_pairs(len(DATA), [(Digest.of(DATA[c.start : c.stop]), c) for c in uniform])


def test_a_manifest_is_given_as_its_raw_bytes(made: Made) -> None:
    assert made.source.manifest(made.name) == made.manifest


def test_a_manifest_is_given_by_its_digest(made: Made) -> None:
    assert made.source.manifest(made.name.pinned(Digest.of(made.manifest))) == made.manifest


def test_an_unknown_model_is_not_found(made: Made) -> None:
    with pytest.raises(ModelNotFound):
        made.source.manifest(replace(made.name, model="other"))


def test_a_manifest_of_an_unknown_digest_is_not_found(made: Made) -> None:
    with pytest.raises(ModelNotFound):
        made.source.manifest(made.name.pinned(Digest.of(b"another")))


def test_the_chunk_list_is_whole(made: Made) -> None:
    assert made.source.chunk_list(made.name, made.blob) == made.chunks


def test_no_chunk_list_is_none(made: Made) -> None:
    assert made.source.chunk_list(made.name, Blob(Digest.of(b"listless"), 8)) is None


@pytest.mark.parametrize(("start", "end"), [(0, 0), (0, 99), (5, 70_000), (len(DATA) - 1, len(DATA) - 1)])
def test_a_range_is_exactly_its_bytes(made: Made, start: int, end: int) -> None:
    assert read_range(made.source, made.name, made.blob, start, end) == DATA[start : end + 1]


def test_a_whole_blob_is_a_range_too(made: Made) -> None:
    assert read_blob(made.source, made.name, made.blob) == DATA


@pytest.mark.parametrize("piece", [1, 7, 8192, 8193])
def test_small_buffers_get_the_same_bytes(made: Made, piece: int) -> None:
    stop = min(20_000, 200 * piece)
    assert read_range(made.source, made.name, made.blob, 0, stop - 1, piece=piece) == DATA[:stop]


def test_a_buffer_behind_the_end_is_left_alone(made: Made) -> None:
    buffer = bytearray(b"x" * 20)
    with closing(made.source.open_range(made.name, made.blob, Chunk(0, 9))) as body:
        view = memoryview(buffer)
        off = 0
        while got := body.readinto(view[off:]):
            off += got
    assert buffer == DATA[:10] + b"x" * 10


def test_zero_bytes_mean_the_end_or_an_empty_buffer(made: Made) -> None:
    with closing(made.source.open_range(made.name, made.blob, Chunk(0, 9))) as body:
        assert body.readinto(memoryview(bytearray())) == 0
        assert read_body(body, 20) == DATA[:10]
        assert body.readinto(memoryview(bytearray(5))) == 0


def test_an_unknown_blob_is_not_found(made: Made) -> None:
    with pytest.raises(NotFound):
        made.source.open_range(made.name, Blob(Digest.of(b"unknown"), 7), Chunk(0, 6))


def test_a_range_behind_the_end_is_refused(made: Made) -> None:
    with pytest.raises(SourceError, match="behind the end"):
        made.source.open_range(made.name, made.blob, Chunk(0, made.blob.size))


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_a_blob_of_another_size_is_refused(made: Made, size: int) -> None:
    with pytest.raises(SourceError):
        made.source.open_range(made.name, Blob(made.blob.digest, size), Chunk(0, 9))


def test_a_closed_body_is_cancelled(made: Made) -> None:
    body = made.source.open_range(made.name, made.blob, Chunk(0, len(DATA) - 1))
    assert body.readinto(memoryview(bytearray(3))) > 0
    body.close()
    body.close()
    with pytest.raises(Cancelled):
        body.readinto(memoryview(bytearray(3)))


def test_a_closed_source_is_cancelled(made: Made) -> None:
    with closing(made.source.open_range(made.name, made.blob, Chunk(0, len(DATA) - 1))) as body:
        made.source.close()
        made.source.close()
        with pytest.raises(Cancelled):
            body.readinto(memoryview(bytearray(3)))
    for call in (
        lambda: made.source.manifest(made.name),
        lambda: made.source.chunk_list(made.name, made.blob),
        lambda: made.source.open_range(made.name, made.blob, Chunk(0, 9)),
    ):
        with pytest.raises(Cancelled):
            call()


def test_many_threads_read_at_once(made: Made) -> None:
    spans = [(start, min(start + 9_999, len(DATA) - 1)) for start in range(0, len(DATA), 10_000)]
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda span: read_range(made.source, made.name, made.blob, *span), spans * 3))
    assert b"".join(parts) == DATA * 3


def test_a_label_is_for_people(made: Made) -> None:
    assert made.source.label
    assert "\n" not in made.source.label

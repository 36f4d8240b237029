"""What a mount shows of each family of artifacts, and what is refused of them."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest

from fusefs.artifacts.contents import Contents, Opened
from fusefs.artifacts.manifest import Manifest
from fusefs.artifacts.snapshots import snapshot_of, wants_config
from fusefs.errors import InvalidManifest
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from tests.artifacts import FAMILIES, FILEPATH, TITLE, WEIGHTS, Artifact, Builder, modelpack, table_of, tar_of

if TYPE_CHECKING:
    from fusefs.values.snapshot import Snapshot

NAME = Name.parse("http://host:1/a/b:c")
MODEL = "application/vnd.cncf.model."
AI = "application/vnd.docker.ai."
LAYER = "application/vnd.oci.image.layer.v1.tar"
IMAGE = ("application/vnd.oci.image.config.v1+json", b"{}")


def snapshot(artifact: Artifact, mtime_ns: int = 0) -> Snapshot:
    manifest = Manifest.parse(artifact.manifest)
    contents = {Digest.of(blob): blob for blob in artifact.blobs}
    layers = {}
    for layer in manifest.layers:
        digest = layer.blob.digest
        if layer.is_tar and not layer.packing and digest not in layers:
            layers[digest] = Opened(layer.blob, table_of(contents[digest]))
    config = artifact.blobs[0] if wants_config(manifest) else b""
    return snapshot_of(NAME, manifest, mtime_ns, Contents(layers, config))


def shown(artifact: Artifact) -> dict[str, bytes]:
    contents = {Digest.of(blob): blob for blob in artifact.blobs}
    found = {}
    for file in snapshot(artifact).files:
        part = file.content
        found[file.path] = (
            part if isinstance(part, bytes) else contents[part.blob.digest][part.off : part.off + part.size]
        )
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_shown_as_its_files(family: str) -> None:
    artifact = FAMILIES[family]()
    assert shown(artifact) == artifact.files


def packed(*layers: tuple[str, bytes, dict[str, str]], config: str = MODEL + "config.v1+json") -> Artifact:
    builder = Builder((config, b"{}"))
    for layer in layers:
        builder.layer(*layer)
    return builder.artifact()


def test_a_path_is_taken_from_the_first_annotation_that_has_one() -> None:
    all_of_them = {
        FILEPATH: "1",
        "org.cnai.model.filepath": "2",
        TITLE: "3",
        "org.cncf.model.file.metadata+json": '{"name":"4"}',
    }
    for left in range(len(all_of_them)):
        annotations = dict(list(all_of_them.items())[left:])
        builder = Builder((MODEL + "config.v1+json", b"{}")).layer(MODEL + "doc.v1.raw", b"x", annotations, name="5")
        assert list(shown(builder.artifact())) == [str(left + 1)]
    assert list(shown(Builder((MODEL + "config.v1+json", b"{}")).layer("x", b"x", name="5").artifact())) == ["5"]


def test_a_layer_that_nobody_names_has_its_digest_for_a_name() -> None:
    assert list(shown(packed((MODEL + "weight.v1.raw", b"x", {})))) == [Digest.of(b"x").file_name]


@pytest.mark.parametrize("text", ["", "not json", '{"name":5}', "[" * 100_000, '{"name":null}'])
def test_p10_metadata_that_are_none_say_nothing(text: str) -> None:
    artifact = packed((MODEL + "doc.v1.raw", b"x", {"org.cncf.model.file.metadata+json": text}))
    assert list(shown(artifact)) == [Digest.of(b"x").file_name]


def test_p3_a_file_shows_the_time_of_its_metadata_else_when_the_model_was_made() -> None:
    files = {file.path: file.mtime_ns for file in snapshot(modelpack(), 7).files}
    assert files["README.md"] == 1_751_278_830_500_000_000
    assert files["src/run.py"] == 1_700_000_000 * 10**9
    assert files["model.safetensors"] == 7
    made = Builder((MODEL + "config.v1+json", b"{}")).layer("x", b"x", {FILEPATH: "a"})
    artifact = made.artifact(annotations={"org.opencontainers.image.created": "2024-01-02T03:04:05+02:00"})
    assert snapshot(artifact, 7).files[0].mtime_ns == 1_704_157_445 * 10**9


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../b", "./a", "a//b", "a\0b", "a\nb", "x" * 256])
def test_p10_an_annotation_with_a_hostile_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidManifest, match="host:1/a/b:c: invalid layer name"):
        shown(packed((MODEL + "doc.v1.raw", b"x", {FILEPATH: path})))


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b", "a\x1b[2J"])
def test_p10_an_archive_with_a_hostile_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidManifest, match="host:1/a/b:c: invalid "):
        shown(packed((MODEL + "code.v1.tar", tar_of({path: b"x"}), {})))


def test_two_layers_of_one_path_are_one_file_or_none() -> None:
    same = (MODEL + "doc.v1.raw", b"x", {FILEPATH: "a"})
    assert shown(packed(same, same)) == {"a": b"x"}
    with pytest.raises(InvalidManifest, match="two layers have it"):
        shown(packed(same, (MODEL + "doc.v1.raw", b"y", {FILEPATH: "a"})))
    with pytest.raises(InvalidManifest, match="is also a folder"):
        shown(packed(same, (MODEL + "code.v1.tar", tar_of({"a/b": b"y"}), {})))


def test_of_two_members_of_one_path_the_later_one_counts() -> None:
    assert shown(packed((MODEL + "code.v1.tar", tar_of([("./a", b"1"), ("a", b"22")]), {}))) == {"a": b"22"}


def test_a_split_model_has_the_names_that_loaders_look_for() -> None:
    def names(*annotations: dict[str, str], kind: str = AI + "gguf.v3") -> list[str]:
        layers = [(kind, bytes([number]), one) for number, one in enumerate(annotations)]
        return list(shown(packed(*layers, config=AI + "model.config.v0.1+json")))

    right = [{FILEPATH: f"big-{number:05}-of-00002.gguf"} for number in (1, 2)]
    assert names(*right) == [one[FILEPATH] for one in right]
    assert names({}) == ["model.gguf"]
    assert names({FILEPATH: "tiny.gguf"}) == ["tiny.gguf"]
    assert names({}, {}) == ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"]
    assert names({FILEPATH: "m.gguf"}, {FILEPATH: "m.gguf"}) == names({}, {})
    assert names({}, {}, kind=AI + "safetensors") == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


def test_a_compressed_layer_that_nobody_looked_into_is_one_file() -> None:
    artifact = packed((MODEL + "code.v1.tar+zstd", b"x", {FILEPATH: "src.tar"}))
    assert shown(artifact) == {"src.tar": b"x"}


def image(*layers: bytes) -> Artifact:
    builder = Builder(IMAGE)
    for layer in layers:
        builder.layer(LAYER, layer)
    return builder.artifact()


def test_an_image_without_a_folder_of_models_is_shown_whole() -> None:
    assert shown(image(tar_of({"a": b"1", "b/c": b"2"}))) == {"a": b"1", "b/c": b"2"}


def test_layers_of_an_image_lie_over_each_other() -> None:
    below = tar_of({"models/a/x": b"1", "models/b": b"2", "models/c/d/e": b"3", "models/f": b"4"})
    above = tar_of({"models/a": b"file", "models/b/in": b"5", "models/c/.wh.d": b"", "models/.wh.f": b""})
    assert shown(image(below, above)) == {"a": b"file", "b/in": b"5"}
    assert shown(image(tar_of({"a": b"1"}), tar_of({".wh..wh..opq": b"", "b": b"2"}))) == {"b": b"2"}


def test_p10_links_out_of_an_archive_are_left_out() -> None:
    links = [
        ("up", "../x", tarfile.SYMTYPE),
        ("root", "/etc/passwd", tarfile.SYMTYPE),
        ("round", "about", tarfile.SYMTYPE),
        ("about", "round", tarfile.SYMTYPE),
        ("folder", "d", tarfile.SYMTYPE),
        ("hard", "/etc/passwd", tarfile.LNKTYPE),
        ("later", "nothing", tarfile.LNKTYPE),
        ("good", "d/../a", tarfile.SYMTYPE),
        ("d/up", "../a", tarfile.SYMTYPE),
        ("absolute", "/a", tarfile.SYMTYPE),
        ("same", "a", tarfile.LNKTYPE),
    ]
    files = {"a": WEIGHTS, "d/b": b"1"}
    names = ("good", "d/up", "absolute", "same")
    found = shown(packed((MODEL + "code.v1.tar", tar_of(files, links=links), {})))
    assert found == files | dict.fromkeys(names, WEIGHTS)


@pytest.mark.parametrize("config", [MODEL + "config.v1+json", IMAGE[0]])
def test_p10_an_archive_that_is_named_often_is_no_way_to_a_million_files(config: str) -> None:
    data = tar_of({str(number): b"" for number in range(300)})
    builder = Builder((config, b"{}")).layer(LAYER, data)
    builder.layers *= 1000
    with pytest.raises(InvalidManifest, match="300000 files in archives, at most 262144"):
        shown(builder.artifact())

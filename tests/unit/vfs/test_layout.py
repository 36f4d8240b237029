"""Names from manifests: what is shown, and what is refused with its reason."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.artifacts import paths as paths_module
from fusefs.artifacts.manifest import FILE, Manifest
from fusefs.artifacts.ollama import OLLAMA
from fusefs.artifacts.paths import check_path
from fusefs.artifacts.snapshots import snapshot_of
from fusefs.errors import InvalidManifest, InvalidName
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.snapshot import File, Slice, Snapshot
from fusefs.vfs import layout
from fusefs.vfs.layout import layout_of
from fusefs.vfs.tree import Tree
from tests.counting import calls


def _digest(content: object) -> str:
    return str(Digest.of(repr(content).encode()))


def _layer(kind: str, name: str = "", *, content: object = None, size: int = 10) -> dict[str, Any]:
    content = (kind, name) if content is None else content
    return {
        "mediaType": kind if "/" in kind else OLLAMA + kind,
        "digest": _digest(content),
        "size": size,
        **({"name": name} if name else {}),
    }


def _manifest(*layers: dict[str, Any], config: bool = True) -> Manifest:
    document: dict[str, Any] = {"schemaVersion": 2, "layers": list(layers)}
    if config:
        document["config"] = {"mediaType": "application/json", "digest": _digest("config"), "size": 5}
    return Manifest.parse(json.dumps(document).encode())


def _paths(files: list[File]) -> list[str]:
    return [file.path for file in files]


def files_of(manifest: Manifest, *, mtime_ns: int = 0) -> list[File]:
    return list(_model("m", manifest, mtime_ns).files)


def _model(text: str, manifest: Manifest, mtime_ns: int = 0) -> Snapshot:
    return snapshot_of(Name.parse(text), manifest, mtime_ns)


def test_an_ollama_model_is_named_by_media_types() -> None:
    kinds = ("model", "projector", "adapter", "draft", "template", "system", "params", "messages", "license")
    assert _paths(files_of(_manifest(*map(_layer, kinds)))) == [
        "model.gguf",
        "projector.gguf",
        "adapter.gguf",
        "draft.gguf",
        "template",
        "system",
        "params.json",
        "messages.json",
        "license",
        "config.json",
        "manifest.json",
    ]
    assert _paths(files_of(_manifest(_layer("prompt"))))[0] == "template"


def test_a_second_layer_of_a_kind_is_numbered_in_order() -> None:
    layers = [_layer(kind, content=number) for number, kind in enumerate(["model", "license"] * 3)]
    files = files_of(_manifest(*layers))
    assert _paths(files)[:6] == ["model.gguf", "license", "model-2.gguf", "license-2", "model-3.gguf", "license-3"]
    assert files[4].content == Slice.whole(_manifest(*layers).layers[4].blob)


def test_manifest_and_config_are_shown_beside() -> None:
    manifest = _manifest(_layer("model"))
    by_path = {file.path: file.content for file in files_of(manifest, mtime_ns=7)}
    assert by_path["manifest.json"] == manifest.raw
    assert manifest.config is not None
    assert by_path["config.json"] == Slice.whole(manifest.config.blob)
    assert {file.mtime_ns for file in files_of(manifest, mtime_ns=7)} == {7}
    assert _paths(files_of(_manifest(_layer("model"), config=False))) == ["model.gguf", "manifest.json"]


def test_a_layer_with_a_name_of_its_own_has_it() -> None:
    manifest = _manifest(
        _layer("tensor", "model/layers.0.weight"),
        _layer("json", "tokenizer.json"),
        _layer("application/x-thing"),
    )
    assert _paths(files_of(manifest))[:3] == [
        "model/layers.0.weight",
        "tokenizer.json",
        manifest.layers[2].blob.digest.file_name,
    ]


def test_the_models_own_config_wins_over_ours() -> None:
    manifest = _manifest(_layer("json", "config.json"), _layer("json", "manifest.json/x"), _layer("model"))
    files = files_of(manifest)
    assert sorted(_paths(files)) == ["config.json", "manifest.json/x", "model.gguf"]
    assert next(file.content for file in files if file.path == "config.json") == Slice.whole(manifest.layers[0].blob)


def test_a_served_folder_shows_the_same_tree_and_nothing_of_ours() -> None:
    names = ["config.json", "onnx/model.onnx", "README.md", "a/b/c/d.bin"]
    assert _paths(files_of(_manifest(*(_layer(FILE, name) for name in names)))) == names


def test_a_name_that_we_make_up_steps_aside() -> None:
    files = files_of(
        _manifest(_layer("model"), _layer("json", "model.gguf"), _layer("json", "template/x"), _layer("template"))
    )
    assert _paths(files)[:4] == ["model-2.gguf", "model.gguf", "template/x", "template-2"]


def test_embed_layers_are_ignored() -> None:
    assert _paths(files_of(_manifest(_layer("embed", "../x"), _layer("model"), config=False))) == [
        "model.gguf",
        "manifest.json",
    ]


def test_the_same_unnamed_blob_twice_is_one_file() -> None:
    manifest = _manifest(_layer("a/b", content=1), _layer("a/b", content=1), config=False)
    assert len(files_of(manifest)) == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../x", "a component is '..'"),
        ("a/../../x", "a component is '..'"),
        ("/etc/passwd", "it is absolute"),
        ("a\0b", "control characters"),
        ("a\nb", "control characters"),
        ("a\x1b[2Jb", "control characters"),
        ("a\x85b", "control characters"),
        ("a//b", "a component is ''"),
        ("a/", "a component is ''"),
        (".", "a component is '.'"),
        ("a/./b", "a component is '.'"),
        ("..", "a component is '..'"),
        ("x" * 256, "longer than 255 bytes"),
        ("é" * 128, "longer than 255 bytes"),
        ("/".join(["x" * 250] * 17), "longer than 4096 bytes"),
        ("/".join("x" * 65), "deeper than 64 folders"),
        ("\ud800", "not valid text"),
    ],
)
def test_p10_path_tricks_are_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(InvalidManifest, match=reason) as caught:
        check_path(name)
    message = str(caught.value)
    assert message.isascii()
    assert message.isprintable()


def test_p10_path_tricks_in_a_manifest_are_refused_before_anything_is_shown() -> None:
    for name in ("../x", "/x", "a\0b", "a//b", "x" * 256):
        with pytest.raises(InvalidManifest):
            files_of(_manifest(_layer("model"), _layer("json", name)))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a", "a"], "two layers have it"),
        (["a/b", "a/b"], "two layers have it"),
        (["a", "a/b"], "is also a folder"),
        (["a/b", "a"], "a folder has that name too"),
        (["a/b/c", "a/b"], "a folder has that name too"),
        (["a/b", "a/b/c"], "is also a folder"),
    ],
)
@pytest.mark.parametrize("same_content", [True, False])
def test_p10_names_in_conflict_are_refused(names: list[str], reason: str, same_content: bool) -> None:
    layers = [_layer("json", name, content=0 if same_content else (name, number)) for number, name in enumerate(names)]
    with pytest.raises(InvalidManifest, match=reason):
        files_of(_manifest(*layers))


@pytest.mark.parametrize(
    "name", ["x" * 255, "a b", "ü/ö", "...", "..x", "a\\b", "/".join(["x" * 200] * 20), "-rf", "~"]
)
def test_honest_names_are_taken_as_they_are(name: str) -> None:
    assert "/".join(check_path(name)) == name


def test_names_that_differ_by_case_or_normalisation_alone_are_two_files() -> None:
    """To Linux they are: neither is hidden, and each shows its own bytes."""
    names = ["Readme", "README", "caf\u00e9", "cafe\u0301", "x", "x.", "x "]
    files = files_of(_manifest(*(_layer(FILE, name, content=name) for name in names)))
    assert _paths(files) == names
    tree = Tree(files)
    assert {node.path: node.content.blob.digest for node in tree.files if isinstance(node.content, Slice)} == {
        name: Digest.parse(_digest(name)) for name in names
    }


def test_of_several_models_the_error_names_the_one_with_the_wrong_name() -> None:
    good, bad = _manifest(_layer(FILE, "x")), _manifest(_layer(FILE, "a"), _layer(FILE, "a"))
    with pytest.raises(InvalidManifest, match=r"h/n/bad:t: invalid layer name 'a': two layers have it"):
        layout_of([_model("h/n/good:t", good), _model("h/n/bad:t", bad)])


@given(st.text(max_size=40) | st.text(alphabet="./a\0", max_size=12))
def test_p10_whatever_passes_stays_inside(name: str) -> None:
    try:
        parts = check_path(name)
    except InvalidManifest:
        return
    assert parts
    assert not {"", ".", ".."} & set(parts)
    assert all("/" not in part and "\0" not in part for part in parts)


def test_p10_a_manifest_of_many_folders_is_refused_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths_module, "MAX_FOLDERS", 1000)
    layers = [_layer("json", "/".join([str(number), *"x" * 60])) for number in range(100)]
    with pytest.raises(InvalidManifest, match="more than 1000 folders"):
        files_of(_manifest(*layers))


def test_p10_the_largest_manifest_of_one_kind_is_named_in_linear_time_and_little_memory() -> None:
    few, many = (_manifest(*(_layer("license", content=i) for i in range(count))) for count in (2_000, 20_000))
    assert calls(lambda: files_of(many)) < 11 * calls(lambda: files_of(few))
    tracemalloc.start()
    try:
        assert _paths(files_of(many))[19_999] == "license-20000"
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_one_source_lies_at_the_root_several_in_folders() -> None:
    manifest = _manifest(_layer("model"), config=False)
    assert _paths(layout_of([_model("a", manifest)])) == ["model.gguf", "manifest.json"]
    two = layout_of([_model("a:1b", manifest, 5), _model("host/ns/b", manifest, 6)])
    assert [(file.path, file.mtime_ns) for file in two] == [
        ("a/1b/model.gguf", 5),
        ("a/1b/manifest.json", 5),
        ("b/latest/model.gguf", 6),
        ("b/latest/manifest.json", 6),
    ]


def test_sources_that_would_collide_have_host_and_namespace() -> None:
    manifest = _manifest(_layer(FILE, "x"))
    models = [_model(text, manifest) for text in ("h1/n/m:t", "h2/n/m:t", "h1/n/other")]
    assert _paths(layout_of(models)) == ["h1/n/m/t/x", "h2/n/m/t/x", "other/latest/x"]


def test_repositories_of_any_depth_are_shown_as_others() -> None:
    manifest = _manifest(_layer(FILE, "x"))
    models = [_model(text, manifest) for text in ("oci://h/flat:t", "oci://h/a/b/c:t")]
    assert _paths(layout_of(models)) == ["flat/t/x", "c/t/x"]
    models += [_model("oci://h/a/b/t/c:t", manifest), _model("oci://h/c:t", manifest)]
    assert _paths(layout_of(models)) == ["flat/t/x", "h/a+b/c/t/x", "h/a+b+t/c/t/x", "h/+/c/t/x"]


def test_a_model_called_as_anothers_host_does_not_lie_around_it() -> None:
    manifest = _manifest(_layer(FILE, "x"))
    models = [_model(text, manifest) for text in ("h/n/m:t", "h2/n/m:t", "x/y/h:n")]
    assert _paths(layout_of(models)) == ["h/n/m/t/x", "h2/n/m/t/x", "x/y/h/n/x"]


@pytest.mark.parametrize("style", ["files", "ollama"])
def test_the_same_source_twice_is_refused(style: layout.LayoutName) -> None:
    manifest = _manifest(_layer("model"))
    with pytest.raises(InvalidName, match="twice"):
        layout_of([_model("m", manifest), _model("m", manifest)], style)


@pytest.mark.parametrize("style", ["files", "ollama"])
def test_p10_two_sources_cannot_give_one_blob_two_sizes(style: layout.LayoutName) -> None:
    """They share the blob: the second would change the size of a file that the first described."""
    one, two = (_manifest(_layer("model", content=1, size=size)) for size in (10, 11))
    with pytest.raises(InvalidManifest, match="two sizes"):
        layout_of([_model("a", one), _model("b", two)], style)


def test_the_ollama_layout_has_each_referenced_blob_once() -> None:
    shared = _layer("license")
    one, two = _manifest(_layer("model", content=1), shared), _manifest(_layer("model", content=2), shared)
    files = layout_of([_model("a", one), _model("127.0.0.1:5000/n/b:t", two)], "ollama")
    blobs = {blob.digest.file_name for manifest in (one, two) for blob in manifest.blobs()}
    assert sorted(_paths(files)) == sorted(
        [
            *(f"blobs/{name}" for name in blobs),
            "manifests/registry.ollama.ai/library/a/latest",
            "manifests/127.0.0.1:5000/n/b/t",
        ]
    )
    raw = {file.path: file.content for file in files if isinstance(file.content, bytes)}
    assert set(raw.values()) == {one.raw, two.raw}


def test_the_ollama_layout_takes_names_that_differ_in_case_for_one() -> None:
    manifest = _manifest(_layer("model"))
    with pytest.raises(InvalidName, match="twice"):
        layout_of([_model("h/n/m:t", manifest), _model("H/N/M:T", manifest)], "ollama")

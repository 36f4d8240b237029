"""Which files a person chose, by the rules of huggingface_hub, which is the reference here."""

from __future__ import annotations

import pytest
from huggingface_hub.utils._paths import filter_repo_objects
from hypothesis import given
from hypothesis import strategies as st

from fusefs.errors import InvalidSetting
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.selection import Selection, parse_pattern
from fusefs.values.snapshot import File, Slice, Snapshot

ARCHIVE = Blob(Digest.of(b"archive"), 100)
PACKED = Blob(Digest.of(b"packed"), 50)
WEIGHTS = Blob(Digest.of(b"weights"), 1000)
CONFIG = Blob(Digest.of(b"config"), 10)


def model_of(*files: File, name: str = "m") -> Snapshot:
    blobs = (CONFIG, WEIGHTS, PACKED)
    return Snapshot(Name.parse(name), Digest.of(b"manifest"), files, blobs, b"manifest", made=(ARCHIVE,))


MODEL = model_of(
    File("config.json", Slice.whole(CONFIG)),
    File("model.safetensors", Slice.whole(WEIGHTS)),
    File("onnx/a.txt", Slice(ARCHIVE, 10, 5)),
    File("onnx/deep/b.txt", Slice(ARCHIVE, 20, 5)),
    File("manifest.json", b"manifest"),
)


def chosen(include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Selection:
    return Selection(tuple(map(parse_pattern, include)), tuple(map(parse_pattern, exclude)))


def paths(model: Snapshot) -> list[str]:
    return [file.path for file in model.files]


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        ((), (), ["config.json", "model.safetensors", "onnx/a.txt", "onnx/deep/b.txt", "manifest.json"]),
        (("*.json",), (), ["config.json", "manifest.json"]),
        (("onnx/*.txt",), (), ["onnx/a.txt", "onnx/deep/b.txt"]),
        (("onnx/",), (), ["onnx/a.txt", "onnx/deep/b.txt"]),
        (("onnx\\*",), ("*/b.*",), ["onnx/a.txt"]),
        (("CONFIG.json", "model.?afetensor[s]"), (), ["model.safetensors"]),
        ((), ("*.json", "onnx/deep/"), ["model.safetensors", "onnx/a.txt"]),
    ],
)
def test_the_files_that_match_are_left(include: tuple[str, ...], exclude: tuple[str, ...], left: list[str]) -> None:
    assert paths(chosen(include, exclude).only(MODEL)) == left


WORDS = st.text("aA.b*?[]!/\\-", min_size=1, max_size=6)


@given(st.lists(WORDS, max_size=2), st.lists(WORDS, max_size=2), st.lists(WORDS.filter(lambda path: "\\" not in path)))
def test_every_pattern_means_what_it_means_to_huggingface_hub(
    include: list[str], exclude: list[str], names: list[str]
) -> None:
    selection = chosen(tuple(include), tuple(exclude))
    theirs = filter_repo_objects(names, allow_patterns=include or None, ignore_patterns=exclude or None)
    assert [name for name in names if selection.shows(name)] == [*theirs]


def test_only_blobs_of_chosen_files_are_left() -> None:
    few = chosen(("*.safetensors",)).only(MODEL)
    assert (few.blobs, few.made) == ((WEIGHTS,), ())
    assert (few.digest, few.document) == (MODEL.digest, MODEL.document), "it is still that model"
    part = chosen(("onnx/a.txt",)).only(MODEL)
    assert (part.blobs, part.made) == ((), (ARCHIVE,))


def test_without_patterns_nothing_is_changed() -> None:
    assert Selection().of([MODEL]) == [MODEL]
    assert not Selection()
    assert Selection().idle([MODEL]) == []


def test_a_model_that_loses_all_its_files_keeps_its_place_and_is_told() -> None:
    other = model_of(File("x.gguf", Slice.whole(WEIGHTS)), name="other")
    selection = chosen(("*.gguf",))
    assert [paths(model) for model in selection.of([MODEL, other])] == [[], ["x.gguf"]]
    (line,) = selection.idle([MODEL, other])
    assert line == f"--include '*.gguf' leaves no file of {MODEL.reference}"


def test_a_pattern_that_matches_nothing_is_told_with_names_that_it_could_match() -> None:
    (line,) = chosen(("*.json",), ("*.ggfu",)).idle([MODEL])
    assert line == (
        "--exclude '*.ggfu' matches none of the files: "
        "config.json, manifest.json, model.safetensors, onnx/a.txt and 1 more"
    )


def test_a_choice_of_nothing_is_an_error_that_names_the_patterns_and_files() -> None:
    with pytest.raises(
        InvalidSetting, match=r"^--include '\*\.bin' --exclude 'a' leaves none of 5 files: config\.json"
    ):
        chosen(("*.bin",), ("a",)).of([MODEL])
    assert chosen(("*.bin",)).of([]) == [], "where there are no files at all nothing was chosen wrong"


@pytest.mark.parametrize("text", ["", "x" * 5000])
def test_what_can_be_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="invalid pattern"):
        parse_pattern(text)

"""Names of repositories of the Hub: which texts are some, what pages they stand for, and where a cache keeps them."""

from __future__ import annotations

import pytest

from fusefs.errors import InvalidName, InvalidSetting
from fusefs.values.digest import Digest
from fusefs.values.hubendpoint import HUGGING_FACE, HubEndpoint
from fusefs.values.hubname import HubName
from fusefs.values.hubpage import read_page
from fusefs.values.names import Name
from fusefs.values.reference import parse_model
from fusefs.values.webtree import WebTree, name_at

HEX, COMMIT = "ab" * 32, "0123456789" * 4
MIRROR = HubEndpoint.parse("https://Mirror.example:443/artifactory/api/hf/")

NAMES = [
    ("hf://org/Model", "hf://org/Model@main"),
    ("hf://org/Model/", "hf://org/Model@main"),
    ("HF://gpt2", "hf://gpt2@main"),
    ("huggingface://org/m@v1.0", "hf://org/m@v1.0"),
    ("hf://models/org/m", "hf://org/m@main"),
    ("hf://datasets/org/name@refs/pr/12", "hf://datasets/org/name@refs/pr/12"),
    ("hf://datasets/squad@refs/convert/parquet", "hf://datasets/squad@refs/convert/parquet"),
    ("hf://spaces/org/s@feature%2Fx", "hf://spaces/org/s@feature%2Fx"),
    ("hf://org/m@ü", "hf://org/m@%C3%BC"),
    (f"hf://org/m@{COMMIT.upper()}", f"hf://org/m@{COMMIT}"),
    (f"hf://org/m@main:{COMMIT}", f"hf://org/m@main:{COMMIT}"),
    (f"hf://org/m@sha256:{HEX}", f"hf://org/m@main@sha256:{HEX}"),
    (f"hf://org/m@v1:{COMMIT}@sha256:{HEX}", f"hf://org/m@v1:{COMMIT}@sha256:{HEX}"),
    ("hf+http://127.0.0.1:0080/models/org/m", "hf+http://127.0.0.1/models/org/m@main"),
    ("hf+https://hub.example:8443/a/B/datasets/x@v2", "hf+https://hub.example:8443/a/B/datasets/x@v2"),
    ("hf+https://h/models/models/x", "hf+https://h/models/models/x@main"),
    ("hf+https://huggingface.co/spaces/org/m", "hf://spaces/org/m@main"),
]


@pytest.mark.parametrize(("text", "written"), NAMES)
def test_a_name_is_written_in_one_way_and_comes_back_from_the_cache(text: str, written: str) -> None:
    name = HubName.read(text)
    assert name is not None
    assert str(name) == written
    assert HubName.read(str(name)) == name == parse_model(text)
    assert str(HubName.read(name.short)) == written.partition("@sha256")[0].partition(f":{COMMIT}")[0]
    found = name_at(*name.path)
    assert isinstance(found, HubName)
    assert found.pinned(name.digest) == name if name.digest and not name.commit else found.key == name.key
    assert all(0 < len(part) < 256 and part not in (".", "..") and "/" not in part for part in name.path)
    assert all(part == part.lower() for part in name.path)


def test_a_name_without_a_place_is_at_the_hub_that_is_meant() -> None:
    name = HubName.read("hf://org/m", MIRROR)
    assert name is not None
    assert str(name) == "hf+https://mirror.example/artifactory/api/hf/models/org/m@main"
    assert name.hub == MIRROR
    assert name.short == "hf+https://mirror.example/artifactory/api/hf/models/org/m"
    assert HubName.read(str(name)) == name


def test_p10_no_two_names_have_one_place_in_a_cache() -> None:
    """Kinds, Hubs, case, and the ways in which parts could run together."""
    texts = [
        "hf://org/m",
        "hf://org/M",
        "hf://Org/m",
        "hf://datasets/org/m",
        "hf://spaces/org/m",
        "hf://m@org",
        "hf://org/m@Main",
        "hf://org/m@refs/pr/1",
        "hf://org/m@refs%2Bpr%2B1",
        "hf+http://huggingface.co/models/org/m",
        "hf+https://huggingface.co:444/models/org/m",
        "hf+https://huggingface.co/x/models/org/m",
        "hf+https://huggingface.co/X/models/org/m",
    ]
    names = [HubName.read(text) for text in texts]
    assert len({name.key for name in names if name is not None}) == len(texts)


@pytest.mark.parametrize("text", ["hf://org/m", "hf+http://h/datasets/m@x"])
def test_p10_no_other_kind_of_name_lies_where_one_of_the_hub_does(text: str) -> None:
    name = HubName.read(text)
    assert name is not None
    with pytest.raises(InvalidName):
        Name.from_path(*name.path)
    with pytest.raises(InvalidName):
        WebTree.from_path(*name.path)


@pytest.mark.parametrize(
    "parts",
    [
        ("huggingface.co", "+hf.models+org", "m", "Main"),
        ("huggingface.co", "+hf.models+org", "..", "main"),
        ("huggingface.co", "+hf.other+org", "m", "main"),
        ("huggingface.co", "+hf-ftp.models+org", "m", "main"),
        ("huggingface.co", "+hf.models+", "m", "main"),
        ("huggingface.co", "+hf.models+org+x", "m", "main"),
        ("huggingface.co", "+hf.models+org", "m", "=2e=2e"),
        ("huggingface.co", "+hf.models+org", "m", ""),
        ("hugging/face", "+hf.models+org", "m", "main"),
        ("", "+hf.models+org", "m", "main"),
        ("h+models", "+hf.models+org", "m", "main"),
    ],
)
def test_a_path_in_the_cache_that_no_name_has_is_passed_over(parts: tuple[str, str, str, str]) -> None:
    with pytest.raises(InvalidName):
        name_at(*parts)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hf://org/m/config.json", "names a file"),
        ("hf://org/m@main/config.json", "written %2F"),
        ("hf://org/m:Q4_K_M", "is written @Q4_K_M"),
        ("hf://org/m@", "want a branch, a tag or a commit"),
        ("hf://org/m@a..b", "want a branch, a tag or a commit"),
        ("hf://org/m@a b", "want a branch, a tag or a commit"),
        ("hf://org/m@main:abc", "the 40 digits of its commit"),
        ("hf://", "want hf://org/model"),
        ("hf://-/x", "want hf://org/model"),
        ("hf://a--b/x", "want hf://org/model"),
        ("hf://or g/x", "want hf://org/model"),
        (f"hf://org/m@{'Ä' * 60}", "too long"),
        ("hf+https://host/org/m", "want hf+https://host/models/org/model"),
        ("hf+https://host/a/../b/models/org/m", "cannot stand in a name"),
        ("hf+http://ho st/models/org/m", "want https://host"),
    ],
)
def test_a_wrong_one_is_one_line_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(InvalidName) as caught:
        HubName.read(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["hf://user:hunter2@host/org/m", "hf+https://user:hunter2@host/models/org/m"])
def test_a_password_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(InvalidName) as caught:
        parse_model(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://huggingface.co/org/Model", "hf://org/Model@main"),
        ("http://www.huggingface.co/org/model/", "hf://org/model@main"),
        ("https://hf.co/gpt2", "hf://gpt2@main"),
        ("https://huggingface.co/datasets/org/d?library=datasets", "hf://datasets/org/d@main"),
        ("https://huggingface.co/org/m#usage", "hf://org/m@main"),
        ("https://huggingface.co/org/m/tree/main", "hf://org/m@main"),
        ("https://huggingface.co/org/m/tree/v1.0/sub/folder", "hf://org/m@v1.0"),
        ("https://huggingface.co/org/m/tree/refs%2Fpr%2F3", "hf://org/m@refs/pr/3"),
        ("https://huggingface.co/org/m/tree/refs/pr/3/sub", "hf://org/m@refs/pr/3"),
        ("https://huggingface.co/org/m/resolve/main/model.gguf?download=true", "hf://org/m@main"),
        ("https://huggingface.co/org/m/blob/main/model.gguf", "hf://org/m@main"),
        (f"https://huggingface.co/org/m/commit/{COMMIT}", f"hf://org/m@{COMMIT}"),
        ("https://huggingface.co/gpt2/tree/main", "hf://gpt2@main"),
    ],
)
def test_the_address_of_a_page_is_the_repository(text: str, name: str) -> None:
    assert str(parse_model(text)) == name


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/org/model:Q4_K_M",
        "hf.co/org/model",
        "hf.co/org/model:Q4_K_M",
        f"https://huggingface.co/org/m/resolve/main/x.gguf#sha256={HEX}",
        "https://huggingface.co.example/org/model",
        "https://huggingface.co/docs/hub",
        "https://mirror.example/org/model",
        "https://host/org/model/tree/main",
    ],
)
def test_what_may_be_a_model_of_a_registry_or_a_file_is_left_alone(text: str) -> None:
    assert read_page(text) is None
    assert not isinstance(parse_model(text), HubName)


def test_pages_of_the_hub_that_is_meant_are_known() -> None:
    text = "https://mirror.example/artifactory/api/hf/org/m/resolve/v1/x"
    assert str(read_page(text, MIRROR)) == "hf+https://mirror.example/artifactory/api/hf/models/org/m@v1"
    assert str(read_page("https://hf.co/org/m", MIRROR)) == "hf://org/m@main"


def test_a_commit_is_the_same_for_ever_and_a_branch_is_not() -> None:
    name = HubName.read("hf://org/m@v1")
    assert name is not None
    assert name.fixed == ""
    assert name.at(COMMIT).fixed == COMMIT
    assert str(name.at(COMMIT).pinned(Digest("sha256", HEX))) == f"hf://org/m@v1:{COMMIT}@sha256:{HEX}"
    commit = HubName.read(f"hf://org/m@{COMMIT}")
    assert commit is not None
    assert commit.fixed == COMMIT
    assert commit.at(COMMIT) == commit


@pytest.mark.parametrize("text", ["ftp://h", "https://user:hunter2@h", "https://h?x", "h", "https://h:0", "https://"])
def test_what_is_no_hub_is_told_without_what_may_be_secret(text: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        HubEndpoint.parse(text)
    assert "hunter2" not in str(caught.value)


def test_the_hub_is_written_in_one_way() -> None:
    assert HubEndpoint.parse("HTTPS://HuggingFace.co:443/") == HUGGING_FACE
    assert str(HubEndpoint.parse("http://h:80/x//")) == "http://h/x"

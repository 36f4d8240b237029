"""Names of folders and files on the web and in buckets: which texts are some, and where the cache keeps them."""

from __future__ import annotations

import pytest

from fusefs.errors import InvalidName
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from fusefs.values.reference import parse_model
from fusefs.values.webtree import WebTree, name_at

HEX = "ab" * 32

TREES = [
    "https://host/dir/",
    "http://host:8080/a/b%20c/Qwen2.5-7B/",
    "https+insecure://[::1]:8443/x/",
    "https://host/dir/SHA256SUMS",
    "https://host/SHA256SUMS",
    "https://host/model.SHA256SUMS.txt",
    "https://host/a/b.meta4",
    "https://host/fusefs.lock",
    f"https://host/model.gguf#sha256={HEX}",
    f"https://host/dir/@sha256:{HEX}",
    "s3://bucket/",
    "s3://bucket.example/prefix/of/Model=1+x/",
    f"gs://bucket/a/b.bin#sha256={HEX}",
    "az://container/a/SHA256SUMS",
    "https://host/ü/",
]


@pytest.mark.parametrize("text", TREES)
def test_a_url_is_a_name_and_comes_back_from_the_cache(text: str) -> None:
    name = WebTree.read(text)
    assert name is not None
    assert str(name) == text
    assert WebTree.read(str(name)) == name == parse_model(text)
    found = name_at(*name.path)
    assert found.pinned(name.digest) == name if name.digest else found == name
    assert all(part and part not in (".", "..") and "/" not in part for part in name.path)


@pytest.mark.parametrize(
    "text",
    [
        "llama3.2:1b",
        "https://host/namespace/model:tag",
        "https://host/namespace/model",
        "http://host:8080/",
        "http://host:8080",
        "oci://host/a/",
        "docker://x",
        f"model@sha256:{HEX}",
        "./dir/",
    ],
)
def test_what_names_a_registry_or_a_folder_is_left_alone(text: str) -> None:
    assert WebTree.read(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://host/dir/?token=secret", "has a query"),
        ("https://host/a#sha256=12", "64 hexadecimal digits"),
        ("https://host/a#readme", "64 hexadecimal digits"),
        (f"https://host/dir/#sha256={HEX}", "want #sha256="),
        ("https://host/a/../b/", "a part of its path"),
        ("s3://bucket//a/", "a part of its path"),
        ("s3://bucket/a\nb/", "want the characters of a path"),
        (f"s3://bucket/{'x' * 300}/", "its path is too long"),
    ],
)
def test_a_wrong_one_is_one_line_without_what_may_be_secret(text: str, said: str) -> None:
    with pytest.raises(InvalidName) as caught:
        WebTree.read(text)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value).replace("may be a secret", "")
    assert "\n" not in str(caught.value)


def test_a_password_is_refused_and_not_shown() -> None:
    with pytest.raises(InvalidName) as caught:
        parse_model("https://user:hunter2@host/dir/")
    assert "hunter2" not in str(caught.value)


def test_paths_that_differ_in_case_lie_in_two_places() -> None:
    """Names compare without case in a cache, and paths of servers do not."""
    one, other = WebTree.read("https://h/Model/"), WebTree.read("https://h/model/")
    assert one is not None
    assert other is not None
    assert one.key != other.key


def test_a_registry_name_never_lies_where_a_tree_does() -> None:
    tree = WebTree.read("https://host/a/b/")
    assert tree is not None
    with pytest.raises(InvalidName):
        Name.from_path(*tree.path)


@pytest.mark.parametrize(
    "parts",
    [
        ("h", "+https", "+a+", "v1"),
        ("h", "+ftp", "+a+", "latest"),
        ("h", "+https", "+A+", "latest"),
        ("h", "+https", "+=zz+", "latest"),
        ("h/x", "+https", "+a+", "latest"),
        ("..", "+https", "+a+", "latest"),
        ("h", "+https", "", "latest"),
        ("h", "+https", "+=ff+", "latest"),
        ("h", "+s3", "+..+", "latest"),
        ("h", "+https", "+a=2fb+", "latest"),
    ],
)
def test_a_path_in_the_cache_that_no_url_has_is_passed_over(parts: tuple[str, str, str, str]) -> None:
    with pytest.raises(InvalidName):
        name_at(*parts)


def test_the_digest_of_a_single_file_is_part_of_its_name() -> None:
    name = WebTree.read(f"https://host/a%20b.gguf#sha256={HEX.upper()}")
    assert name is not None
    assert (name.leaf, name.file_digest) == ("a b.gguf", Digest.parse(f"sha256:{HEX}"))

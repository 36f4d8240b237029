"""SHA256SUMS as tools write it, and as nobody should."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from fusefs.artifacts.listedfile import MAX_LIST_SIZE
from fusefs.artifacts.sums import parse_sums
from fusefs.errors import InvalidManifest
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

D = "a" * 64
OTHER = "b" * 64


@pytest.mark.parametrize(
    "line",
    [
        f"{D}  sub/a",
        f"{D} *sub/a",
        f"{D.upper()}  sub/a",
        f"{D}\tsub/a",
        f"{D}  ./sub/a",
        f"SHA256 (sub/a) = {D}",
        f"\\{D}  sub/a",
        f"# made by hand\n\n{D}  sub/a",
        f"MD5 (sub/a) = {'c' * 32}\nSHA256 (sub/a) = {D}",
        f"{D}  sub/a\n{D}  sub/a",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_each_form_of_a_line_is_read(line: str, end: str) -> None:
    (file,) = parse_sums((line.replace("\n", end or "\n") + end).encode())
    assert (file.path, str(file.digest), file.size) == ("sub/a", f"sha256:{D}", None)


@pytest.mark.parametrize("options", [[], ["--binary"], ["--tag"]], ids=["text", "binary", "tag"])
def test_what_sha256sum_writes_of_strange_names_is_read(tmp_path: Path, options: list[str]) -> None:
    """Control characters are no name of a file in a mount; what sha256sum escapes besides them is the backslash."""
    names = ["plain", "back\\slash", "a = b", "(x)", "  two", "*star", "ü", "\\", "SHA256 (a) = b"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    done = subprocess.run(["sha256sum", *options, "--", *names], cwd=tmp_path, capture_output=True, check=True)
    found = {file.path: file.digest for file in parse_sums(done.stdout)}
    assert found == {name: Digest.of(name.encode()) for name in names}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{D}  a\nrubbish", "list, line 2: want"),
        (f"{D}  a\n{D[:-1]}  b", "list, line 2: want"),
        (f"{D}  a\n{D} b", "line 2: want"),
        (f"{D}  ../a", "line 1: invalid name '../a': a component is '..'"),
        (f"{D}  /etc/passwd", "it is absolute"),
        (f"{D}  a//b", "a component is ''"),
        (f"{D}  a/", "a component is ''"),
        (f"\\{D}  a\\nb", "control characters"),
        (f"\\{D}  a\\xb", "is no escape"),
        (f"\\{D}  a\\", "is no escape"),
        (f"SHA256 (a) = {D[:-1]}", "is no sha256"),
        (f"{D}  a\n{OTHER}  a", "listed with two digests"),
        ("", "list lists no file"),
        (f"SHA512 (a) = {'c' * 128}", "lists no file with a sha256"),
        (f"{D}  {'x' * 256}", "longer than 255 bytes"),
    ],
)
def test_a_wrong_line_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        parse_sums(text.encode(), "list")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_text_is_named_by_its_line() -> None:
    with pytest.raises(InvalidManifest, match="line 1: it is not UTF-8"):
        parse_sums(D.encode() + b"  \xff")


def test_a_list_without_end_is_not_read() -> None:
    with pytest.raises(InvalidManifest, match="more than"):
        parse_sums(b"#" * (MAX_LIST_SIZE + 1))


@pytest.mark.slow
def test_a_list_of_too_many_files_is_refused() -> None:
    with pytest.raises(InvalidManifest, match="more than 65536 files"):
        parse_sums("".join(f"{D}  {number}\n" for number in range(65_537)).encode())

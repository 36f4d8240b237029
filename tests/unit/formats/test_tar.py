"""read_table: real archives of every dialect, and what is refused or left out of hostile ones."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import InvalidTar
from fusefs.formats import tar
from fusefs.formats.tar import BLOCK, MAX_HEADER, read_table
from tests.artifacts import table_of, tar_of

if TYPE_CHECKING:
    from pathlib import Path


def contents(data: bytes) -> dict[str, bytes]:
    return {one.path: data[one.off : one.off + one.size] for one in table_of(data).members}


FILES = {"a.txt": b"hello", "d/" + "n" * 90: b"x" * 1000, "empty": b"", "é/ü": b"1" * 512}
DEEP = {"/".join(["folder-with-a-long-name"] * 12): b"deep"}


@pytest.mark.parametrize("dialect", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_every_dialect_is_read(dialect: int) -> None:
    files = FILES if dialect == tarfile.USTAR_FORMAT else FILES | DEEP
    assert contents(tar_of(files, folders=["d"], format=dialect)) == files


def test_payloads_begin_at_blocks_and_not_at_pages() -> None:
    offsets = [one.off for one in table_of(tar_of(FILES)).members]
    assert all(off % BLOCK == 0 for off in offsets)
    assert any(off % 4096 for off in offsets)


@pytest.mark.parametrize("dialect", ["gnu", "pax", "ustar"])
def test_archives_of_the_real_program_are_read(dialect: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, content in {"a": b"1" * 700, "b c": b"2", "n" * 99: b"3"}.items():
        (tmp_path / "in" / name).write_bytes(content)
    (tmp_path / "in" / "link").symlink_to("a")
    (tmp_path / "in" / "same").hardlink_to(tmp_path / "in" / "a")
    subprocess.run(["tar", f"--format={dialect}", "--sort=name", "-cf", tmp_path / "x", "in"], cwd=tmp_path, check=True)
    data = (tmp_path / "x").read_bytes()
    assert contents(data) == {"in/a": b"1" * 700, "in/b c": b"2", "in/" + "n" * 99: b"3"}
    assert [(one.path, one.target, one.hard) for one in table_of(data).links] == [
        ("in/link", "a", False),
        ("in/same", "in/a", True),
    ]


def test_a_file_of_more_than_8_gib_is_read_whichever_way_it_says_so() -> None:
    size = (8 << 30) + 5
    for dialect in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        info = tarfile.TarInfo("big")
        info.size = size
        head = info.tobuf(dialect)
        off = len(head)
        stop = off + -(-size // BLOCK) * BLOCK

        def read_at(at: int, count: int, head: bytes = head, stop: int = stop) -> bytes:
            assert at + count <= len(head) or at >= stop - 1, "the payload is not read"
            return head[at : at + count].ljust(count, b"\0")

        (member,) = read_table(read_at, stop + 2 * BLOCK).members
        assert (member.off, member.size) == (off, size)


def member(name: str = "x", **more: object) -> bytes:
    """A header alone."""
    info = tarfile.TarInfo(name)
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def patched(header: bytes, at: int, value: bytes) -> bytes:
    """A header with other bytes and the right checksum."""
    text = bytearray(header)
    text[at : at + len(value)] = value
    text[148:156] = b" " * 8
    text[148:156] = b"%06o\0 " % sum(text)
    return bytes(text)


def pax(body: bytes, kind: bytes = b"x") -> bytes:
    header = patched(member(size=len(body)), 156, kind)
    return header + body.ljust(-(-len(body) // BLOCK) * BLOCK, b"\0")


END = bytes(2 * BLOCK)
GOOD = tar_of({"good": b"1"})


@pytest.mark.parametrize(
    ("data", "why"),
    {
        "nothing": (b"", "empty file"),
        "no tar": (b"x" * 2000, "invalid header|bad checksum|truncated"),
        "half a header": (GOOD[:300], "truncated"),
        "cut off in a file": (tar_of({"a": b"1" * 5000})[:2000], "cut off|behind the end|unexpected end"),
        "damaged further on": (GOOD[: 2 * BLOCK] + b"y" * BLOCK + END, "damaged at 1024"),
        "size behind the end": (member(size=1 << 40) + END, "behind the end"),
        "negative size": (patched(member(), 124, b"\xff" * 12) + END, "behind the end|a member of"),
        "negative PAX size": (pax(b"12 size=-99\n") + member() + END, "behind the end|a member of"),
        "PAX size of 4,300 digits": (pax(b"4310 size=%s\n" % (b"9" * 4299)) + member() + END, "512 digits"),
        "PAX record that is none": (pax(b"x" * 100) + member() + END, "header at 512 that is none"),
        "PAX record of length 0": (pax(b"0 a=b\n") + member() + END, "header at 512 that is none"),
        "PAX records over each other": (pax(b"7 a=bb\n" + b"1 " * 200 + b"=") + member() + END, "that is none"),
        "PAX header too long": (pax(b"x" * (MAX_HEADER + 1)) + member() + END, "bytes of headers"),
        "PAX headers without end": (pax(b"6 a=b\n") * 1000 + END, "recursion|bytes of headers"),
        "PAX header before the end": (pax(b"6 a=b\n") + END, "end of file header"),
        "GNU long name too long": (patched(member(size=MAX_HEADER), 156, b"L") + bytes(MAX_HEADER), "of headers"),
        "sparse map without end": (
            pax(b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n")
            + member(size=1 << 20)
            + b"99999999\n"
            + b"1\n" * (1 << 19),
            "bytes of headers",
        ),
    }.values(),
)
def test_p10_a_hostile_archive_is_refused_in_one_line(data: bytes, why: str) -> None:
    with pytest.raises(InvalidTar, match=f"invalid tar archive: .*({why})") as caught:
        table_of(data)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_p10_what_a_mount_cannot_show_is_counted_and_left_out() -> None:
    sparse = pax(b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n") + member("s", size=4) + b"0\n".ljust(BLOCK, b"\0")
    odd = [
        member("fifo", type=tarfile.FIFOTYPE),
        member("disk", type=tarfile.BLKTYPE),
        member("old", type=b"S"),
        patched(member("what"), 156, b"V"),
        patched(member("latin"), 0, b"\xff\xfe"),
        pax(b"4209 path=%s\n" % (b"p" * 4198)) + member(),
        sparse,
    ]
    found = table_of(b"".join(odd) + GOOD)
    assert [one.path for one in found.members] == ["good"]
    assert dict(found.left_out) == {
        "device or pipe": 2,
        "sparse file": 2,
        "member of unknown type": 1,
        "path that is not UTF-8": 1,
        "path that is too long": 1,
    }


def test_p10_a_million_members_are_refused_with_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MAX_MEMBERS", 3000)
    header = member()
    asked = 0

    def read_at(off: int, size: int) -> bytes:
        nonlocal asked
        asked += size
        return header if off % BLOCK == 0 and size == BLOCK else bytes(size)

    tracemalloc.start()
    with pytest.raises(InvalidTar, match="more than 3000 members"):
        read_table(read_at, 1_000_000 * BLOCK)
    assert tracemalloc.get_traced_memory()[1] < 3000 * 400
    tracemalloc.stop()
    assert asked <= 3002 * (BLOCK + 1)


def test_p10_a_time_that_no_file_can_have_is_none() -> None:
    for text in (b"inf", b"-5", b"1e300", b"nan", b"x"):
        record = b" mtime=%s\n" % text
        record = b"%d%s" % (len(record) + 2, record)
        (found,) = table_of(pax(record) + member() + END).members
        assert found.mtime == 0, text


def test_what_the_reader_raises_passes_through() -> None:
    def read_at(_off: int, _size: int) -> bytes:
        raise ConnectionError("no network")

    with pytest.raises(ConnectionError):
        read_table(read_at, 5000)
    with pytest.raises(InvalidTar, match="were asked for"):
        read_table(lambda _off, _size: b"", 5000)


def test_nothing_is_decompressed_behind_our_back() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("x"))
    with pytest.raises(InvalidTar):
        table_of(stream.getvalue())

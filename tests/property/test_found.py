"""What fuzzing found, each with the input that found it."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import InvalidChunkList, InvalidInput, InvalidName, InvalidSetting, SourceError
from fusefs.net.addresses import literal
from fusefs.net.url import Url
from fusefs.sources.registry.credentials import KeyRing
from fusefs.sources.registry.responses import retry_after
from fusefs.values import report
from fusefs.values.chunklimits import MAX_CHUNK_SIZE
from fusefs.values.chunkpack import pack, unpack
from fusefs.values.chunks import ChunkList
from fusefs.values.names import Name
from fusefs.values.report import FileReport, MountReport, StatusReport
from fusefs.values.settings import MAX_SECONDS, parse_seconds
from fusefs.values.voucher import NOBODY
from fusefs.view.table import Shape, picture, text_of
from tests.fuzz.answers import token
from tests.fuzz.screen import check_safe
from tests.fuzz.target import joined

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "header",
    [
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2024 99999999999999999999:00:00 GMT",
    ],
)
def test_p10_a_date_to_retry_at_that_no_clock_shows_says_nothing(header: str) -> None:
    assert retry_after(header, now=datetime(2026, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("life", ["9" * 400, "1e999", "Infinity", "-1", "NaN", "true", '"60"'])
def test_p10_the_life_of_a_token_may_be_any_number(life: str) -> None:
    token(joined(b'Bearer realm="https://auth.example/token"', b'{"token":"abc","expires_in":' + life.encode() + b"}"))


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"auths":' * 20_000,
        json.dumps({"auths": {"h": {"username": "\ud800", "password": "x"}}}).encode(),
        json.dumps({"auths": {"h": {"username": "x", "password": "\udfff"}}}).encode(),
        json.dumps({"auths": {"h": {"auth": "\ud800"}}}).encode(),
        json.dumps({"auths": {"h": {"auth": "/w=="}}}).encode(),
    ],
)
@pytest.mark.logs("The Docker configuration .* cannot be read")
def test_p10_a_docker_configuration_that_cannot_be_read_holds_no_password(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.touch(0o600)
    path.write_bytes(content)
    assert KeyRing(tmp_path / "none", path).password_for("h").secret is None


@pytest.mark.parametrize(
    "answer",
    [
        b'{"mountpoint":"\xff"}',
        b'{"mountpoint":"\\ud800"}',
        b'{"mountpoint":"x","kernel":{"a":' + b"[" * 100_000,
        b'{"mountpoint":"x","files":[{"path":"y","size":' + b"9" * 400 + b"}]}",
        b'{"mountpoint":"x","files":[{"path":"y","present":-1}]}',
        b'{"mountpoint":"x","uptime":1e999}',
    ],
)
def test_p10_an_answer_of_a_daemon_that_is_no_report_is_our_error(answer: bytes) -> None:
    with pytest.raises(InvalidInput):
        report.decode(answer)


def test_p10_no_field_of_a_report_moves_the_cursor() -> None:
    """The folder that a mount is at and the state of a file are text from somewhere else, too."""
    evil = "a\x1b[2J\u202eb"
    file = FileReport(path=evil, state=evil)
    kernel = {evil: {"why_not": evil, "wanted": evil, "actual": evil}}
    up = MountReport(mountpoint=evil, cache_dir=evil, log_file=evil, kernel=kernel, files=(file,), last_error=evil)
    dead = MountReport(mountpoint=evil, state="dead", problem=evil)
    for line in picture(StatusReport((up, dead)), Shape(80, 1)):
        check_safe(text_of(line))


def test_p10_a_pinned_list_has_no_chunk_that_a_list_from_a_registry_may_not_have() -> None:
    good = ChunkList.uniform(3 * MAX_CHUNK_SIZE, MAX_CHUNK_SIZE)
    assert unpack(pack(good, NOBODY), good.size)[0] == good
    for size, chunk_size in ((MAX_CHUNK_SIZE + 1, MAX_CHUNK_SIZE + 1), (3 * MAX_CHUNK_SIZE, MAX_CHUNK_SIZE + 1)):
        with pytest.raises(InvalidChunkList):
            unpack(pack(ChunkList.uniform(size, chunk_size), NOBODY), size)


@pytest.mark.parametrize("host", ["127.\u0660.\u0660.\u0661", "127.0.0.1.example", "127.999.0.1"])
def test_p10_only_an_address_of_this_machine_is_this_machine(host: str) -> None:
    try:
        origin = Url.parse(f"http://{host}/").origin
    except SourceError:
        return  # digits of other scripts, and numbers that no address has
    assert not origin.loopback


@pytest.mark.parametrize("host", ["0\0.1", "1\0", "127.0.0.1\0.example", "\u0663.1", "1" * 5000])
def test_p10_a_host_with_a_nul_in_it_is_no_address(host: str) -> None:
    assert literal(host) is None


@pytest.mark.parametrize(
    "path",
    [
        ("h", "n", "m", "t@x"),
        ("h", "n", "m", "t@sha256:" + "0" * 64),
        ("h@x", "n", "m", "t"),
        ("http:", "", "m", "t"),
        ("h", "n/m", "m", "t"),
    ],
)
def test_p10_a_path_that_would_be_read_as_another_name_is_no_name(path: tuple[str, str, str, str]) -> None:
    """A file of that name in the cache, or in the folder of somebody else's store."""
    with pytest.raises(InvalidName):
        Name.from_path(*path)


def test_a_time_is_none_that_no_wait_can_take() -> None:
    assert 999_997_200 == parse_seconds("277777h") <= MAX_SECONDS < threading.TIMEOUT_MAX
    for text in ("999999999h", "999999999m", "277778h"):
        with pytest.raises(InvalidSetting):
            parse_seconds(text)

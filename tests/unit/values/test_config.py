"""Sizes and times as people write them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from fusefs.errors import InvalidSetting
from fusefs.values.settings import GIB, KIB, MIB, Settings, parse_age, parse_seconds, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1048576", MIB),
        ("1b", 1),
        ("64KiB", 64 * KIB),
        ("64kib", 64 * KIB),
        ("64K", 64 * KIB),
        ("64k", 64 * KIB),
        ("64Ki", 64 * KIB),
        ("64KB", 64_000),
        ("256M", 256 * MIB),
        ("1.5GiB", 3 * GIB // 2),
        ("2 GiB", 2 * GIB),
        ("1T", 1 << 40),
        ("1TB", 10**12),
        ("  7  ", 7),
        ("0.5K", 512),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x",
        "K",
        "-1",
        "+1",
        "1X",
        "1KiBs",
        "1,5M",
        "1e6",
        "0x10",
        "1 2",
        "0",
        "0.0",
        "0M",
        "0.1",
        "1.M",
        ".5M",
        "inf",
        "nan",
        "1KK",
        "1iB",
        "\u0661\u0662 ",
        "1\u212a",
    ],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="invalid size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["9" * 400 + "T", "1" * 5000])
def test_a_size_beyond_all_measure_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="invalid size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), ("30s", 30.0), ("5m", 300.0), ("1h", 3600.0), ("0.5", 0.5), ("1.5 m", 90.0)]
)
def test_times(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "0", "0s", "-1", "1d", "1 h m", "inf", "nan", "1e3", "5M", "9" * 400])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="invalid time"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("30m", 1800.0), ("12h", 43_200.0), ("7d", 604_800.0), ("1.5 w", 907_200.0)]
)
def test_ages(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "7", "0d", "-1d", "d", "1 d h", "1y", "inf", "nan", "1e3d", "7D", "9" * 400 + "d"]
)
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="invalid age"):
        parse_age(text)


def test_settings_cannot_be_changed_and_have_the_designs_defaults() -> None:
    settings = Settings()
    assert (settings.timeout, settings.memory, settings.unproved, settings.fill) == (300.0, 256 * MIB, "wait", False)
    assert (settings.stall, settings.single_chunk_limit, settings.readahead_max) == (30.0, 64 * MIB, 128 * MIB)
    with pytest.raises(FrozenInstanceError):
        settings.timeout = 1.0  # type: ignore[misc]

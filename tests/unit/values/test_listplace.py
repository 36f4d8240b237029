"""Where a person says that chunk lists are."""

from __future__ import annotations

import pytest

from fusefs.errors import InvalidSetting
from fusefs.values.listplace import ListPlace


@pytest.mark.parametrize(
    ("text", "kind", "where"),
    [
        ("./lists", "folder", "./lists"),
        ("/srv/lists", "folder", "/srv/lists"),
        ("~/lists", "folder", "~/lists"),
        ("file:///srv/lists", "folder", "/srv/lists"),
        ("https://example.org/lists/", "web", "https://example.org/lists"),
        ("HTTP://example.org", "web", "http://example.org"),
        ("oci://example.org/team/lists", "repository", "oci://example.org/team/lists"),
        ("oci+http://127.0.0.1:5000/team/lists", "repository", "oci+http://127.0.0.1:5000/team/lists"),
        ("example.org/team/lists", "repository", "example.org/team/lists"),
    ],
)
def test_places(text: str, kind: str, where: str) -> None:
    place = ListPlace.parse(text)
    assert (place.kind, place.where, place.text) == (kind, where, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\0b",
        "ftp://example.org/x",
        "https://",
        "https://user:secret@example.org/x",
        "https://example.org/x?token=secret",
        "oci://",
        "oci://example.org",
        f"oci://example.org/a/b@sha256:{'0' * 64}",
        "file://relative",
    ],
)
def test_p10_anything_else_is_refused_in_one_line_that_shows_no_secret(text: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        ListPlace.parse(text)
    assert "\n" not in str(caught.value)
    assert "user:secret" not in str(caught.value)

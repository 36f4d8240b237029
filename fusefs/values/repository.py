"""The grammar of repositories and tags on registries of the OCI distribution specification.

A repository has parts between slashes, as many as its registry likes.  Source: OCI distribution specification 1.1,
"Pulling manifests"; the whole is bounded as the reference implementation bounds it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fusefs.errors import InvalidName

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_REPOSITORY = 255
"""Characters of a repository; a part of one is a file name in the cache, too."""

_PART = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_CAPITAL = re.compile(r"[A-Z]")
_SHOWN = 90


def check_repository(parts: Sequence[str]) -> None:
    """Return when the parts are those of a repository.

    Raises:
        InvalidName: with the rule that they break.
    """
    repository = "/".join(parts)
    if len(repository) > MAX_REPOSITORY:
        raise InvalidName(f"invalid repository {repository[:_SHOWN]!r}…: longer than {MAX_REPOSITORY} characters")
    for part in parts:
        if not _PART.fullmatch(part):
            raise InvalidName(f"invalid repository {repository[:_SHOWN]!r}: {_reason(part)}")


def check_tag(tag: str) -> None:
    """Return when it is a tag.

    Raises:
        InvalidName: it is none.
    """
    if not _TAG.fullmatch(tag):
        raise InvalidName(
            f"invalid tag {tag[:_SHOWN]!r}: at most 128 letters, digits and ._- of which the first is no . or -"
        )


def _reason(part: str) -> str:
    if not part:
        return "a part is empty"
    if _CAPITAL.search(part):
        return f"the OCI specification has no capital letters in a repository, want {part.lower()[:_SHOWN]!r}"
    return f"the part {part[:_SHOWN]!r} is not made of a-z and 0-9 with single ., _, __ or - between them"

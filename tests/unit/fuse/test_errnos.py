"""The one table is whole."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from fusefs import errors
from fusefs.fuse.errnos import ERRNOS, errno_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def _tree(root: type[errors.FusefsError]) -> Iterator[type[errors.FusefsError]]:
    yield root
    for below in root.__subclasses__():
        yield from _tree(below)


def test_every_error_has_a_line_of_its_own() -> None:
    """A new error must be thought about here: what inherits a line by accident gets a wrong errno in silence."""
    ours = {kind for kind in _tree(errors.FusefsError) if kind.__module__ == errors.__name__}
    assert ours == set(ERRNOS)
    assert len(ours) > 30


def test_a_kind_that_is_not_in_the_table_answers_as_its_nearest_parent() -> None:
    class Special(errors.NotAFolder):
        """Known to one test."""

    assert errno_of(Special("x")) == errno.ENOTDIR


@pytest.mark.parametrize("kind", [kind for kind in ERRNOS if issubclass(kind, (errors.SourceError, errors.CacheError))])
def test_p6_no_trouble_below_looks_like_a_missing_file(kind: type[errors.FusefsError]) -> None:
    assert ERRNOS[kind] in (errno.EIO, errno.EACCES)

"""open_sources: the order in which a model's sources are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusefs.errors import SourceError
from fusefs.sources.order import open_sources
from fusefs.sources.retry import Retrying
from fusefs.values.counters import Counters
from fusefs.values.names import Name
from fusefs.values.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def test_local_stores_come_before_the_registry(tmp_path: Path) -> None:
    stores = [tmp_path / "one", tmp_path / "two"]
    sources = open_sources(
        Name.parse("http://127.0.0.1:1/a/b"), stores=stores, settings=Settings(), counters=Counters()
    )
    assert [source.label for source in sources] == [str(stores[0]), str(stores[1]), "127.0.0.1:1"]
    assert all(isinstance(source, Retrying) for source in sources)
    for source in sources:
        source.close()


def test_a_host_that_fits_no_url_is_an_error() -> None:
    """`host:https` is within the grammar of names."""
    with pytest.raises(SourceError, match="not a strict http or https URL"):
        open_sources(Name.parse("host:https/ns/m"), stores=[], settings=Settings(), counters=Counters())

"""Parameters of a test that takes long: the default run has the first of them, the others are slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _pytest.mark.structures import ParameterSet


def one_soon(values: Sequence[object]) -> list[ParameterSet]:
    """For `parametrize`: the first value as it is, and the others marked as slow; a tuple is one value a name."""
    sets = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*one, marks=[pytest.mark.slow] if number else []) for number, one in enumerate(sets)]

"""What to say of a name that is not served: the names that are close to it, or how to list all."""

from __future__ import annotations

import difflib
from itertools import islice
from typing import TYPE_CHECKING

from fusefs.offers.catalog import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOOKED_AT = 1000
"""Names that are compared at most: that takes a few milliseconds, and anybody may ask."""

_SHOWN = 3

_LONGEST = 200
"""Characters of a name that somebody asked for, in an answer."""


def unknown_name(asked: str, served: Iterable[str]) -> Refused:
    """The error for a model that is not there.

    Args:
        asked: `<namespace>/<model>`, or anything else that somebody put in its place.
        served: what may be listed to anybody.
    """
    known = list(islice(served, _LOOKED_AT))
    close = close_names(asked, known)
    text = f"there is no model {asked[:_LONGEST]}"
    if close:
        return Refused("NAME_UNKNOWN", f"{text}; did you mean {' or '.join(close)}?")
    if not known:
        return Refused("NAME_UNKNOWN", f"{text}; nothing is served")
    return Refused("NAME_UNKNOWN", f"{text}; /v2/_catalog lists what there is")


def close_names(asked: str, known: list[str]) -> list[str]:
    """Those of `known` that somebody may have meant: without regard to case, and to what stands before the model."""
    by_model: dict[str, list[str]] = {}
    for name in known:
        by_model.setdefault(_model(name), []).append(name)
    matches = difflib.get_close_matches(_model(asked[:_LONGEST]), by_model, n=_SHOWN, cutoff=0.6)
    return [name for match in matches for name in by_model[match]][:_SHOWN]


def _model(name: str) -> str:
    return name.rpartition("/")[2].lower()

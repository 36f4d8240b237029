"""What to say of a name that is not served: the names that are close to it, or how to list all."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from fusefs.offers.catalog import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOOKED_AT = 1000
"""Names that are compared at most: that takes a few milliseconds, and anybody may ask."""

_SHOWN = 3

_CLOSE = 0.45
"""`tiny` and `acme--tiny` are that close, `tiny` and `tokenizer` are not."""

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
    """Those of `known` that somebody may have meant, the closest first.

    Case does not count, nor what stands before the model: who leaves that out asks for `library/model`.  The measure is
    Dice's, of the pairs of letters: it takes no longer for names that were made to take long, as edit distances do.
    """
    wanted = _pairs(asked[:_LONGEST])
    close = []
    for name in known:
        pairs = _pairs(name)
        closeness = 2 * len(wanted & pairs) / (len(wanted) + len(pairs))
        if closeness >= _CLOSE:
            close.append((-closeness, name))
    return [name for _, name in sorted(close)[:_SHOWN]]


def _pairs(name: str) -> set[str]:
    text = f" {name.rpartition('/')[2].lower()} "
    return {text[i : i + 2] for i in range(len(text) - 1)}

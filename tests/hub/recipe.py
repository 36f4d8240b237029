"""Recipe: how the CAS tells a client to put a file, or a range of it, together again (both versions of the answer)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.hub.packing import hash_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.hub.packing import PackedFile, Xorb

Span = tuple[int, int]
"""Start and stop, exclusive."""

Sign = Callable[[str, list[Span]], str]
"""Gives a URL for byte ranges (inclusive ends) of a xorb."""


@dataclass(frozen=True)
class _Part:
    """What is needed of one term: a run of the chunks of a xorb."""

    xorb: str
    start: int
    stop: int
    size: int


class Recipe:
    """The terms of a file that cover its bytes `start` to `stop`.

    Args:
        packed: the file.
        xorbs: by name.
        start: first byte.
        stop: behind the last one.
        whole_terms: terms are given as they were stored; else without the chunks that are not needed.
    """

    def __init__(
        self, packed: PackedFile, xorbs: Mapping[str, Xorb], start: int, stop: int, *, whole_terms: bool = False
    ) -> None:
        self._xorbs = xorbs
        self._parts: list[_Part] = []
        self._skipped = 0
        off = 0
        for term in packed.terms:
            name = hash_text(term.xorb)
            spans = _spans(off, [size for _, size in xorbs[name].chunks[term.start : term.stop]])
            off = spans[-1][1]
            wanted = [i for i, (first, end) in enumerate(spans) if first < stop and end > start]
            if not wanted:
                continue
            low, high = (0, len(spans) - 1) if whole_terms else (wanted[0], wanted[-1])
            if not self._parts:
                self._skipped = start - spans[low][0]
            size = spans[high][1] - spans[low][0]
            self._parts.append(_Part(name, term.start + low, term.start + high + 1, size))

    def v2(self, sign: Sign) -> dict[str, Any]:
        """The answer of `/v2/reconstructions`: one URL a xorb, for all its ranges."""
        xorbs = {}
        for name, runs in self._runs().items():
            ranges = [{"chunks": _range(run), "bytes": _range(self._bytes(name, run))} for run in runs]
            url = sign(name, [self._bytes(name, run) for run in runs])
            xorbs[name] = [{"ranges": ranges, "url": url}]
        return self._answer("xorbs", xorbs)

    def v1(self, sign: Sign) -> dict[str, Any]:
        """The answer of `/v1/reconstructions`: one URL a range."""
        fetches = {
            name: [
                {"range": _range(run), "url": sign(name, [span]), "url_range": _range(span)}
                for run, span in ((run, self._bytes(name, run)) for run in runs)
            ]
            for name, runs in self._runs().items()
        }
        return self._answer("fetch_info", fetches)

    def _answer(self, key: str, fetches: dict[str, Any]) -> dict[str, Any]:
        terms = [
            {"hash": part.xorb, "range": _range((part.start, part.stop)), "unpacked_length": part.size}
            for part in self._parts
        ]
        return {"offset_into_first_range": self._skipped, "terms": terms, key: fetches}

    def _runs(self) -> dict[str, list[Span]]:
        """The chunks that are needed of each xorb, as runs that neither meet nor overlap."""
        found: dict[str, list[Span]] = {}
        for part in sorted(self._parts, key=lambda part: part.start):
            runs = found.setdefault(part.xorb, [])
            if runs and part.start <= runs[-1][1]:
                runs[-1] = (runs[-1][0], max(runs[-1][1], part.stop))
            else:
                runs.append((part.start, part.stop))
        return found

    def _bytes(self, name: str, run: Span) -> Span:
        offsets = self._xorbs[name].offsets
        return offsets[run[0]], offsets[run[1]] - 1


def _spans(off: int, sizes: list[int]) -> list[Span]:
    found = []
    for size in sizes:
        found.append((off, off + size))
        off += size
    return found


def _range(span: Span) -> dict[str, int]:
    return {"start": span[0], "end": span[1]}

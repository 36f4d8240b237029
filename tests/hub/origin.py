"""Origin: one of the hosts that the scripted Hub is made of, with faults, changed answers, and counts by kind."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.faulty_registry import FaultyRegistry
from tests.hub.refusal import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faulty_registry import Request
    from tests.wire_faults import Answer, Fault

KINDS = {
    "token": r"/xet-read-token/",
    "tree": r"^/api/(models|datasets|spaces)/.*/tree/",
    "paths": r"^/api/.*/paths-info/",
    "refs": r"^/api/.*/refs$",
    "cached": r"^/api/resolve-cache/",
    "info": r"^/api/",
    "resolve": r"/resolve/",
    "reconstruction": r"^/v[12]/reconstructions",
    "proof": r"^/v2/file-chunk-hashes/",
    "xorb": r"^/xorbs/",
    "bridge": r"^/xet-bridge-us/",
    "lfs": r"^/repos/",
    "other": "",
}
"""What requests are about: the first pattern that is found in the path."""


def kind_of(path: str) -> str:
    """The kind of a request; a proxy is asked for a whole URL."""
    return next(kind for kind, pattern in KINDS.items() if re.search(pattern, urlsplit(path).path))


def edited(edit: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    """A change of a JSON document: `edit` changes it in place, or gives another one."""

    def change(body: bytes) -> bytes:
        document = json.loads(body)
        other = edit(document)
        return json.dumps(document if other is None else other).encode()

    return change


class Origin(FaultyRegistry):
    """A FaultyRegistry without models: what it answers is made by `answering`.

    Attributes:
        answering: makes the right answer to a request, or raises `Refused`.
        count: requests by kind.
        volume: bytes of bodies that went out, by kind.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.answering: Callable[[Request], Answer]
        self.count: Counter[str] = Counter()
        self.volume: Counter[str] = Counter()
        self._changes: list[tuple[str, Callable[[bytes], bytes], int | None]] = []

    @property
    def authorizations(self) -> set[str]:
        """Every `Authorization` that came here."""
        return {request.headers["authorization"] for request in self.requests if "authorization" in request.headers}

    def change(self, kind: str, how: Callable[[bytes], bytes], *, times: int | None = None) -> None:
        """Change the bodies of the next `times` good answers of a kind, or of all of them."""
        with self._lock:
            self._changes.append((kind, how, times))

    def clear_faults(self) -> None:
        """Behave: faults and changes end."""
        super().clear_faults()
        with self._lock:
            self._changes.clear()

    def _take_fault(self, request: Request) -> Fault | None:
        return super()._take_fault(replace(request, path=f"{kind_of(request.path)} {request.path}"))

    def _answer(self, request: Request) -> Answer:
        kind = kind_of(request.path)
        try:
            answer = self.answering(request)
        except Refused as refused:
            answer = refused.answer
        with self._lock:
            self.count[kind] += 1
            change = self._take_change(kind) if answer.status in (200, 206) else None
        if change is not None:
            answer = replace(answer, body=change(answer.body))

        def on_sent(size: int) -> None:
            with self._lock:
                self.volume[kind] += size

        return replace(answer, on_sent=on_sent)

    def _take_change(self, kind: str) -> Callable[[bytes], bytes] | None:
        for place, (one, how, times) in enumerate(self._changes):
            if one == kind and times != 0:
                self._changes[place] = (one, how, times if times is None else times - 1)
                self.injected += 1
                return how
        return None

"""Refusals: what the Hub says instead of an answer, with the headers that its library looks at."""

from __future__ import annotations

import json

from tests.wire_faults import Answer


class Refused(Exception):
    """Ends the making of an answer: this one is sent instead."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def refusal(status: int, message: str, code: str | None = None, **headers: str) -> Refused:
    """A refusal in the Hub's words; underscores in the names of headers are hyphens."""
    told = {"Content-Type": "application/json; charset=utf-8", "X-Error-Message": message}
    if code is not None:
        told["X-Error-Code"] = code
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Refused(Answer(status, json.dumps({"error": message}).encode(), told))

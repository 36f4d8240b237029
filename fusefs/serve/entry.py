"""Guard: lets in who has a password, before anything of a request is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from starlette.datastructures import Headers
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from fusefs.serve.passwords import Passwords

_CHECKS = 2
"""Passwords that are hashed at a time: who guesses many must not take all cores."""


class Guard:
    """An ASGI application round another."""

    def __init__(self, app: ASGIApp, passwords: Passwords) -> None:
        self._app = app
        self._passwords = passwords
        self._checks = trio.CapacityLimiter(_CHECKS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have it answered."""
        answer = self._app if await self._admits(Headers(scope=scope).getlist("authorization")) else _refusal()
        await answer(scope, receive, send)

    async def _admits(self, given: list[str]) -> bool:
        if len(given) != 1:
            return False
        return self._passwords.knows(given[0]) or await trio.to_thread.run_sync(
            self._passwords.admits, given[0], limiter=self._checks
        )


def _refusal() -> JSONResponse:
    errors = [{"code": "UNAUTHORIZED", "message": "want a user and a password that the operator of this server gave"}]
    return JSONResponse({"errors": errors}, 401, {"WWW-Authenticate": 'Basic realm="fusefs", charset="UTF-8"'})

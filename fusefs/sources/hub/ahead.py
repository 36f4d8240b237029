"""Ahead: threads that make requests before their answers are needed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from fusefs.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

P = ParamSpec("P")
T = TypeVar("T")


class Ahead:
    """At most `most` threads; what they do ends when the transport is closed."""

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, "fusefs-ahead")

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `call` made.

        Raises:
            Cancelled: it was closed.
        """
        try:
            return self._pool.submit(call, *args, **kwargs)
        except RuntimeError as exc:
            raise Cancelled("the source is closed") from exc

    def close(self) -> None:
        """Begin nothing more; does not wait.  Idempotent."""
        self._pool.shutdown(wait=False)

"""RateLimit: how many requests the Hub still answers in this window, by bucket, and how it says so."""

from __future__ import annotations

import time

from tests.hub.refusal import refusal

BUCKETS = {"cached": "resolvers", "resolve": "resolvers"}
"""By the kind of a request; all others count as `api`."""


class RateLimit:
    """Limits that are set by `limit`; without one all is answered, and nothing said of it."""

    def __init__(self) -> None:
        self._quotas: dict[str, tuple[int, float]] = {}
        self._windows: dict[str, tuple[float, int]] = {}
        self.refused = 0

    def limit(self, bucket: str, quota: int, window: float) -> None:
        """Answer `quota` requests of a bucket in each window of so many seconds, which begins with the first one."""
        self._quotas[bucket] = (quota, window)
        self._windows.pop(bucket, None)

    def take(self, kind: str) -> dict[str, str]:
        """Count a request.  Returns the headers that say how many are left, or raises what refuses it."""
        bucket = BUCKETS.get(kind, "api")
        if bucket not in self._quotas:
            return {}
        quota, window = self._quotas[bucket]
        now = time.monotonic()
        ends, left = self._windows.get(bucket, (0.0, 0))
        if now >= ends:
            ends, left = now + window, quota
        self._windows[bucket] = (ends, max(0, left - 1))
        headers = {
            "RateLimit": f'"{bucket}";r={max(0, left - 1)};t={int(ends - now) + 1}',
            "RateLimit-Policy": f'"fixed window";"{bucket}";q={quota};w={max(1, int(window))}',
        }
        if left:
            return headers
        self.refused += 1
        refused = refusal(429, "We had to rate limit you")
        refused.answer.headers.update(headers)
        raise refused

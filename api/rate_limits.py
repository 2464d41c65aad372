"""Refuses the requests of a key that asks more often than it may, and tells every caller where it stands.

The tokens of pages count against the key that made them, or else a key could multiply what it may. Nothing of it runs
where no limit is set.
"""

import math

from flask import Flask, Response, g, request

from shared.errors import TooManyRequests
from shared.rate_limits import RateLimits
from shared.settings import Settings

_CREATES, _REQUESTS = "creates", "requests"
_MAKES_JOBS = ("/predictions", "/trainings")


def register_rate_limits(app: Flask, limits: RateLimits, settings: Settings) -> None:
    """Makes the application count requests by key, where the settings ask for it; after ``register_auth``."""
    per_minute = {
        _CREATES: settings.http.rate_limit_creates_per_minute,
        _REQUESTS: settings.http.rate_limit_requests_per_minute,
    }
    if not any(per_minute.values()):
        return

    def count() -> None:
        key = g.get("key")
        rule = request.url_rule
        if key is None or rule is None:
            return
        kind = _CREATES if request.method == "POST" and rule.rule.endswith(_MAKES_JOBS) else _REQUESTS
        limit = per_minute[kind]
        if not limit:
            return
        found = limits.take(kind, key.made_by or key.id, limit)
        reset = max(1, math.ceil(found.full_seconds if found.is_allowed else found.next_seconds))
        g.rate_limit = (limit, min(limit, found.remaining), reset)
        if not found.is_allowed:
            raise TooManyRequests(f"Request was throttled. Your rate limit resets in ~{reset}s.", reset)

    def tell(response: Response) -> Response:
        if "rate_limit" in g:
            for name, value in zip(("Limit", "Remaining", "Reset"), g.rate_limit, strict=True):
                response.headers[f"RateLimit-{name}"] = str(value)
        return response

    app.before_request(count)
    app.after_request(tell)

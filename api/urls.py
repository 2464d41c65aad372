"""Absolute URLs for replies; a ``Host`` header counts only where it is trusted."""

from functools import lru_cache

from flask import request

from shared.public_url import public_base
from shared.settings import Settings


class Urls:
    """Makes URLs that begin with the public address of the service.

    Args:
        settings: The process's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._public = settings.http.public_url.rstrip("/")
        self._trusted = frozenset(host.lower() for host in settings.http.trusted_hosts)
        self._settings = settings
        self._of_host = lru_cache(maxsize=256)(self._look)

    @property
    def base(self) -> str:
        """The address without a slash at its end, for the request under way."""
        return self._public or self._of_host(request.environ.get("HTTP_HOST", ""), request.scheme)

    def __call__(self, path: str) -> str:
        """The URL of a path, which begins with a slash."""
        return self.base + path

    def _look(self, host: str, scheme: str) -> str:
        name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
        if name.lower() in self._trusted:
            return f"{scheme}://{host}"
        return public_base(self._settings)

"""Loads the scripts and calls them by their digest.

Every file in ``scripts/`` is one operation; the line ``--@lib`` in it stands for ``lib.lua``. The first comment of a
file says its arguments and its answer.
"""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError

from shared.connections import Redis, translated


@cache
def sources() -> dict[str, str]:
    """The whole text of every script, by name."""
    texts = {
        entry.name.removesuffix(".lua"): entry.read_text("utf-8")
        for entry in files("shared.jobs").joinpath("scripts").iterdir()
        if entry.name.endswith(".lua")
    }
    head = texts.pop("lib")
    return {name: text.replace("--@lib", head, 1) for name, text in texts.items()}


@cache
def _digests() -> dict[str, str]:
    return {name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in sources().items()}


class Scripts:
    """Calls the scripts on one server.

    Args:
        redis: The server.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._digests = _digests()

    def call(self, name: str, tag: str, *args: Any, now: int = 0) -> Any:
        """Runs one script.

        Args:
            name: Its file's name without the ending.
            tag: The shard's tag, its only key.
            args: What follows the clock.
            now: The clock in milliseconds; 0 for the server's own.

        Raises:
            Unavailable: Redis does not answer.
            TooManyRequests: The server's memory is full.
        """
        with translated():
            try:
                return self._redis.evalsha(self._digests[name], 1, tag, now, *args)
            except NoScriptError:
                return self._redis.eval(sources()[name], 1, tag, now, *args)

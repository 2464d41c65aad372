"""Signs URLs that need no key: what they open, whose it is and until when is in the signature.

Every purpose has a key of its own, derived from one secret in Redis, so that all hosts of a service agree and a
signature for one purpose opens nothing of another.
"""

import base64
import hmac
import re
import secrets
import time
from typing import Any

from shared.connections import Redis, open_keyspace, translated
from shared.settings import Settings

_TOKEN = re.compile(r"([0-9]{1,15})-[0-9A-Za-z]{43}")
_LENGTH = 43  # of base 64, for 256 bits


class SignedUrls:
    """Makes and checks the tokens of signed URLs.

    Args:
        redis: The server, which holds the secret.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._name = open_keyspace(settings).plain("url-secret")
        self._keys: dict[str, bytes] = {}

    def sign(self, purpose: str, account: str, id: str, expires_at: int) -> str:
        """A token that opens one thing until a moment; letters, digits and one dash, so that no URL has to escape it.

        Args:
            purpose: What the token is for, for example ``stream``.
            account: Whose the thing is.
            id: Which thing.
            expires_at: When the token stops working, in whole seconds since the epoch.
        """
        return f"{expires_at}-{_text(self.digest(purpose, account, id, str(expires_at)))}"

    def check(self, purpose: str, account: str, id: str, token: str) -> bool:
        """Whether a token opens this thing now; the comparison takes the same time whatever it finds."""
        form = _TOKEN.fullmatch(token)
        if form is None or int(form[1]) <= time.time():
            return False
        return hmac.compare_digest(self.sign(purpose, account, id, int(form[1])), token)

    def digest(self, purpose: str, *parts: str) -> bytes:
        """The HMAC-SHA256 of texts under a purpose's key; where one text ends and the next begins is part of it."""
        return hmac.digest(self.key(purpose), b"".join(_framed(part) for part in parts), "sha256")

    def key(self, purpose: str) -> bytes:
        """The key of a purpose, the same in every process of the service.

        Raises:
            Unavailable: Redis does not answer, and the key was never needed before.
        """
        if purpose not in self._keys:
            fresh = secrets.token_bytes(32)
            with translated():
                known: Any = self._redis.set(self._name, fresh, nx=True, get=True)
            self._keys[purpose] = hmac.digest(known or fresh, b"headrace url " + purpose.encode(), "sha256")
        return self._keys[purpose]


def _framed(part: str) -> bytes:
    data = part.encode()
    return len(data).to_bytes(4, "big") + data


def _text(digest: bytes) -> str:
    # Letters and digits alone, and in one step: two letters stand for two characters each, which costs it few bits.
    return base64.b64encode(digest, b"Aa").decode()[:_LENGTH]

"""Signs and checks the links that download a file, in the form that the wire contract documents.

The signature is the base64 HMAC-SHA256 of ``"{owner} {id} {expiry}"``, under a key of the owner's own.
"""

import base64
import hmac
import time
from urllib.parse import urlencode

from shared.files import StoredFile
from shared.settings import Settings
from shared.signed_urls import SignedUrls

_PURPOSE = "file-download"


class FileLinks:
    """Makes the links of one service.

    Args:
        signed: Holds the keys.
        settings: The process's settings.
    """

    def __init__(self, signed: SignedUrls, settings: Settings) -> None:
        self._signed = signed
        self._seconds = settings.files.url_seconds

    def path(self, file: StoredFile) -> str:
        """Path and query of a link that works for a while, at most as long as the file is there."""
        expiry = str(int(min(file.expires_at, time.time() + self._seconds)))
        signature = self._signature(file.account, file.id, expiry)
        query = urlencode({"owner": file.account, "expiry": expiry, "signature": signature})
        return f"/v1/files/{file.id}/download?{query}"

    def allows(self, owner: str, file_id: str, expiry: str, signature: str) -> bool:
        """Whether a link is one of ours and its time is not over; both are told in the same time."""
        # A plus sign that a client did not escape arrives as a space.
        is_ours = hmac.compare_digest(
            self._signature(owner, file_id, expiry).encode(), signature.replace(" ", "+").encode()
        )
        is_time = expiry.isascii() and expiry.isdigit() and len(expiry) <= 12 and int(expiry) > time.time()
        return is_ours and is_time

    def _signature(self, owner: str, file_id: str, expiry: str) -> str:
        key = self._signed.digest(_PURPOSE, owner)
        return base64.b64encode(hmac.digest(key, f"{owner} {file_id} {expiry}".encode(), "sha256")).decode()

"""Finds the URLs among the images of an input, and puts in their place where their bytes are or will be.

A URL of one of our own files means the file itself, under whatever address a client knows us; no request is made for
it. Any other URL is fetched by an io worker before the job joins its queue.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from shared.artifacts import REFERENCE
from shared.errors import InvalidInput
from shared.files import Files
from shared.http_client import Guard, lane_of
from shared.jobs.new_job import fetched_path
from shared.models.signature import Signature, TensorKind
from shared.public_url import public_base
from shared.settings import Settings

_FILE = re.compile(r"(?:/v1)*/files/([^/]+)(?:/download)?/?")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class PlacedInput:
    """An input without URLs."""

    value: Any
    sources: Mapping[str, str] = field(default_factory=dict)
    """What stands in the input, and the URL that stood there."""
    fetch_host: str = ""
    """Where the first URL leads that has to be fetched, ``host:port``; empty where there is none."""
    file_bytes: int = 0
    """Bytes of the files that are here already."""

    @property
    def details(self) -> Mapping[str, Any]:
        """What the job has to know of it."""
        return {"sources": self.sources} if self.sources else {}


class InputUrls:
    """Knows which URLs are ours.

    Args:
        settings: The process's settings.
        files: The files of accounts.
        guard: Knows where requests may go.
    """

    def __init__(self, settings: Settings, files: Files, guard: Guard) -> None:
        self._settings = settings
        self._files = files
        self._guard = guard
        self._trusted = frozenset(host.lower() for host in settings.http.trusted_hosts)

    def place(self, signature: Signature, value: Any, job_id: str, account: str, base: str) -> PlacedInput:
        """Replaces the URLs of an input.

        Args:
            signature: What the version takes.
            value: The input, not checked yet.
            job_id: The job that it is for.
            account: Whose files it may name.
            base: What our own URLs begin with in the reply to this request.

        Raises:
            InvalidInput: A URL names a file that the account does not have, or goes where no request may go.
        """
        if not isinstance(value, Mapping):
            return PlacedInput(value)
        found: dict[str, str] = {}
        names = [spec.name for spec in signature.inputs if spec.kind is TensorKind.IMAGE]
        for name in names:
            given = value.get(name)
            if isinstance(given, str):
                if is_url(given):
                    found.setdefault(given, name)
            elif isinstance(given, list):
                for url in filter(is_url, given):
                    found.setdefault(url, name)
        if not found:
            return PlacedInput(value)
        places, fetch_host, size = self._places(found, job_id, account, base)

        def placed(given: Any) -> Any:
            if isinstance(given, list):
                return [places.get(item, item) if isinstance(item, str) else item for item in given]
            return places.get(given, given) if isinstance(given, str) else given

        whole = {name: placed(given) if name in names else given for name, given in value.items()}
        return PlacedInput(whole, {place: url for url, place in places.items()}, fetch_host, size)

    def _places(
        self, found: Mapping[str, str], job_id: str, account: str, base: str
    ) -> tuple[Mapping[str, str], str, int]:
        """A place in the artifact store for each URL, the lane of the first foreign one, and the bytes of our own."""
        ours = self._ours(base)
        ids = {url: file_id for url in found if (file_id := self._file_id(url, ours)) is not None}
        files = {file.id: file for file in self._files.read(account, list(dict.fromkeys(ids.values())))}
        places: dict[str, str] = {}
        lane, count, size = "", 0, 0
        for url, name in found.items():
            file_id = ids.get(url)
            if file_id is None:
                of_url = lane_of(url, self._guard, f"input.{name}")
                lane = lane or of_url
                places[url] = REFERENCE + fetched_path(job_id, count)
                count += 1
            elif file_id in files:
                places[url] = REFERENCE + files[file_id].path
                size += files[file_id].size
            else:
                raise InvalidInput(
                    f"{name} names a file that is unknown: it has expired or been deleted, or is another account's.",
                    f"input.{name}",
                    "unknown_file",
                )
        return places, lane, size

    def _ours(self, base: str) -> Mapping[tuple[str, int], str]:
        """Our addresses, each with the path that comes before the one of a route."""
        addresses = {}
        for url in (base, public_base(self._settings)):
            parts = urlsplit(url)
            addresses[parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)] = parts.path.rstrip("/")
        return addresses

    def _file_id(self, url: str, ours: Mapping[tuple[str, int], str]) -> str | None:
        """The id in a URL of a file of ours; ``None`` for a URL that is somebody else's."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme.lower(), 0)
        except ValueError:
            return None
        is_trusted = host in self._trusted or f"[{host}]" in self._trusted
        prefix = ours.get((host, port), "" if is_trusted else None)
        if prefix is None or "@" in parts.netloc:
            return None
        match = _FILE.fullmatch(parts.path.removeprefix(prefix))
        return match[1] if match else None


def is_url(text: Any) -> bool:
    """Whether a value of an input is a web address; base64 has no colon."""
    return isinstance(text, str) and text[:8].lower().startswith(("http://", "https://"))

"""Finds the URLs in an input that stand for files: puts texts in their place, and of images where their bytes lie.

A URL of one of our own files means the file itself, under whatever address a client knows us; no request is made for
it. Any other URL is fetched by an io worker before the job joins its queue, if it stands for an image; where a text
belongs, it is one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from api.text_files import data_url_content, text_of
from shared.artifacts import REFERENCE, ArtifactStore
from shared.errors import InvalidInput
from shared.files import Files, StoredFile
from shared.http_client import Guard, lane_of
from shared.jobs.new_job import fetched_path
from shared.models.signature import Signature, TensorKind
from shared.public_url import public_base
from shared.settings import Settings

_FILE = re.compile(r"(?:/v1)*/files/([^/]+)(?:/download)?/?")
_TEXT_URL = re.compile(r"\S{1,4096}")
_FILE_ID = re.compile(r"[0-9a-z]{26}")
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
        artifacts: Where their bytes lie.
        guard: Knows where requests may go.
    """

    def __init__(self, settings: Settings, files: Files, artifacts: ArtifactStore, guard: Guard) -> None:
        self._settings = settings
        self._files = files
        self._artifacts = artifacts
        self._guard = guard
        self._trusted = frozenset(host.lower() for host in settings.http.trusted_hosts)

    def place(
        self, signature: Signature, value: Any, job_id: str, account: str, base: str, *, shows_texts: bool = True
    ) -> PlacedInput:
        """Replaces the URLs of an input.

        Args:
            signature: What the version takes.
            value: The input, not checked yet.
            job_id: The job that it is for.
            account: Whose files it may name.
            base: What our own URLs begin with in the reply to this request.
            shows_texts: Whether the caller may see what the account's files hold, as a job shows its texts.

        Raises:
            InvalidInput: A URL names a file that the account does not have, or goes where no request may go; or a file
                in the place of a text is none, or too large.
        """
        if not isinstance(value, Mapping):
            return PlacedInput(value)
        value = self._with_texts(_names(signature, TensorKind.TEXT), value, account if shows_texts else "", base)
        found: dict[str, str] = {}
        names = _names(signature, TensorKind.IMAGE)
        for name in names:
            for url in filter(is_url, _items(value.get(name))):
                found.setdefault(url, name)
        if not found:
            return PlacedInput(value)
        places, fetch_host, size = self._places(found, job_id, account, base)
        whole = {name: _replaced(given, places) if name in names else given for name, given in value.items()}
        return PlacedInput(whole, {place: url for url, place in places.items()}, fetch_host, size)

    def _with_texts(self, names: Sequence[str], value: Mapping[str, Any], account: str, base: str) -> Mapping[str, Any]:
        """The input with the text of each file where a text belongs; texts are small, so they are read at once."""
        given = [(name, text) for name in names for text in _items(value.get(name)) if _may_be_file(text)]
        if not given:
            return value
        texts: dict[str, str] = {}
        ours, ids = self._ours(base), dict[str, str]()
        for name, text in given:
            if text in texts or text in ids:
                continue
            if not is_url(text):
                content = data_url_content(text, f"input.{name}")
                if content is not None:
                    texts[text] = text_of(content, f"input.{name}")
            elif _TEXT_URL.fullmatch(text) and _FILE_ID.fullmatch(file_id := self._file_id(text, ours) or ""):
                ids[text] = file_id
        if ids:
            texts |= self._texts_of_files([(name, text) for name, text in given if text in ids], ids, account)
        return {name: _replaced(text, texts) if name in names else text for name, text in value.items()}

    def _texts_of_files(
        self, given: Sequence[tuple[str, str]], ids: Mapping[str, str], account: str
    ) -> Mapping[str, str]:
        """The texts of files of ours by their URLs, after a look at how long they are in all."""
        files = self._stored(ids.values(), account)
        names = {url: name for name, url in given}
        size, most = 0, self._settings.http.max_body_bytes
        for url, count in Counter(url for _, url in given).items():
            if ids[url] not in files:
                raise _unknown_file(names[url])
            size += count * files[ids[url]].size
            if size > most:  # as much as the same texts may have inside the body
                raise InvalidInput(
                    f"The texts in files have more than the {most} bytes that a request may bring.",
                    f"input.{names[url]}",
                    "range",
                )
        texts = {}
        for url, name in names.items():
            try:
                content = self._artifacts.read(files[ids[url]].path)
            except FileNotFoundError:
                raise _unknown_file(name) from None
            texts[url] = text_of(content, f"input.{name}")
        return texts

    def _stored(self, ids: Iterable[str], account: str) -> Mapping[str, StoredFile]:
        return {file.id: file for file in self._files.read(account, list(dict.fromkeys(ids)))}

    def _places(
        self, found: Mapping[str, str], job_id: str, account: str, base: str
    ) -> tuple[Mapping[str, str], str, int]:
        """A place in the artifact store for each URL, the lane of the first foreign one, and the bytes of our own."""
        ours = self._ours(base)
        ids = {url: file_id for url in found if (file_id := self._file_id(url, ours)) is not None}
        files = self._stored(ids.values(), account)
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
                raise _unknown_file(name)
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


def _may_be_file(text: Any) -> bool:
    return isinstance(text, str) and text[:8].lower().startswith(("http://", "https://", "data:"))


def _names(signature: Signature, kind: TensorKind) -> Sequence[str]:
    return [spec.name for spec in signature.inputs if spec.kind is kind]


def _items(given: Any) -> Sequence[Any]:
    """The rows of a value, if it has any that may be files."""
    return given if isinstance(given, list) else (given,)


def _replaced(given: Any, others: Mapping[str, str]) -> Any:
    if isinstance(given, list):
        return [others.get(item, item) if isinstance(item, str) else item for item in given]
    return others.get(given, given) if isinstance(given, str) else given


def _unknown_file(name: str) -> InvalidInput:
    return InvalidInput(
        f"{name} names a file that is unknown: it has expired or been deleted, or is another account's.",
        f"input.{name}",
        "unknown_file",
    )

"""Speaks to the API for the other commands: repeats what is safe to repeat, and makes each error one sentence."""

import re
import shlex
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from cli.data_folder import DataFolder
from cli.multipart import MultipartFile
from cli.own_certificate import authorities, trust
from cli.terminal import Failure, read_text
from shared.jobs.job import JobStatus
from shared.settings import load_settings

CONNECT_SECONDS = 5.0
READ_SECONDS = 120.0
PATIENCE_SECONDS = 30.0
"""How long a server that does not answer, or answers 5xx, is asked again."""
FIRST_PATIENCE_SECONDS = 1.0
"""The same for a server that has not answered once: most likely it does not run."""
MAX_PAUSE_SECONDS = 60.0
MAX_CONNECTIONS = 128
TERMINAL = frozenset(status.value for status in JobStatus if status.is_terminal)

_REPEATABLE = (502, 503, 504)
_LISTS = re.compile(r"GET /v1/(models|datasets|jobs) lists")

Job = dict[str, Any]


class RequestRefused(Failure):
    """Raised when the server answers with an error.

    Args:
        status: The HTTP status.
        sentence: What the server says.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class _Bearer(requests.auth.AuthBase):
    """Sends the key; as an auth object it is safe from a ``.netrc`` file."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class Client:
    """One server, one key; may be used by several threads.

    Args:
        url: Address of the server, without ``/v1``.
        api_key: The key.
        pause: Waits that many seconds.
        certificate: The server's own certificate, which makes it ours whatever its name.
        ca_file: Who signed the server's certificate.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        pause: Callable[[float], object] = time.sleep,
        *,
        certificate: Path | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self.pause = pause
        self._has_answered = False
        self.option = ""
        """What a suggested command must add to reach the same server."""
        self._session = requests.Session()
        self._session.auth = _Bearer(api_key)
        self._session.headers["User-Agent"] = "headrace-cli"
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=MAX_CONNECTIONS)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        self._session.verify = authorities(self.url, ca_file)
        trust(self._session, certificate, pool_connections=1, pool_maxsize=MAX_CONNECTIONS)
        # A proxy for the outer world has no business between two processes of one machine.
        self._session.trust_env = urlsplit(self.url).hostname not in ("127.0.0.1", "localhost", "::1")

    @classmethod
    def of_folder(cls, data_dir: Path | None) -> Self:
        """The client for the settings, or else for the server that runs on the data folder.

        Raises:
            Failure: No server is known.
        """
        settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
        folder = DataFolder(settings.data_dir)
        own = folder.address.read_text().strip() if folder.address.exists() else ""
        url = settings.client.url or own
        if not url:
            raise Failure(
                f"No server runs on {folder.root}; start one with `headrace up`, "
                "name its folder with --data-dir, or set HEADRACE_CLIENT__URL."
            )
        key = settings.client.api_key
        if not key and url == own and folder.api_key.exists():  # the folder's key is for the folder's server alone
            key = read_text(folder.api_key, folder.api_key.read_text).strip()
        if not key:
            raise Failure(f"Set HEADRACE_CLIENT__API_KEY to a key for {url}.")
        certificate = settings.http.tls_certificate if url == own else None
        client = cls(url, key, certificate=certificate, ca_file=settings.client.ca_file)
        client.option = f" --data-dir {shlex.quote(str(data_dir))}" if data_dir else ""
        return client

    def close(self) -> None:
        """Closes the connections, which the server would wait for when it stops."""
        self._session.close()

    def get(self, path: str, **query: Any) -> Any:
        """What lies at a path; repeated while the server is away or busy."""
        return self._send("GET", path, query=query, is_repeatable=True)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """The answer to a JSON body; repeated only where the server said that it was too busy."""
        return self._send("POST", path, query=query, json=body)

    def put(self, path: str, body: Any) -> Any:
        """The answer to a JSON body; a put changes nothing when repeated."""
        return self._send("PUT", path, json=body, is_repeatable=True)

    def delete(self, path: str) -> None:
        """Removes what lies at a path."""
        self._send("DELETE", path)

    def create_job(
        self,
        path: str,
        body: Any = None,
        *,
        content: bytes | None = None,
        content_type: str = "application/json",
        wait_seconds: int = 0,
        query: Mapping[str, Any] | None = None,
        patience_seconds: float | None = None,
    ) -> Job:
        """Creates one job, whatever is lost on the way: an idempotency key makes repetitions safe.

        Args:
            path: Where.
            body: A JSON body.
            content: Another body, in place of it.
            content_type: What ``content`` is.
            wait_seconds: How long the server may hold the answer for the end of the job.
            query: Options in the query.
            patience_seconds: How long a full queue is waited for; for ever unless given.
        """
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        if wait_seconds:
            headers["Prefer"] = f"wait={wait_seconds}"
        if content is not None:
            headers["Content-Type"] = content_type
        job: Job = self._send(
            "POST",
            path,
            query=query or {},
            json=body,
            data=content,
            headers=headers,
            is_repeatable=True,
            busy_seconds=float("inf") if patience_seconds is None else patience_seconds,
        )
        return job

    def upload(
        self,
        path: str,
        fields: Mapping[str, str],
        file: Path,
        on_read: Callable[[int], None] | None = None,
        part: str = "file",
    ) -> Job:
        """Sends a file with its fields as a stream; not repeated."""
        with MultipartFile(fields, file, on_read, part) as body:
            job: Job = self._send("POST", path, data=body, headers={"Content-Type": body.content_type}, busy_seconds=0)
        return job

    def stream(self, path: str) -> requests.Response:
        """The answer at a path, to be read in pieces and closed; not repeated."""
        reply = self._session.get(self.url + path, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS))
        if reply.status_code >= 300:
            _result(reply, self.url)
        return reply

    def follow(self, job_id: str, step_seconds: int = 1) -> Iterator[Job]:
        """What a job looks like about once a second, the last time at its end."""
        while True:
            begun = time.monotonic()
            job: Job = self.get(f"/v1/jobs/{job_id}", wait=step_seconds)
            yield job
            if job["status"] in TERMINAL:
                return
            if time.monotonic() - begun < step_seconds / 4:  # every waiting place of the server is taken
                self.pause(step_seconds / 2)

    def await_end(self, job: Job, step_seconds: int = 30) -> Job:
        """The job at its end."""
        if job["status"] in TERMINAL:
            return job
        for latest in self.follow(job["id"], step_seconds):
            job = latest
        return job

    def pages(self, path: str, most: int, **query: Any) -> list[Any]:
        """The newest results of a listing, over as many pages as it takes."""
        found: list[Any] = []
        page = self.get(path, **query)
        while True:
            found += page["results"]
            if len(found) >= most or not page.get("next"):
                return found[:most]
            target = urlsplit(page["next"])  # only its path: the server may know itself by another name
            page = self.get(f"{target.path}?{target.query}")

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        json: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool = False,
        busy_seconds: float = 60.0,
    ) -> Any:
        begun = time.monotonic()
        delay = 0.2
        while True:
            waited = time.monotonic() - begun
            try:
                reply = self._session.request(
                    method,
                    self.url + path,
                    params={name: value for name, value in (query or {}).items() if value is not None},
                    json=json,
                    data=data,
                    headers=headers,
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                    allow_redirects=False,
                )
            except requests.exceptions.SSLError as error:
                raise Failure(
                    f"The certificate of {self.url} is not trusted; name who signed it in HEADRACE_CLIENT__CA_FILE."
                ) from error
            except (requests.ConnectionError, requests.Timeout) as error:
                patience = PATIENCE_SECONDS if self._has_answered else FIRST_PATIENCE_SECONDS
                if not is_repeatable or waited > patience:
                    raise Failure(f"No server answers at {self.url}; `headrace up` starts one.") from error
            except requests.RequestException as error:
                raise Failure(f"{self.url} is no address of a server: one begins with http:// or https://.") from error
            else:
                self._has_answered = True
                if reply.status_code == 429 and waited < busy_seconds:
                    delay = _retry_after(reply)
                elif reply.status_code not in _REPEATABLE or not is_repeatable or waited > PATIENCE_SECONDS:
                    return _result(reply, self.url)
            self.pause(delay)
            delay = min(delay * 2, 5.0)


def _retry_after(reply: requests.Response) -> float:
    try:
        return min(MAX_PAUSE_SECONDS, max(0.1, float(reply.headers.get("Retry-After", "1"))))
    except ValueError:
        return 1.0


def _result(reply: requests.Response, url: str) -> Any:
    try:
        body = reply.json() if reply.content else None
    except ValueError:
        raise RequestRefused(
            reply.status_code, f"{url} answered {reply.status_code} with no JSON; is it a Headrace server?"
        ) from None
    if reply.status_code < 300:
        return body
    detail = body.get("detail") or body.get("title") if isinstance(body, dict) else None
    sentence = str(detail or f"{url} answered {reply.status_code}.").strip()
    # What helps a caller of the API is a path; who types commands is better served with one of them.
    raise RequestRefused(reply.status_code, _LISTS.sub(r"`headrace \1 list` lists", sentence))

"""Turns files into predictions: what a file is, and how its content travels."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.client import Client, Job
from cli.references import full_version, split_reference
from cli.terminal import Failure
from shared.models.signature import OPTION_NAMES

RAW_TYPES: Mapping[str, str] = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}
"""Images that the API takes as a raw body."""
OTHER_TYPES: Mapping[str, str] = {
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
"""Images that travel as data URLs."""
SUFFIXES = (*RAW_TYPES, *OTHER_TYPES, ".txt", ".json")


class BadFile(Exception):
    """Raised when a file cannot become a prediction; its text is one sentence without the file's name."""


@dataclass(frozen=True, slots=True)
class Target:
    """The model that shall answer, and how it is asked."""

    model: str
    version: str
    """Empty for the version that the alias ``production`` names."""
    input_name: str
    options: Mapping[str, Any]
    """Options of ours that every input carries, such as ``top_k``."""

    @classmethod
    def find(cls, client: Client, reference: str, options: Mapping[str, Any]) -> "Target":
        """Looks a model up.

        Args:
            client: The server.
            reference: ``owner/name``, or ``owner/name:version``.
            options: Options for every input.
        """
        model, version = split_reference(reference)
        if version:
            version = full_version(client, model, version)
            record = client.get(f"/v1/models/{model}/versions/{version}")
        else:
            found = client.get(f"/v1/models/{model}")
            serving, newest = (found.get("aliases") or {}).get("production"), found.get("latest_version")
            if newest is None:
                raise Failure(f"The model {model} has no version yet; push or train one.")
            # The version that will answer says what it takes, which the newest one may call otherwise.
            is_newest = serving in (None, newest["id"])
            record = newest if is_newest else client.get(f"/v1/models/{model}/versions/{serving}")
        schema = record["openapi_schema"]["components"]["schemas"]["Input"]
        properties = sorted(schema["properties"].items(), key=lambda item: item[1].get("x-order", 0))
        names = [name for name, _ in properties if name not in OPTION_NAMES]
        return cls(model, version, names[0] if names else "", options)

    def submit(self, client: Client, file: Path, wait_seconds: int) -> Job:
        """Creates the prediction of one file.

        Raises:
            BadFile: The file cannot be read, or holds nothing that could be sent.
            RequestRefused: The server does not take it.
        """
        suffix = file.suffix.lower()
        try:
            content = file.read_bytes()
        except OSError as error:
            raise BadFile(f"cannot be read: {error.strerror}") from error
        if not content:
            raise BadFile("is empty")
        if suffix in RAW_TYPES and not self.version:
            return client.create_job(
                f"/v1/models/{self.model}/predictions",
                content=content,
                content_type=RAW_TYPES[suffix],
                query=self.options,
                wait_seconds=wait_seconds,
            )
        body: dict[str, Any] = {"input": {**self._input(suffix, content), **self.options}}
        if self.version:
            return client.create_job("/v1/predictions", {"version": self.version, **body}, wait_seconds=wait_seconds)
        return client.create_job(f"/v1/models/{self.model}/predictions", body, wait_seconds=wait_seconds)

    def _input(self, suffix: str, content: bytes) -> dict[str, Any]:
        kind = RAW_TYPES.get(suffix) or OTHER_TYPES.get(suffix)
        if kind is not None:
            return {self.input_name: f"data:{kind};base64,{base64.b64encode(content).decode()}"}
        try:
            text = content.decode()
            value = json.loads(text) if suffix == ".json" else text
        except ValueError as error:
            raise BadFile(f"is no valid {'JSON' if suffix == '.json' else 'UTF-8 text'}") from error
        if suffix != ".json":
            return {self.input_name: value}
        if not isinstance(value, dict):
            raise BadFile("holds no JSON object; its members are the model's inputs")
        return value


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The files to predict: those that are named, and those of a known kind in the folders that are named."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            found |= dict.fromkeys(sorted(inside))
        else:
            found[path] = None
    return list(found)

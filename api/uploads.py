"""Receives uploads in pieces: a file part goes to disk and is digested while it comes, whatever its size."""

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from flask import Request, request
from werkzeug.exceptions import RequestEntityTooLarge

from api.slots import receiving
from shared.errors import InvalidInput, TooLarge, Unavailable
from shared.settings import Settings

_PREFIX = "upload-"
_FIELD_BYTES = 1 << 20
_PARTS = 16
_SPARE_BYTES = 2 << 20  # fields and boundaries beside the file
_STALE_SECONDS = 86_400.0


class UploadFile:
    """A file on its way in; it has no name, so nothing of it stays once it is closed or the process is killed.

    Args:
        folder: On which disk it lies.
        max_bytes: Its limit.
        refusal: What is said of a larger one; a sentence with the limit unless given.
    """

    def __init__(self, folder: Path, max_bytes: int, refusal: str = "") -> None:
        self._file = cast(BinaryIO, tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
        self._digest = hashlib.sha256()
        self._max_bytes = max_bytes
        self._refusal = refusal or f"The file is larger than {max_bytes} bytes, which is the server's limit for it."
        self.size = 0

    def write(self, data: bytes) -> int:
        """Takes the next piece.

        Raises:
            TooLarge: The file is larger than it may be.
            Unavailable: The disk is full.
        """
        self.size += len(data)
        if self.size > self._max_bytes:
            raise TooLarge(self._refusal)
        self._digest.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            raise Unavailable(f"The server has no room for the upload now: {error.strerror}.") from error

    def seek(self, position: int, whence: int = 0) -> int:
        """Called when the part is complete."""
        return self._file.seek(position, whence)

    def read(self, size: int) -> bytes:
        """The next bytes of a complete part."""
        return self._file.read(size)

    def close(self) -> None:
        """Removes the file."""
        self._file.close()

    @property
    def content(self) -> BinaryIO:
        """What has come so far, until it is closed."""
        return self._file

    @property
    def sha256(self) -> str:
        """Digest of what has come so far."""
        return self._digest.hexdigest()


class UploadRequest(Request):
    """A request whose file parts may be received into a folder."""

    upload_folder: Path | None = None
    upload_max_bytes = 0
    upload_refusal = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.upload_files: list[UploadFile] = []
        self._parts: list[IO[bytes]] = []

    def close(self) -> None:
        """Closes every part, also those of a body that could not be read to its end."""
        super().close()
        for part in self._parts:
            part.close()

    def _get_file_stream(self, *args: Any, **kwargs: Any) -> IO[bytes]:
        if self.upload_folder is None:
            self._parts.append(super()._get_file_stream(*args, **kwargs))
            return self._parts[-1]
        self.upload_files.append(UploadFile(self.upload_folder, self.upload_max_bytes, self.upload_refusal))
        return cast(IO[bytes], self.upload_files[-1])


@dataclass(frozen=True, slots=True)
class Upload:
    """One received file with the fields beside it."""

    fields: Mapping[str, str]
    content: BinaryIO
    """Open while the request is answered."""
    filename: str
    """What the client calls the file; only for people to read."""
    size: int
    sha256: str

    def pieces(self) -> list[bytes]:
        """Everything that tells this upload from another."""
        fields = [f"{name}={value}".encode() for name, value in sorted(self.fields.items())]
        return [request.path.encode(), *fields, self.sha256.encode()]


@contextlib.contextmanager
def received(settings: Settings, max_bytes: int, known: tuple[str, ...]) -> Iterator[Upload]:
    """Reads the multipart body of the request under way: one part ``file`` and a few fields.

    Args:
        settings: The process's settings.
        max_bytes: Largest file.
        known: The fields that mean something here.

    Raises:
        InvalidInput: The file or a known form is missing, or a field is unknown.
        TooLarge: The file is too large.
    """
    incoming = cast(UploadRequest, request)
    if incoming.mimetype != "multipart/form-data":
        raise InvalidInput("Send the file as multipart/form-data, in a part called file.", "Content-Type", "enum")
    declared = incoming.content_length
    if declared is not None and declared > max_bytes + _SPARE_BYTES:
        raise TooLarge(f"The upload has {declared} bytes and a file here may have {max_bytes}.")
    incoming.max_content_length = max_bytes + _SPARE_BYTES
    incoming.max_form_memory_size = _FIELD_BYTES
    incoming.max_form_parts = _PARTS
    incoming.upload_max_bytes = max_bytes
    incoming.upload_folder = upload_folder(settings)
    try:
        yield _checked(incoming, known)
    finally:
        for file in incoming.upload_files:
            file.close()


def upload_folder(settings: Settings) -> Path:
    """The folder for files on their way in, made where it is missing."""
    folder = settings.http.upload_dir or settings.data_dir / "uploads"
    folder = folder.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Unavailable(f"The server cannot write to its folder for uploads: {error.strerror}.") from error
    return folder


def remove_stale(settings: Settings) -> None:
    """Removes what processes of earlier releases have left, whose files had names; for the start of a process."""
    with contextlib.suppress(OSError, Unavailable):
        for path in upload_folder(settings).glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()


def _checked(incoming: UploadRequest, known: tuple[str, ...]) -> Upload:
    with receiving():
        try:
            form, files = incoming.form, incoming.files
        except RequestEntityTooLarge as error:
            raise TooLarge(
                f"The upload has more than {_PARTS} parts, or a field of more than {_FIELD_BYTES} bytes; send one part "
                f"file, and {', '.join(known)} as fields."
            ) from error
    for name in (*form, *files):
        if name not in known and name != "file":
            raise InvalidInput(
                f"{name[:64]} is no field of this upload; it has file and {', '.join(known)}.",
                name[:64],
                "additional_property_not_allowed",
            )
    if "file" not in files or len(files.getlist("file")) != 1:
        raise InvalidInput("Send exactly one file, in a part called file that has a filename.", "file", "required")
    part = files["file"]
    stored = cast(UploadFile, part.stream)
    if stored.size == 0:
        raise InvalidInput("The file is empty.", "file", "required")
    return Upload(form.to_dict(), stored.content, (part.filename or "")[-255:], stored.size, stored.sha256)

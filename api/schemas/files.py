"""The forms of files."""

from collections.abc import Mapping
from typing import Any, ClassVar

from api.schemas.form import ReplyForm, RequestForm
from api.schemas.models import Moment


class FileParts(RequestForm):
    """One file and what goes with it."""

    content: bytes
    """The file; its type is read from its bytes."""
    metadata: str | None = None
    """A JSON object, as text or as a file part; or as fields ``metadata[key]``."""
    filename: str | None = None
    """What the file is called; that of the part unless given."""
    type: str | None = None
    """Taken for the sake of stock clients, and not believed."""


class FileObject(ReplyForm):
    """An uploaded file."""

    path_names: ClassVar[Mapping[str, str]] = {"file_id": "id"}

    id: str
    name: str
    content_type: str
    """As its bytes say."""
    size: int
    etag: str
    checksums: dict[str, str]
    """``sha256``, in hexadecimal digits."""
    metadata: dict[str, Any]
    created_at: Moment
    expires_at: Moment
    """When it is deleted."""
    urls: dict[str, str]
    """``get``, which may stand in an input, and ``download``, a link to the bytes that needs no key for a while."""

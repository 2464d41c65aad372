"""A multipart body that is read from disk while it is sent, so that a large file never lies in memory."""

import io
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

BLOCK_BYTES = 1 << 20


class MultipartFile:
    """The body of one upload, as a file with a known length.

    Args:
        fields: Plain fields, sent ahead of the file.
        path: The file, sent as a part of its own.
        on_read: Called with the number of bytes of each block that was sent.
        part: What the part of the file is called.
    """

    def __init__(
        self,
        fields: Mapping[str, str],
        path: Path,
        on_read: Callable[[int], None] | None = None,
        part: str = "file",
    ) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{part}"; filename="{_header_safe(path.name)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        tail = f"\r\n--{boundary}--\r\n"
        self._file = path.open("rb")
        size = path.stat().st_size
        self._parts: list[tuple[io.BufferedIOBase, int]] = [
            (io.BytesIO(head.encode()), len(head.encode())),
            (self._file, size),
            (io.BytesIO(tail.encode()), len(tail)),
        ]
        self._length = sum(length for _, length in self._parts)
        self._on_read = on_read

    def __len__(self) -> int:
        """All bytes of the body."""
        return self._length

    def read(self, size: int = -1) -> bytes:
        """The next bytes; empty at the end."""
        del size  # larger blocks than the sender asks for save a call for each 16 KiB
        while self._parts:
            part, left = self._parts[0]
            block = part.read(min(BLOCK_BYTES, left)) if left else b""
            if block:
                self._parts[0] = (part, left - len(block))
                if self._on_read is not None:
                    self._on_read(len(block))
                return block
            if left:
                raise OSError("The file became shorter while it was sent.")
            self._parts.pop(0)
        return b""

    def __iter__(self) -> "MultipartFile":
        """Itself: it is read once."""
        return self

    def __next__(self) -> bytes:
        """The next block."""
        block = self.read()
        if not block:
            raise StopIteration
        return block

    def __enter__(self) -> "MultipartFile":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the file."""
        self._file.close()


def _header_safe(name: str) -> str:
    return "".join(character if character.isprintable() and character not in '"\\' else "_" for character in name)

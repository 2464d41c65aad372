"""Says of what type a file is by its first bytes; what a client or a foreign server calls it is not believed.

A table of our own, since the libraries were tried and do worse on what comes here: puremagic 1.30 takes every ZIP file
(a ``.keras`` file is one) for a Word document, filetype 1.2 takes a text that begins with BM for a picture, and neither
knows NumPy arrays, HDF5 or plain text.
"""

import codecs
from typing import Protocol

HEAD_BYTES = 4096
"""How many bytes of a file are looked at."""

UNKNOWN = "application/octet-stream"
"""The type of what is none of those known here."""

_BY_START = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
    (b"\x93NUMPY", "application/x-npy"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"%PDF-", "application/pdf"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
)
_BY_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_TEXT_CONTROLS = frozenset(b"\t\n\f\r\x1b")


def sniff(head: bytes) -> str:
    """The content type of a file.

    Args:
        head: Its first ``HEAD_BYTES`` bytes, or all where it has fewer.
    """
    for start, kind in _BY_START:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] in _BY_RIFF:
        return _BY_RIFF[head[8:12]]
    if head[4:8] == b"ftyp":
        return "image/avif" if head[8:12] == b"avif" else "video/mp4"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" and len(head) > 25:
        return "image/bmp"
    return "text/plain" if _is_text(head) else UNKNOWN


class _Readable(Protocol):
    def seek(self, position: int, /) -> object: ...
    def read(self, size: int, /) -> bytes: ...


def sniff_file(file: _Readable) -> str:
    """The content type of an open file, which is read from its start."""
    file.seek(0)
    return sniff(file.read(HEAD_BYTES))


def _is_text(head: bytes) -> bool:
    if not head or any(byte < 32 and byte not in _TEXT_CONTROLS for byte in head):
        return False
    try:
        # The last character may be cut in two.
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return True

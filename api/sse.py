"""Writes server-sent events so that every reader finds in them what was meant: browsers, curl and stock clients.

Readers end a line at more characters than the format says: whatever one of them takes for the end of a line is one, or
is escaped where the data is JSON. Every event has its data and its id, since readers drop those without.
"""

import re
from typing import Any

import orjson

HEARTBEAT = b": hb\n\n"
"""A comment, which no reader shows; it keeps the connection open and finds out whether the reader is still there."""

HEADERS = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),  # a proxy would hold events back until its buffer is full
)
"""The headers of a stream."""

_LINE_ENDS = re.compile("\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_ESCAPES = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def frame(event: str, data: str, place: object) -> bytes:
    """One event.

    Args:
        event: Its name.
        data: Its text, of one line or more.
        place: Its id.
    """
    lines = "".join(f"data: {line}\n" for line in _LINE_ENDS.split(data))
    return f"event: {event}\nid: {place}\n{lines}\n".encode()


def json_line(value: Any) -> str:
    """A JSON value as data that is one line to every reader."""
    return orjson.dumps(value).decode().translate(_ESCAPES)


def text_of(value: Any) -> str:
    """An output as stock clients show it: a text as it is, any other value as JSON."""
    return value if isinstance(value, str) else json_line(value)

"""Reads files that stand where a model takes a text: stock clients send them as parts, as data URLs, or upload them."""

import binascii
import re
from urllib.parse import unquote_to_bytes

from shared.errors import InvalidInput

# Nothing but a data URL from beginning to end: a text that merely begins with one is a text.
_DATA_URL = re.compile(r"data:([^,\s]{0,255}),([!-~\r\n]*)", re.IGNORECASE)


def text_of(content: bytes, field: str) -> str:
    """The text that a file holds, without the mark that some editors put before it.

    Args:
        content: The bytes of the file.
        field: The input that it is for, as ``invalid_fields`` names it.

    Raises:
        InvalidInput: It is no UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("The file must be a text in UTF-8.", field) from None


def data_url_content(text: str, field: str) -> bytes | None:
    """The bytes of a file that comes as a data URL; ``None`` where a text is none.

    The media type is not believed: clients guess it from a name, so any base64 counts. What is not base64 was made by
    hand, and counts where it says that it is a text.

    Args:
        text: What stands in the input.
        field: The input, as ``invalid_fields`` names it.

    Raises:
        InvalidInput: It says that it is base64, and is not.
    """
    match = _DATA_URL.fullmatch(text)
    if match is None:
        return None
    media = match[1].lower()
    if media.endswith(";base64"):
        try:
            return binascii.a2b_base64("".join(match[2].split()), strict_mode=True)
        except ValueError:
            raise InvalidInput("The data URL is no sound base64.", field) from None
    return unquote_to_bytes(match[2]) if media.startswith("text/") else None

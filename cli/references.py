"""How commands name models and versions: ``owner/name``, ``owner/name:version``, and the first digits of a version."""

from cli.client import Client
from cli.terminal import Failure

ID_DIGITS = 64
SHORT_DIGITS = 12
"""Digits of a version that lists show."""


def split_reference(reference: str) -> tuple[str, str]:
    """Takes ``owner/name:version`` apart; the version is empty where none is named.

    Raises:
        Failure: It is no such name.
    """
    model, _, version = reference.partition(":")
    owner, slash, name = model.partition("/")
    if not owner or not slash or not name or "/" in name:
        raise Failure(f"A model is named owner/name or owner/name:version, unlike {reference!r}.")
    return model, version


def full_version(client: Client, model: str, digits: str) -> str:
    """The id of the one version of a model that begins with these digits.

    Raises:
        Failure: None does, or several do.
    """
    if len(digits) == ID_DIGITS:
        return digits
    found = [
        str(version["id"])
        for version in client.pages(f"/v1/models/{model}/versions", 10_000)
        if digits and version["id"].startswith(digits)
    ]
    if len(found) != 1:
        raise Failure(
            f"{len(found) or 'No'} versions of {model} begin with {digits!r}; "
            f"`headrace models show {model}` lists them."
        )
    return found[0]

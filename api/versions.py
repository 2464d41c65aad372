"""Finds the version that a request means, by its id or by the model whose production it is."""

from typing import Any

from api.services import services
from shared.errors import InvalidInput, NotFound
from shared.models.recipes import find_recipe, recipe_of_version
from shared.models.version import ModelVersion, is_name, is_version_id


class UnknownVersion(InvalidInput):
    """Raised when a body names a version that does not exist; the words are those that stock clients know."""

    code = "unknown-version"
    title = "Invalid version or not permitted"

    def __init__(self) -> None:
        super().__init__("The specified version does not exist (or perhaps you don't have permission to use it?)")


def named_version(reference: Any) -> ModelVersion:
    """The version that ``version`` in a body names: an id, ``owner/name`` for its production, or ``owner/name:id``.

    Raises:
        InvalidInput: It names none, or an alias.
        NotFound: There is no such model, or nothing is in production there.
    """
    if reference is not None and not isinstance(reference, str):
        raise InvalidInput("version must be a text: a version id, or owner/name.", "version")
    if not reference:
        raise InvalidInput("version is required: a version id, or owner/name.", "version", "required")
    model, colon, version_id = reference.partition(":")
    if "/" not in reference:
        model, version_id = "", reference
    elif not colon:
        return production(*_parts(model))
    if not is_version_id(version_id):
        raise InvalidInput(
            f"{reference[:200]!r} names no version id. Another alias than production cannot be named here: promote its "
            "version to production and send owner/name, or send the id that GET /v1/models/OWNER/NAME/aliases shows.",
            "version",
            "version",
        )
    version = _known(version_id)
    if model and version.model != model:
        raise UnknownVersion
    return version


def production(owner: str, name: str) -> ModelVersion:
    """The version behind a model's alias ``production``, or ``NotFound``."""
    if find_recipe(owner, name) is not None:
        raise InvalidInput(
            f"{owner}/{name} is a recipe: train it, and predict with the version that comes of it.", "version", "recipe"
        )
    registry = services().registry
    return registry.version(registry.resolve(owner, name))


def version_of(owner: str, name: str, version_id: str) -> ModelVersion:
    """The version that a path names, or ``NotFound``."""
    version = services().registry.version(version_id)
    if version.model != f"{owner}/{name}":
        raise NotFound(f"{owner}/{name} has no version {version_id[:64]}.")
    return version


def admissible(version: ModelVersion) -> ModelVersion:
    """The version, unless it failed to load too often.

    Raises:
        InvalidInput: It did, and nobody has reset it.
    """
    problem = services().registry.is_unloadable(version.id)
    if problem is not None:
        raise InvalidInput(problem, "version", "unloadable")
    return version


def _known(version_id: str) -> ModelVersion:
    try:
        return services().registry.version(version_id)
    except NotFound:
        recipe = recipe_of_version(version_id)
        if recipe is None:
            raise UnknownVersion from None
    return production(recipe.owner, recipe.name)


def _parts(model: str) -> tuple[str, str]:
    owner, _, name = model.partition("/")
    if not is_name(owner) or not is_name(name):
        raise NotFound(f"There is no model {model[:130]}; GET /v1/models lists them.")
    return owner, name

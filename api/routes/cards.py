"""What people are told of models: search them, change their texts, read their readmes and examples."""

from typing import Any

import orjson
from flask import Blueprint, Response, request

from api.auth import caller, needs
from api.bodies import read_raw
from api.catalogue import example_object, model_object
from api.contract import Media, describe
from api.json_body import read_as
from api.json_response import BareResponse, json_response
from api.model_search import MOST_CHARACTERS, found_page
from api.pages import page_object
from api.parameters import PAGED
from api.routes.models import refuse_recipe
from api.schemas.cards import ModelChanges
from api.schemas.form import Page
from api.schemas.jobs import JobObject
from api.schemas.models import ModelObject
from api.services import services
from shared.errors import InvalidInput, TooLarge
from shared.jobs.job import JobKind, JobStatus
from shared.models.recipes import find_recipe

routes = Blueprint("cards", __name__)

_TEXTS = ("description", "github_url", "paper_url", "license_url", "weights_url", "cover_image_url")
_MOST_EXAMPLE_BYTES = 1 << 20
_OWN = ("webhook", "webhook_events_filter", "deployment")  # whoever publishes a prediction publishes no more than that


@routes.route("/v1/models", methods=["QUERY"])
@needs("read")
@describe({200: Page[ModelObject]}, media=(Media("text/plain"), Media("application/json")), query=PAGED)
def search_models() -> Response:
    """The models that have every word of the body, a text or a JSON string, in their names or descriptions."""
    return json_response(found_page(_searched(read_raw())))


@routes.patch("/v1/models/<owner>/<name>")
@needs("models:write")
@describe({200: ModelObject}, body=ModelChanges)
def change_model(owner: str, name: str) -> Response:
    """Changes texts and links of a model, its readme and its example."""
    refuse_recipe(owner, name)
    told, _ = read_as(ModelChanges)
    found = services()
    found.registry.get_model(owner, name)
    given = told.model_fields_set
    facts = {field: getattr(told, field) or "" for field in _TEXTS if field in given}
    model = found.cards.update(
        owner,
        name,
        facts,
        readme=(told.readme or "") if "readme" in given else None,
        example=_example(owner, name, told.default_example or "") if "default_example" in given else None,
    )
    return json_response(model_object(model, next(iter(found.registry.versions(owner, name)), None)))


@routes.get("/v1/models/<owner>/<name>/readme")
@needs("read")
@describe({200: Media("text/plain")})
def get_readme(owner: str, name: str) -> Response:
    """The readme of a model in Markdown; empty where it has none."""
    found = services()
    recipe = find_recipe(owner, name)
    if recipe is None:
        found.registry.get_model(owner, name)
        text = found.cards.readme(owner, name)
    else:
        text = f"# {recipe.model}\n\n{recipe.description}\n\n" + "".join(f"- {layer}\n" for layer in recipe.network)
    return BareResponse(text, content_type="text/plain; charset=utf-8")


@routes.get("/v1/models/<owner>/<name>/examples")
@needs("read")
@describe({200: Page[JobObject]})
def list_examples(owner: str, name: str) -> Response:
    """The prediction that was published as the model's example, if one was."""
    if find_recipe(owner, name) is not None:
        return json_response(page_object([]))
    example = example_object(services().registry.get_model(owner, name))
    return json_response(page_object([] if example is None else [example]))


def _searched(raw: bytes) -> str:
    """The text to look for: clients send it bare, or as a JSON string under either content type."""
    try:
        text = raw.decode().strip()
    except UnicodeDecodeError:
        raise InvalidInput("The body must be the text to look for, in UTF-8.", "body") from None
    if text.startswith('"') or request.mimetype == "application/json":
        try:
            parsed = orjson.loads(text) if text else ""
        except orjson.JSONDecodeError:
            parsed = text
        if not isinstance(parsed, str):
            raise InvalidInput("The body must be the text to look for, bare or as a JSON string.", "body")
        text = parsed
    if len(text) > MOST_CHARACTERS:
        raise InvalidInput(f"The text to look for may have {MOST_CHARACTERS} characters.", "body", "length")
    return text


def _example(owner: str, name: str, job_id: str) -> dict[str, Any]:
    """The copy of a prediction that everybody may see; empty without an id."""
    if not job_id:
        return {}
    found = services()
    job = found.submission.read(job_id, caller().account)
    if job is None or job.kind is not JobKind.PREDICTION or job.model != f"{owner}/{name}":
        raise InvalidInput(f"{job_id} is no prediction of yours with {owner}/{name}.", "default_example", "unknown")
    if job.status is not JobStatus.SUCCEEDED or job.data_removed:
        raise InvalidInput(
            "An example must have succeeded, and still have its input and output.", "default_example", "state"
        )
    if job.output_file is not None:
        raise TooLarge("The output of an example must fit into a reply, and that of this prediction is a file.")
    example = {key: value for key, value in found.view(job, "").items() if key not in _OWN}
    # The URL of a stream is a key to it, so it is left out.
    example |= {"details": {}, "urls": {name: example["urls"][name] for name in ("get", "cancel", "web")}}
    size = len(orjson.dumps(example))
    if size > _MOST_EXAMPLE_BYTES:
        raise TooLarge(f"The prediction has {size} bytes, and an example may have {_MOST_EXAMPLE_BYTES}.")
    return example

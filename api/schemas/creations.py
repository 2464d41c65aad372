"""The forms of what makes jobs: predictions, trainings, pushes of models and data sets."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from api.schemas.form import RequestForm, refuse
from api.schemas.models import ModelReference, Name, VersionReference

_NUMBER = r"0*[1-9][0-9]{0,8}(\.[0-9]{1,9})?"

Numbers = Annotated[str, Field(json_schema_extra={"pattern": f"^{_NUMBER}(,{_NUMBER})*$"})]
Event = Literal["start", "output", "logs", "completed"]


def _check_events(value: Any) -> Any:
    known = get_args(Event)
    if value is not None and not (isinstance(value, list) and all(event in known for event in value)):
        raise refuse("enum", f"{{field}} must be a list of {', '.join(known)}.")
    return value


class JobRequest(RequestForm):
    """What every creation of a prediction or a training may have."""

    webhook: str | None = None
    """Address that is sent the job when it starts, puts out, logs and ends."""
    webhook_completed: str | None = None
    """The same for the end only; of old clients."""
    webhook_events_filter: Annotated[list[Event] | None, BeforeValidator(_check_events)] = None
    """Which of them are sent."""
    stream: bool | None = None
    """Keep every event from the start; otherwise from the first reader on. Every prediction has ``urls.stream``."""


class NewPrediction(JobRequest):
    """A prediction with the version that the body names."""

    version: VersionReference
    """A version id, ``owner/name`` for its production, or ``owner/name:id``."""
    input: dict[str, Any]
    """A key for each input of the model, see its own document; and ``priority``, ``top_k``, ``threshold``."""


class NewModelPrediction(JobRequest):
    """A prediction with the model of the path."""

    version: VersionReference | None = None
    """One of the model's versions; the one in production unless given."""
    input: dict[str, Any]
    """A key for each input of the model, see its own document; and ``priority``, ``top_k``, ``threshold``."""


class NewDeploymentPrediction(JobRequest):
    """A prediction with what a deployment serves."""

    version: None = None
    """A deployment has its own."""
    input: dict[str, Any]
    """A key for each input of the model, see its own document; and ``priority``, ``top_k``, ``threshold``."""


class NewTraining(JobRequest):
    """A training of a recipe."""

    destination: ModelReference
    """The model, ``owner/name``, that gets the version; it is made where there is none."""
    input: dict[str, Any]
    """The recipe's parameters, see its ``TrainingInput``."""


class PredictionParts(RequestForm):
    """The same as parts; files are further parts, named after the inputs."""

    version: VersionReference
    input: str | None = None
    """The inputs that are no files, as JSON."""
    webhook: str | None = None
    """As in JSON bodies."""
    webhook_completed: str | None = None
    webhook_events_filter: str | None = None
    """A JSON list, or names with commas."""


class ModelPredictionParts(PredictionParts):
    """The same with the model of the path."""

    version: VersionReference | None = None  # type: ignore[assignment]


class UploadParts(RequestForm):
    """What every file that makes a job may have beside it."""

    webhook: str | None = None
    """As in JSON bodies."""
    webhook_completed: str | None = None
    webhook_events_filter: str | None = None
    """A JSON list, or names with commas."""


class DeploymentPredictionParts(PredictionParts):
    """The same with what a deployment serves."""

    version: None = None  # type: ignore[assignment]


class ModelFile(UploadParts):
    """A model file, and how to read it."""

    file: bytes
    """A ``.keras`` file, or the ``.h5`` that tutorials save."""
    labels: str | None = None
    """A JSON list, or names with commas."""
    scale: Annotated[str, Field(json_schema_extra={"pattern": f"^{_NUMBER}(/{_NUMBER})?$"})] | None = None
    """What the model's images are multiplied by, ``1/255``."""
    mean: Numbers | None = None
    """A number for each channel, with commas."""
    std: Numbers | None = None
    iterator: Literal["true", "false"] | None = None
    """Whether the output is told row by row, so that stock clients hand out each row as it is there."""
    alias: Name | None = None
    """What to point to the version once it is there."""


class DatasetFile(UploadParts):
    """An archive of labelled images."""

    file: bytes
    """A ZIP of one folder for each class, or an NPZ of arrays."""
    name: Name
    seed: Annotated[str, Field(json_schema_extra={"pattern": "^[0-9]{1,9}$"})] | None = None
    splits: str | None = None
    """Fractions as JSON, ``{"train": 0.8, "validation": 0.1, "test": 0.1}``."""

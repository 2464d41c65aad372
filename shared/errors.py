"""Every error of the service: what a caller is answered, and what is stored on a job.

Two trees, because there are two audiences:

    ServiceError                     answers a caller; knows its HTTP status, code and title
    ├── InvalidInput            422  the body or the input does not match what is asked for
    │   └── IdempotencyMismatch 422  the same Idempotency-Key came with another body
    ├── TooLarge                413  more rows or bytes than a job or an upload may have
    ├── Unauthenticated         401
    ├── Forbidden               403  the key lacks a scope
    ├── NotFound                404
    ├── Conflict                409  never the answer to the creation of a job
    ├── TooManyRequests         429  carries retry_after_seconds
    └── Unavailable             503  Redis or the artifact store does not answer, or no thread is free for a body

    JobError                         is stored on the job as "E1003: sentence"; never an HTTP error by itself

    JobCanceled, JobReleased         leave engine code even through ``except Exception``
"""

from collections.abc import Sequence
from typing import Any, ClassVar


class ServiceError(Exception):
    """Raised when a request cannot be answered as asked; rendered once, in ``api/errors.py``.

    Args:
        detail: One sentence for the caller: what is wrong and what to do.
        facts: Further members of the problem document, JSON values.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class InvalidInput(ServiceError):
    """Raised when a body or an input does not match what is asked for.

    Args:
        detail: One sentence for the caller.
        field: The offending field, dotted from the top of the body (``input.image``), if there is one.
        kind: The machine-readable kind: ``required``, ``type``, ``enum``, ``additional_property_not_allowed``, …
    """

    status = 422
    code = "invalid-input"
    title = "Input validation failed"

    def __init__(self, detail: str, field: str | None = None, kind: str = "type", **facts: Any) -> None:
        if field is not None:
            facts["invalid_fields"] = [{"type": kind, "field": field, "description": detail}]
        super().__init__(detail, **facts)
        self.field = field

    @classmethod
    def of(cls, problems: Sequence["InvalidInput"]) -> "InvalidInput":
        """One error for all that does not fit."""
        if len(problems) == 1:
            return problems[0]
        fields = [field for problem in problems for field in problem.facts.get("invalid_fields", ())]
        error = cls(" ".join(problem.detail for problem in problems), invalid_fields=fields)
        error.field = problems[0].field
        return error


class IdempotencyMismatch(InvalidInput):
    """Raised when an ``Idempotency-Key`` comes again with another body."""

    code = "idempotency-mismatch"
    title = "Idempotency key used with another body"


class TooLarge(ServiceError):
    """Raised when a job or an upload has more rows or bytes than it may."""

    status = 413
    code = "too-large"
    title = "Too large"


class Unauthenticated(ServiceError):
    """Raised when a request carries no key, or one that is unknown, expired or revoked."""

    status = 401
    code = "unauthenticated"
    title = "Unauthenticated"


class Forbidden(ServiceError):
    """Raised when a key lacks the scope that a request needs."""

    status = 403
    code = "forbidden"
    title = "Forbidden"


class NotFound(ServiceError):
    """Raised when what a path names does not exist, or belongs to another account."""

    status = 404
    code = "not-found"
    title = "Not found"


class Conflict(ServiceError):
    """Raised when the state of a resource forbids a change; never in answer to the creation of a job."""

    status = 409
    code = "conflict"
    title = "Conflict"


class TooManyRequests(ServiceError):
    """Raised when a queue or an account is at its limit.

    Args:
        detail: One sentence for the caller.
        retry_after_seconds: Whole seconds after which a repetition has a chance; at least 1.
    """

    status = 429
    code = "too-many-requests"
    title = "Too many requests"

    def __init__(self, detail: str, retry_after_seconds: int, **facts: Any) -> None:
        super().__init__(detail, **facts)
        self.retry_after_seconds = max(1, int(retry_after_seconds))


class Unavailable(ServiceError):
    """Raised when Redis or the artifact store does not answer, or a process can take no further body."""

    status = 503
    code = "unavailable"
    title = "Service unavailable"


class JobError(Exception):
    """Raised inside a job; stored on it as ``code: message`` and shown to its owner.

    Args:
        message: One sentence without the code.
        code: Overrides the class's code.
    """

    code: str = "E1000"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        """The stored form, ``E1003: the image is truncated``."""
        return f"{self.code}: {self.message}"


class StoreAway(JobError):
    """Raised where the artifact store stays away: a reason to hand the job back, not to end it."""


class InputError(JobError):
    """Raised when one job's input cannot be decoded.

    E1001 wrong type, E1002 bomb, E1003 truncated, E1004 shape, E1005 a file that it names is gone.
    """

    code = "E1004"


class PredictionError(JobError):
    """Raised when the model fails on an input (E1101), or answers what is not finite (E1102) or no JSON (E1103)."""

    code = "E1101"


class ModelLoadError(JobError):
    """Raised when a version cannot be loaded (E1201), or no longer exists (E1202)."""

    code = "E1201"


def version_gone() -> ModelLoadError:
    """How a job ends whose version was deleted."""
    return ModelLoadError("the version of this job was deleted", "E1202")


class ImportRefused(JobError):
    """Raised when a model file is not accepted (E1501) or fails in its sandbox (E1502)."""

    code = "E1501"


class DatasetRefused(JobError):
    """Raised when an upload cannot become a data set (E1601)."""

    code = "E1601"


class TrainingError(JobError):
    """Raised when a training cannot go on (E1701)."""

    code = "E1701"


class JobCanceled(BaseException):
    """Raised inside an engine when its job is no longer its own: canceled, expired or claimed by another.

    Derives from BaseException so that ``except Exception`` in engine or user code does not swallow it.
    """


class JobReleased(BaseException):
    """Raised inside an engine when its worker shuts down: keep a checkpoint, hand the job back."""

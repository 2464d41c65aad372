"""The forms of tokens for pages."""

from api.schemas.form import ReplyForm, RequestForm
from api.schemas.models import ModelReference, Moment


class NewBrowserToken(RequestForm):
    """A wish for a token."""

    model: ModelReference
    """The model, ``owner/name``, whose predictions in production it may make."""
    expires_in: int = 600
    """Seconds that it lives; it ends with the key that made it, if that is earlier."""


class BrowserToken(ReplyForm):
    """A token; it cannot be read again."""

    token: str
    """To be sent as ``Authorization: Bearer``."""
    id: str
    model: str
    expires_at: Moment

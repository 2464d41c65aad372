"""The address that URLs begin with where no request tells it: in webhooks, and where no ``Host`` is trusted."""

from shared.settings import Settings

NOWHERE = "http://127.0.0.1:8000"


def public_base(settings: Settings) -> str:
    """The setting ``http.public_url``, else what ``up`` bound, without a slash at its end.

    Not remembered: workers start before ``up`` knows that its API answers, and writes its address down.
    """
    if settings.http.public_url:
        return settings.http.public_url.rstrip("/")
    try:
        return (settings.data_dir.expanduser() / "address").read_text().strip().rstrip("/") or NOWHERE
    except OSError:
        return NOWHERE

"""The versions that this process holds ready, for its heartbeat; filled by the inference task's model cache."""

from collections.abc import Callable

_source: Callable[[], tuple[str, ...]] | None = None


def loaded_versions() -> tuple[str, ...]:
    """Version ids, the most recently used last; empty in a worker that serves no models."""
    return _source() if _source is not None else ()


def report_versions_of(source: Callable[[], tuple[str, ...]]) -> None:
    """Names the function that knows the versions."""
    global _source
    _source = source

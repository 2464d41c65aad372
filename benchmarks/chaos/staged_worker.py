"""A worker on the stage with the product's engines: ``celery -A benchmarks.chaos.staged_worker worker``."""

from benchmarks.chaos import stage

stage.begin()

from workers.celery import app  # noqa: E402

__all__ = ["app"]

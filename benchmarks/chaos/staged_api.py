"""The API on the stage: ``granian --factory benchmarks.chaos.staged_api:create_app``."""

from flask import Flask

from benchmarks.chaos import stage

stage.begin()


def create_app() -> Flask:
    """The product's application."""
    from api import create_app as make

    return make()

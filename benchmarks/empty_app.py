"""An empty Flask reply, to compare the API with: ``create_app`` answers every POST with two bytes."""

from flask import Flask, Response


def create_app() -> Flask:
    """The application."""
    app = Flask(__name__)

    @app.post("/")
    def empty() -> Response:
        return Response(b"{}", 201, mimetype="application/json")

    return app

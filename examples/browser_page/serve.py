"""Serves the page, and gives it a token for one model; the key behind the token never reaches a browser.

python examples/browser_page/serve.py OWNER/NAME
"""

import os
import sys
from pathlib import Path

import requests
from flask import Flask, Response, jsonify, send_from_directory

DATA = Path("~/.local/share/headrace").expanduser()
SERVER = os.environ.get("REPLICATE_BASE_URL") or (DATA / "address").read_text().strip()
KEY = os.environ.get("REPLICATE_API_TOKEN") or (DATA / "api-key").read_text().strip()
HERE = Path(__file__).parent.resolve()

app = Flask(__name__, static_folder=None)


@app.get("/")
def show() -> Response:
    """The page."""
    return send_from_directory(HERE, "index.html")


@app.get("/page.js")
def script() -> Response:
    """Its program."""
    return send_from_directory(HERE, "page.js")


@app.post("/token")
def make_token() -> Response:
    """A token that is good for ten minutes; ask here who the visitor is."""
    model = sys.argv[1]
    reply = requests.post(
        f"{SERVER}/v1/browser-tokens",
        json={"model": model},
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=10,
    )
    reply.raise_for_status()
    return jsonify({"server": SERVER, "model": model, "token": reply.json()["token"]})


if __name__ == "__main__":
    app.run("127.0.0.1", 8098)

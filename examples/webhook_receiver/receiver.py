"""Receives webhooks with Flask: verifies each, ignores repetitions, and prints what ended how.

The receiver listens on this machine only, which the service does not call unless it is told so: the receiver registers
its address for as long as it runs. One that is deployed needs an address of its own instead, and no registration.
"""

import os
import threading
import time
from pathlib import Path

import requests
from flask import Flask, request
from standardwebhooks import Webhook, WebhookVerificationError

DATA = Path("~/.local/share/headrace").expanduser()
SERVER = os.environ.get("REPLICATE_BASE_URL") or (DATA / "address").read_text().strip()
KEY = os.environ.get("REPLICATE_API_TOKEN") or (DATA / "api-key").read_text().strip()
ADDRESS = "127.0.0.1:8099"

app = Flask(__name__)
seen: set[str] = set()


def call(method: str, path: str, **body: str) -> requests.Response:
    """Asks the service."""
    reply = requests.request(
        method, SERVER + path, json=body or None, headers={"Authorization": f"Bearer {KEY}"}, timeout=10
    )
    reply.raise_for_status()
    return reply


def stay_registered() -> None:
    """Lets the service call this address; it forgets it within a minute after the last time it heard so."""
    while True:
        call("POST", "/v1/webhooks/listeners", address=ADDRESS)
        time.sleep(20)


@app.post("/hook")
def receive() -> tuple[str, int]:
    """Takes one webhook; whatever takes long belongs behind the answer."""
    try:
        job = Webhook(secret).verify(request.get_data(as_text=True), dict(request.headers))
    except WebhookVerificationError as error:
        return f"{error}\n", 401
    if request.headers["webhook-id"] not in seen:  # a delivery may come twice, and then has the same id
        seen.add(request.headers["webhook-id"])
        print(f"{job['id']} {job['status']}: {job['output']}", flush=True)
    return "", 204


if __name__ == "__main__":
    secret = call("GET", "/v1/webhooks/default/secret").json()["key"]
    threading.Thread(target=stay_registered, daemon=True).start()
    host, _, port = ADDRESS.partition(":")
    app.run(host, int(port))

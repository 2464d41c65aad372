"""The webhook of the demo: one prediction whose end comes to a receiver on this machine, which verifies it."""

import base64
import queue
import time
from datetime import datetime

from cli.client import Client
from cli.receiver import Receiver
from cli.stages import Stages
from cli.terminal import Failure

PATIENCE_SECONDS = 20.0


def show_webhook(client: Client, stages: Stages, model: str, image: bytes) -> None:
    """Asks for one prediction with a webhook and waits for that.

    Args:
        client: The server.
        stages: Where to say what came.
        model: What predicts.
        image: A PNG.

    Raises:
        Failure: Nothing came, or what came is not to be trusted.
    """
    with Receiver(client) as receiver:
        body = {
            "input": {"image": f"data:image/png;base64,{base64.b64encode(image).decode()}"},
            "webhook": receiver.url,
            "webhook_events_filter": ["completed"],
        }
        job = client.create_job(f"/v1/models/{model}/predictions", body)
        try:
            delivery = receiver.deliveries.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            log = f"/v1/jobs/{job['id']}/webhook-deliveries"
            errors = [entry["error"] for entry in client.get(log)["results"]]
            raise Failure(f"No webhook came within {PATIENCE_SECONDS:.0f} s: {errors or 'nothing was sent'}.") from None
    now = time.time()
    if delivery.problem is not None:
        raise Failure(f"A webhook came that is not to be trusted: {delivery.problem}")
    if delivery.body["id"] != job["id"] or delivery.body["status"] != "succeeded":
        raise Failure(f"The webhook tells of another end than that of {job['id']}.")
    late = max(0.0, now - datetime.fromisoformat(delivery.body["completed_at"]).timestamp())
    stages.figures["webhook"] = {"id": delivery.id, "verified": True, "milliseconds": round(late * 1000, 1)}
    stages.done(
        "webhook",
        f"The end of one more came to a local receiver as webhook {late * 1000:.0f} ms later: {delivery.id}, "
        "and its signature is right",
    )

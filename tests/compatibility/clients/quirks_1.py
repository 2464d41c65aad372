"""What is peculiar to ``replicate`` 1.0.7."""

import io
import json
import pathlib
import time
import urllib.request

import httpx
from cells import TOLD, cell, main, png, until
from replicate import Client
from replicate.exceptions import ModelError, ReplicateError

URL, KEY, VERSIONS = TOLD["url"], TOLD["key"], TOLD["versions"]
client = Client(api_token=KEY, base_url=URL)


@cell
def wait_is_dropped_with_a_model():
    made = client.predictions.create(model="stock/text", input={"prompt": "sleep 1 hello"}, wait=20)
    first = [made.status, made.output]
    made.wait()
    return [first, made.output]


@cell
def iterator_from_a_reply_that_expired():
    rows = {"prompt": [f"sleep 0.15 a{n}" for n in range(20)]}
    made = client.predictions.create(version=VERSIONS["text"], input=rows, wait=1)
    return [made.status, made.output, list(made.output_iterator()) == [f"A{n}" for n in range(20)]]


@cell
def iterator_from_the_start():
    rows = {"prompt": [f"sleep 0.1 a{n}" for n in range(20)]}
    made = client.predictions.create(version=VERSIONS["text"], input=rows)
    return list(made.output_iterator()) == [f"A{n}" for n in range(20)]


def held(name):
    """Rows of a job that goes on after its first batch only once its gate is there."""
    (pathlib.Path(TOLD["gates"]) / name).unlink(missing_ok=True)
    return {"prompt": [*(f"a{n}" for n in range(10)), f"hold {name} last"]}


def first_and_rest(name, rows):
    first = next(rows)
    (pathlib.Path(TOLD["gates"]) / name).touch()
    return [first, list(rows) == [*(f"A{n}" for n in range(1, 10)), "LAST"]]


@cell
def rows_before_the_end():
    rows = client.run("stock/rows:" + VERSIONS["rows"], input=held("run-1"), wait=False)
    return [type(rows).__name__, *first_and_rest("run-1", rows)]


@cell
def rows_before_the_end_after_a_wait():
    rows = client.run("stock/rows:" + VERSIONS["rows"], input=held("wait-1"), wait=1)
    return [type(rows).__name__, *first_and_rest("wait-1", rows)]


@cell
def output_iterator_before_the_end():
    made = client.predictions.create(model="stock/rows", input=held("iterator-1"))
    return [made.status, made.output, *first_and_rest("iterator-1", made.output_iterator())]


@cell
def stream_before_the_end():
    events = client.stream("stock/rows", input=held("stream-1"))
    texts = (str(event) for event in events if event.event.value == "output")
    return first_and_rest("stream-1", texts)


@cell
def rows_of_a_job_that_fails():
    rows = {"prompt": ["a", "fail"]}
    try:
        return list(client.run("stock/rows:" + VERSIONS["rows"], input=rows, wait=False))
    except ModelError as error:
        return error.prediction.error[:6]


@cell
def delete_of_a_version():
    return client.models.get(TOLD["spare"]["model"]).versions.delete(TOLD["spare"]["version"])


@cell
def throttled_reads():
    limited = Client(api_token=TOLD["limited_key"], base_url=TOLD["limited"])
    begun = time.monotonic()
    names = {limited.models.get("stock/text").name for _ in range(TOLD["burst"] + 2)}
    return [sorted(names), time.monotonic() - begun > 1]


@cell
def a_reply_that_is_kept_alive():
    # The client's own timeout is longer than any wait it asks for; with a shorter one the spaces show.
    timeout = httpx.Timeout(5, read=1.5)
    body = {"version": VERSIONS["text"], "input": {"prompt": "sleep 3 hello"}}
    reply = client._client.post("/v1/predictions", json=body, headers={"Prefer": "wait=20"}, timeout=timeout)
    return [reply.status_code, reply.text[:1], reply.json()["output"]]


@cell
def training_read_as_prediction():
    made = client.trainings.create(
        version="headrace/image-classifier:" + client.models.get("headrace/image-classifier").latest_version.id,
        input={"dataset": TOLD["dataset"], "epochs": 1},
        destination="stock/trained",
    )
    made.cancel()
    return client.predictions.get(made.id).status


@cell
def training_of_the_newest_version():
    # Without a version the client puts "None" into the path.
    made = client.trainings.create(
        version="headrace/image-classifier", input={"dataset": TOLD["dataset"]}, destination="stock/trained"
    )
    made.cancel()
    other = client.trainings.create(
        model="headrace/image-classifier",
        version="latest",
        input={"dataset": TOLD["dataset"]},
        destination="stock/trained",
    )
    other.cancel()
    return [made.status, other.status]


@cell
def webhook_completed():
    hook = TOLD["receiver"] + "/completed"
    client.predictions.create(version=VERSIONS["text"], input={"prompt": "hello"}, webhook_completed=hook)

    def delivered():
        with urllib.request.urlopen(hook) as reply:
            return json.load(reply)

    return [json.loads(one["body"])["status"] for one in until(delivered)]


@cell
def webhook_without_filter():
    hook = TOLD["receiver"] + "/unfiltered"
    client.predictions.create(version=VERSIONS["text"], input={"prompt": "hello"}, webhook=hook)

    def delivered():
        with urllib.request.urlopen(hook) as reply:
            return json.load(reply)

    return {json.loads(one["body"])["status"] for one in until(delivered)} <= {"processing", "succeeded"}


@cell
def a_prediction_whose_data_is_gone():
    forgetful = Client(api_token=KEY, base_url=TOLD["limited"])
    made = forgetful.predictions.create(version=VERSIONS["text"], input={"prompt": "hello"})
    made.wait()

    def is_gone():
        time.sleep(0.3)
        made.reload()
        return made.input is None

    until(is_gone)
    return [made.status, made.output, made.logs]


@cell
def a_stream_that_is_not_there():
    made = client.predictions.create(version=VERSIONS["text"], input={"prompt": "hello"}, wait=20)
    made.urls["stream"] = made.urls["stream"][:-3] + "xyz"
    try:
        list(made.stream())
    except (ValueError, ReplicateError) as error:
        return type(error).__name__


@cell
def old_header():
    reply = httpx.get(URL + "/v1/account", headers={"Authorization": f"Token {KEY}"})
    return reply.status_code


@cell
def unknown_base():
    try:
        Client(api_token=KEY, base_url=URL + "/elsewhere").predictions.list()
    except ReplicateError as error:
        return [error.status, bool(error.detail)]


@cell
def numbers_of_many_kinds():
    images = tuple(io.BytesIO(png(value)) for value in (255, 0))
    image = client.run("stock/image", input={"image": images})
    return [client.run("stock/numbers", input={"x": (n for n in (1, 2, 3))}), [entry["label"] for entry in image]]


if __name__ == "__main__":
    main()

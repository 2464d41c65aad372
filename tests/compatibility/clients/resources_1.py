"""Files, streams, webhooks and what else there is beside jobs, with ``replicate`` 1.0.7."""

import io
import json
import pathlib
import tempfile
import urllib.request

from cells import TOLD, cell, main, png, until
from replicate import Client
from replicate.exceptions import ReplicateError
from replicate.webhook import Webhooks

URL, KEY, VERSIONS = TOLD["url"], TOLD["key"], TOLD["versions"]
client = Client(api_token=KEY, base_url=URL)


def events_of(stream):
    return [[event.event.value, event.data] for event in stream]


@cell
def files():
    other = Client(api_token=TOLD["other"], base_url=URL)
    made = other.files.create(io.BytesIO(b"a,b\n1,2\n"), filename="numbers.csv", metadata={"kind": "table"})
    got = other.files.get(made.id)
    listed = made.id in [entry.id for entry in other.files.list()]
    deleted = other.files.delete(made.id)
    try:
        other.files.get(made.id)
    except ReplicateError as error:
        return [made.name, made.size, made.metadata, got.checksums == made.checksums, listed, deleted, error.status]


@cell
def file_input():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "bright.png"
        path.write_bytes(png(255))
        first = client.run("stock/image", input={"image": path})["label"]
        with path.open("rb") as file:
            second = client.run("stock/image", input={"image": file})["label"]
    many = client.run("stock/image", input={"image": [io.BytesIO(png(0)), io.BytesIO(png(255))]})
    return [first, second, [entry["label"] for entry in many]]


@cell
def text_file_input():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "note.json"
        path.write_bytes(b"\xef\xbb\xbfhello")
        first = client.run("stock/text", input={"prompt": path})
        with path.open("rb") as file:
            second = client.run("stock/text", input={"prompt": file}, file_encoding_strategy="base64")
    return [first, second, client.run("stock/text", input={"prompt": [io.BytesIO(b"one"), "two"]})]


@cell
def url_input():
    return client.run("stock/image", input={"image": TOLD["receiver"] + "/bright.png"})["label"]


@cell
def file_output():
    answer = client.run("stock/text", input={"prompt": "x" * 3000})
    inline = client.run("stock/text", input={"prompt": "x" * 3000}, use_file_output=False)
    scheme = inline.partition(":")[0]
    return [type(answer).__name__, json.loads(answer.read()) == "X" * 3000, scheme == TOLD["file_scheme"]]


@cell
def stream():
    return events_of(client.stream("stock/text", input={"prompt": "hello\nyou"}))


@cell
def stream_of_rows():
    return events_of(client.stream("stock/text", input={"prompt": ["one", " two", ""]}))


@cell
def stream_of_an_iterator():
    return [events_of(client.stream("stock/rows", input={"prompt": text})) for text in (["one", " two"], "alone")]


@cell
def slow_stream():
    return events_of(client.stream("stock/text", input={"prompt": "sleep 2.5 late"}))


@cell
def late_stream():
    made = client.predictions.create(version=VERSIONS["text"], input={"prompt": "hello"}, wait=20)
    return [made.status, events_of(made.stream())]


@cell
def stream_that_fails():
    try:
        return events_of(client.stream("stock/text", input={"prompt": "fail"}))
    except RuntimeError as error:
        return "E1101" in str(error)


@cell
def stream_of_a_canceled_one():
    made = client.deployments.predictions.create("stock/idle", input={"prompt": "never"})
    made.cancel()
    return events_of(made.stream())


@cell
def odd_line_ends():
    return [data for event, data in events_of(client.stream("stock/text", input={"prompt": "a\u2028b\x85c\x0bd"}))][0]


@cell
async def asynchronous_stream():
    found = []
    async for event in await client.async_stream("stock/text", input={"prompt": "hello"}):
        found.append([event.event.value, event.data])
    return found


@cell
def webhook():
    hook = f"{TOLD['receiver']}/{TOLD['name']}?kind=prediction"
    made = client.predictions.create(
        version=VERSIONS["text"],
        input={"prompt": "hello"},
        webhook=hook,
        webhook_events_filter=["start", "completed"],
    )

    def delivered():
        with urllib.request.urlopen(hook) as reply:
            found = json.load(reply)
        return len(found) == 2 and found

    found = until(delivered)
    secret = client.webhooks.default.secret()
    for one in found:
        Webhooks.validate(headers=one["headers"], body=one["body"], secret=secret, tolerance=60)
    refused = False
    try:
        Webhooks.validate(headers=found[0]["headers"], body=found[0]["body"] + " ", secret=secret)
    except ValueError:
        refused = True
    bodies = sorted((json.loads(one["body"]) for one in found), key=lambda body: body["status"] == "succeeded")
    made.wait()
    ids = {one["headers"]["webhook-id"] for one in found}
    last = bodies[-1]
    same = [last["id"], last["output"], last["urls"]["get"]] == [made.id, made.output, bodies[0]["urls"]["get"]]
    return [[body["status"] for body in bodies], refused, len(ids), same]


@cell
def search():
    return [model.name for model in client.models.search("stock/words").results]


@cell
def deployments():
    name = "for-" + TOLD["name"]
    facts = {"hardware": "cpu", "min_instances": 0, "max_instances": 1}
    made = client.deployments.create(name=name, model="stock/twin", version=VERSIONS["twin"], **facts)
    answer = made.predictions.create(input={"prompt": "hello"})
    answer.wait()
    changed = client.deployments.update(made.owner, name, max_instances=2)
    listed = name in [entry.name for entry in client.deployments.list().results]
    got = client.deployments.get(f"{made.owner}/{name}")
    deleted = client.deployments.delete(made.owner, name)
    release = got.current_release
    return [
        answer.output,
        release.version == VERSIONS["twin"],
        changed.current_release.configuration.max_instances,
        listed,
        deleted,
    ]


@cell
def others():
    return [
        "cpu" in [entry.sku for entry in client.hardware.list()],
        [entry.slug for entry in client.collections.list().results],
        client.collections.get("recipes").models[0].owner,
        "headrace" in [entry.owner for entry in client.models.list().results],
    ]


@cell
def duplicate_post():
    again = Client(api_token=KEY, base_url=URL, headers={"Idempotency-Key": "same"})
    made = [again.predictions.create(version=VERSIONS["text"], input={"prompt": "once"}).id for _ in range(3)]
    return len(set(made))


if __name__ == "__main__":
    main()

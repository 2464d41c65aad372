"""Files, streams, webhooks and what else there is beside jobs, with ``replicate`` 2.0.0b4."""

import io
import json
import os
import pathlib
import tempfile
import urllib.request
from urllib.parse import parse_qs, urlsplit

import replicate
from cells import TOLD, cell, main, png, until
from replicate import Replicate
from standardwebhooks import Webhook

URL, KEY, VERSIONS = TOLD["url"], TOLD["key"], TOLD["versions"]
client = Replicate(bearer_token=KEY, base_url=URL)


@cell
def files():
    other = Replicate(bearer_token=TOLD["other"], base_url=URL)
    content = b"a,b\n1,2\n"
    made = other.files.create(content=content, filename="numbers.csv", metadata={"kind": "table"}, type="text/csv")
    got = other.files.get(file_id=made.id)
    listed = made.id in [entry.id for entry in other.files.list()]
    other.files.delete(file_id=made.id)
    try:
        other.files.get(file_id=made.id)
    except replicate.NotFoundError as error:
        same = got.checksums.sha256 == made.checksums.sha256
        return [made.name, made.size, made.metadata, same, listed, True, error.status_code]


@cell
def file_download():
    made = client.files.create(content=b"some bytes")
    query = {name: text for name, [text] in parse_qs(urlsplit(made.urls.download).query).items()}
    query["expiry"] = int(query["expiry"])
    return client.files.download(file_id=made.id, **query).read().decode()


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
def use():
    # Only the module's own works (that of a client object fails in itself); it is told where by the environment.
    os.environ["REPLICATE_BASE_URL"], os.environ["REPLICATE_API_TOKEN"] = URL, KEY
    made = replicate.use("stock/text:" + VERSIONS["text"]).create(prompt="there")
    chunks = list(replicate.use("stock/words", streaming=True)(prompt="bit by bit"))
    return [replicate.use("stock/text")(prompt="hello"), made.output(), chunks]


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
    # The client has no validator of its own.
    validator = Webhook(client.webhooks.default.secret.get().key)
    for one in found:
        validator.verify(one["body"], one["headers"])
    refused = False
    try:
        validator.verify(found[0]["body"] + " ", found[0]["headers"])
    except Exception:
        refused = True
    bodies = sorted((json.loads(one["body"]) for one in found), key=lambda body: body["status"] == "succeeded")
    made = client.predictions.wait(made.id)
    ids = {one["headers"]["webhook-id"] for one in found}
    last = bodies[-1]
    same = [last["id"], last["output"], last["urls"]["get"]] == [made.id, made.output, bodies[0]["urls"]["get"]]
    return [[body["status"] for body in bodies], refused, len(ids), same]


@cell
def search():
    return [model.name for model in client.models.search(body="stock/words")]


@cell
def search_of_everything():
    found = client.search(query="words")
    return [found.query, [entry.model.name for entry in found.models]]


@cell
def deployments():
    name = "for-" + TOLD["name"]
    facts = {"hardware": "cpu", "min_instances": 0, "max_instances": 1}
    made = client.deployments.create(name=name, model="stock/twin", version=VERSIONS["twin"], **facts)
    which = {"deployment_owner": made.owner, "deployment_name": name}
    answer = client.deployments.predictions.create(**which, input={"prompt": "hello"})
    answer = client.predictions.wait(answer.id)
    changed = client.deployments.update(**which, max_instances=2)
    listed = name in [entry.name for entry in client.deployments.list()]
    got = client.deployments.get(**which)
    client.deployments.delete(**which)
    return [
        answer.output,
        got.current_release.version == VERSIONS["twin"],
        changed.current_release.configuration.max_instances,
        listed,
        True,
    ]


@cell
def others():
    return [
        "cpu" in [entry.sku for entry in client.hardware.list()],
        [entry.slug for entry in client.collections.list()],
        client.collections.get(collection_slug="recipes").models[0].owner,
        "headrace" in [entry.owner for entry in client.models.list()],
    ]


@cell
def model_card():
    owner, name = "stock", "card-" + TOLD["name"]
    client.models.create(owner=owner, name=name, visibility="public", hardware="cpu")
    which = {"model_owner": owner, "model_name": name}
    changed = client.models.update(**which, description="a card", readme="# Card")
    readme = client.models.readme.get(**which)
    examples = list(client.models.examples.list(**which))
    client.models.delete(**which)
    return [changed.description, readme, examples]


@cell
def duplicate_post():
    key = {"Idempotency-Key": "same"}
    asked = {"version": VERSIONS["text"], "input": {"prompt": "once"}, "extra_headers": key}
    return len({client.predictions.create(**asked).id for _ in range(3)})


if __name__ == "__main__":
    main()

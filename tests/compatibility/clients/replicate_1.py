"""The cells of the matrix with ``replicate`` 1.0.7."""

import inspect
import io

from cells import TOLD, cell, data_url, main, png, until
from replicate import Client
from replicate.exceptions import ModelError, ReplicateError

URL, KEY, VERSIONS = TOLD["url"], TOLD["key"], TOLD["versions"]
client = Client(api_token=KEY, base_url=URL)


def prompt(text):
    return {"prompt": text}


@cell
def create_async():
    made = client.predictions.create(version=VERSIONS["text"], input=prompt("hello"))
    first = [made.status, made.output]
    made.wait()
    return [first, made.status, made.output, made.model, made.version == VERSIONS["text"], made.error]


@cell
def create_of_a_model():
    made = client.models.predictions.create(model="stock/text", input=prompt("hello"))
    made.wait()
    return [made.status, made.output]


@cell
def wait_that_finishes():
    made = client.predictions.create(version=VERSIONS["text"], input=prompt("hello"), wait=20)
    return [made.status, made.output]


@cell
def wait_that_expires():
    made = client.predictions.create(version=VERSIONS["text"], input=prompt("sleep 2 late"), wait=1)
    first = [made.status, made.output]
    made.wait()
    return [first, made.status, made.output]


@cell
def run_string():
    return client.run("stock/text", input=prompt("hello"))


@cell
def run_by_version():
    first = client.run("stock/text:" + VERSIONS["text"], input=prompt("one"))
    return [first, client.run("stock/twin:" + VERSIONS["twin"], input=prompt("two"))]


@cell
def run_list():
    return client.run("stock/words", input=prompt("to be or"))


@cell
def run_numbers():
    return client.run("stock/numbers", input={"x": (1, 2, 3)})


@cell
def run_object():
    answer = client.run("stock/image", input={"image": data_url(png(255))})
    return [answer["label"], round(answer["score"], 3)]


@cell
def run_iterator():
    found = [
        client.run("stock/rows:" + VERSIONS["rows"], input=prompt(text)) for text in (["one", "two", "three"], "alone")
    ]
    assert all(inspect.isgenerator(rows) for rows in found)
    by_name = client.run("stock/rows", input=prompt(["one", "two"]))
    assert by_name == ["ONE", "TWO"]
    return [list(rows) for rows in found]


@cell
def run_longer_than_the_wait():
    return client.run("stock/text", input=prompt("sleep 2 late"), wait=1)


@cell
def cancel_queued():
    made = client.deployments.predictions.create("stock/idle", input=prompt("never"))
    first = made.status
    made.cancel()
    again = client.predictions.get(made.id)
    return [first, made.status, made.output, made.error, again.status]


@cell
def deadline():
    hurried = Client(api_token=KEY, base_url=URL, headers={"Cancel-After": "5s"})
    made = hurried.deployments.get("stock/idle").predictions.create(input=prompt("never"))
    made.wait()
    return [made.status, made.output, made.error[:6]]


@cell
def cancel_running():
    made = client.predictions.create(version=VERSIONS["text"], input=prompt("sleep 2 never"))

    def is_running():
        made.reload()
        return made.status == "processing"

    until(is_running)
    made.cancel()
    made.wait()
    return [made.status, made.output, made.error]


@cell
def cancel_done():
    made = client.predictions.create(version=VERSIONS["text"], input=prompt("done"), wait=20)
    made.cancel()
    other = client.predictions.cancel(made.id)
    return [made.status, made.output, other.status]


@cell
def failed():
    made = client.predictions.create(version=VERSIONS["text"], input=prompt("fail"))
    made.wait()
    try:
        client.run("stock/text", input=prompt("fail"))
    except ModelError as error:
        return [made.status, made.output, made.error[:6], error.prediction.error == made.error]


@cell
def next_page():
    lister = Client(api_token=TOLD["lister"], base_url=URL)
    first = lister.predictions.list()
    second = lister.predictions.list(first.next)
    ids = [entry.id for entry in (*first.results, *second.results)]
    back = lister.predictions.list(second.previous)
    return [len(first.results), len(ids), len(set(ids)), second.next, [entry.id for entry in back] == ids[:100]]


@cell
def errors():
    found = {}
    for name, call in {
        "401": lambda: Client(api_token="hr_nobody", base_url=URL).run("stock/text", input=prompt("x")),
        "404": lambda: client.predictions.get("a" * 26),
        "404 model": lambda: client.models.get("stock", "nothing"),
        "422 input": lambda: client.run("stock/text", input={"picture": 1}),
        "422 missing": lambda: client.run("stock/text", input={}),
        "422 version": lambda: client.predictions.create(version="0" * 64, input=prompt("x")),
    }.items():
        try:
            call()
            found[name] = None
        except ReplicateError as error:
            found[name] = [error.status, bool(error.title), bool(error.detail)]
    return found


@cell
def too_many():
    full = Client(api_token=TOLD["full"], base_url=URL)
    try:
        full.run("stock/text", input=prompt("one more"))
    except ReplicateError as error:
        return [error.status, bool(error.detail)]


@cell
def training():
    recipe = client.models.get("headrace/image-classifier").latest_version
    made = client.trainings.create(
        version="headrace/image-classifier:" + recipe.id,
        input={"dataset": TOLD["dataset"], "epochs": 1},
        destination="stock/trained",
    )
    first = [made.status, made.output]
    if not TOLD["trains"]:
        made.cancel()
        listed = [entry.id for entry in client.trainings.list().results]
        return [first, client.trainings.get(made.id).status, made.id in listed]

    def has_ended():
        made.reload()
        return made.status not in ("starting", "processing")

    until(has_ended, 240)
    version = client.models.get("stock/trained").versions.get(made.output["version"].partition(":")[2])
    return [first, made.status, made.output["version"].partition(":")[0], len(version.id), version.cog_version]


@cell
def version_objects():
    model = client.models.get("stock/words")
    listed = model.versions.list().results
    return [
        model.name,
        model.latest_version.id == VERSIONS["words"],
        [entry.id for entry in listed] == [VERSIONS["words"]],
        sorted(model.latest_version.openapi_schema["components"]["schemas"])[:2],
    ]


@cell
def create_and_delete_a_model():
    name = "made-" + TOLD["name"]
    made = client.models.create("stock", name, visibility="private", hardware="cpu")
    deleted = client.models.delete("stock", name)
    try:
        client.models.get("stock", name)
    except ReplicateError as error:
        return [made.name == name, made.visibility, deleted, error.status]


@cell
def account():
    return client.accounts.current().username == TOLD["account"]


@cell
def file_in_base64():
    answer = client.run("stock/image", input={"image": io.BytesIO(png(255))}, file_encoding_strategy="base64")
    return answer["label"]


@cell
async def asynchronous():
    answer = await client.async_run("stock/text", input=prompt("hello"))
    made = await client.predictions.async_create(version=VERSIONS["text"], input=prompt("there"))
    await made.async_wait()
    return [answer, made.output]


if __name__ == "__main__":
    main()

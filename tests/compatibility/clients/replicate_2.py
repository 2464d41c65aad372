"""The cells of the matrix with ``replicate`` 2.0.0b4."""

import inspect
import io

import replicate
from cells import TOLD, cell, data_url, main, png, until
from replicate import AsyncReplicate, Replicate
from replicate.exceptions import ModelError
from replicate.lib._models import Version

URL, KEY, VERSIONS = TOLD["url"], TOLD["key"], TOLD["versions"]
client = Replicate(bearer_token=KEY, base_url=URL)


def prompt(text):
    return {"prompt": text}


@cell
def create_async():
    made = client.predictions.create(version=VERSIONS["text"], input=prompt("hello"))
    first = [made.status, made.output]
    made = client.predictions.wait(made.id)
    return [first, made.status, made.output, made.model, made.version == VERSIONS["text"], made.error]


@cell
def create_of_a_model():
    made = client.models.predictions.create(model_owner="stock", model_name="text", input=prompt("hello"))
    made = client.predictions.wait(made.id)
    return [made.status, made.output]


@cell
def wait_that_finishes():
    made = client.predictions.create(version=VERSIONS["text"], input=prompt("hello"), prefer="wait=20")
    return [made.status, made.output]


@cell
def wait_that_expires():
    made = client.predictions.create(version=VERSIONS["text"], input=prompt("sleep 2 late"), prefer="wait=1")
    first = [made.status, made.output]
    made = client.predictions.wait(made.id)
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
    # By name it is a list; a generator only where the client has the version itself, in its own class.
    got = client.models.versions.get(model_owner="stock", model_name="rows", version_id=VERSIONS["rows"])
    rows = client.run(Version(**got.to_dict()), input=prompt(["one", "two", "three"]))
    assert inspect.isgenerator(rows)
    return [list(rows), client.run("stock/rows:" + VERSIONS["rows"], input=prompt("alone"))]


@cell
def run_longer_than_the_wait():
    return client.run("stock/text", input=prompt("sleep 2 late"), wait=1)


@cell
def cancel_queued():
    made = client.deployments.predictions.create(
        deployment_owner="stock", deployment_name="idle", input=prompt("never")
    )
    canceled = client.predictions.cancel(prediction_id=made.id)
    again = client.predictions.get(prediction_id=made.id)
    return [made.status, canceled.status, canceled.output, canceled.error, again.status]


@cell
def deadline():
    made = client.deployments.predictions.create(
        deployment_owner="stock", deployment_name="idle", input=prompt("never"), cancel_after="5s"
    )
    made = client.predictions.wait(made.id)
    return [made.status, made.output, made.error[:6]]


@cell
def cancel_running():
    made = client.predictions.create(version=VERSIONS["text"], input=prompt("sleep 2 never"))
    until(lambda: client.predictions.get(prediction_id=made.id).status == "processing")
    client.predictions.cancel(prediction_id=made.id)
    made = client.predictions.wait(made.id)
    return [made.status, made.output, made.error]


@cell
def cancel_done():
    made = client.predictions.create(version=VERSIONS["text"], input=prompt("done"), prefer="wait=20")
    other = client.predictions.cancel(prediction_id=made.id)
    return [made.status, made.output, other.status]


@cell
def failed():
    made = client.predictions.create(version=VERSIONS["text"], input=prompt("fail"))
    made = client.predictions.wait(made.id)
    try:
        client.run("stock/text", input=prompt("fail"))
    except ModelError as error:
        return [made.status, made.output, made.error[:6], error.prediction.error == made.error]


@cell
def next_page():
    lister = Replicate(bearer_token=TOLD["lister"], base_url=URL)
    first = lister.predictions.list()
    second = first.get_next_page()
    ids = [entry.id for entry in lister.predictions.list()]
    after = [entry.id for entry in lister.predictions.list(created_before=second.results[0].created_at)]
    return [len(first.results), len(ids), len(set(ids)), second.next, after == ids[101:]]


@cell
def errors():
    found = {}
    stranger = Replicate(bearer_token="hr_nobody", base_url=URL)
    for name, call in {
        "401": lambda: stranger.run("stock/text", input=prompt("x")),
        "404": lambda: client.predictions.get(prediction_id="a" * 26),
        "404 model": lambda: client.models.get(model_owner="stock", model_name="nothing"),
        "422 input": lambda: client.run("stock/text", input={"picture": 1}),
        "422 missing": lambda: client.run("stock/text", input={}),
        "422 version": lambda: client.predictions.create(version="0" * 64, input=prompt("x")),
    }.items():
        try:
            call()
            found[name] = None
        except replicate.APIStatusError as error:
            found[name] = [error.status_code, bool(error.body["title"]), bool(error.body["detail"])]
    return found


@cell
def too_many():
    full = Replicate(bearer_token=TOLD["full"], base_url=URL, max_retries=0)
    try:
        full.run("stock/text", input=prompt("one more"))
    except replicate.RateLimitError as error:
        assert int(error.response.headers["Retry-After"]) > 0
        return [error.status_code, bool(error.body["detail"])]


@cell
def training():
    recipe = client.models.get(model_owner="headrace", model_name="image-classifier").latest_version
    made = client.trainings.create(
        model_owner="headrace",
        model_name="image-classifier",
        version_id=recipe.id if hasattr(recipe, "id") else recipe["id"],
        input={"dataset": TOLD["dataset"], "epochs": 1},
        destination="stock/trained",
    )
    first = [made.status, made.output]
    if not TOLD["trains"]:
        client.trainings.cancel(training_id=made.id)
        listed = [entry.id for entry in client.trainings.list()]
        return [first, client.trainings.get(training_id=made.id).status, made.id in listed]

    ended = ("succeeded", "failed", "canceled")
    until(lambda: client.trainings.get(training_id=made.id).status in ended, 240)
    made = client.trainings.get(training_id=made.id)
    model, _, version_id = made.output.version.partition(":")
    version = client.models.versions.get(model_owner="stock", model_name="trained", version_id=version_id)
    return [first, made.status, model, len(version.id), version.cog_version]


@cell
def version_objects():
    model = client.models.get(model_owner="stock", model_name="words")
    listed = client.models.versions.list(model_owner="stock", model_name="words")
    version = client.models.versions.get(model_owner="stock", model_name="words", version_id=VERSIONS["words"])
    return [
        model.name,
        version.id == VERSIONS["words"],
        [entry.id for entry in listed] == [VERSIONS["words"]],
        sorted(version.openapi_schema["components"]["schemas"])[:2],
    ]


@cell
def create_and_delete_a_model():
    name = "made-" + TOLD["name"]
    made = client.models.create(owner="stock", name=name, visibility="private", hardware="cpu")
    deleted = client.models.delete(model_owner="stock", model_name=name) is None
    try:
        client.models.get(model_owner="stock", model_name=name)
    except replicate.NotFoundError as error:
        return [made.name == name, made.visibility, deleted, error.status_code]


@cell
def account():
    return client.account.get().username == TOLD["account"]


@cell
def file_in_base64():
    answer = client.run("stock/image", input={"image": io.BytesIO(png(255))}, file_encoding_strategy="base64")
    return answer["label"]


@cell
async def asynchronous():
    async with AsyncReplicate(bearer_token=KEY, base_url=URL) as other:
        answer = await other.run("stock/text", input=prompt("hello"))
        made = await other.predictions.create(version=VERSIONS["text"], input=prompt("there"))
        made = await other.predictions.wait(made.id)
        return [answer, made.output]


if __name__ == "__main__":
    main()

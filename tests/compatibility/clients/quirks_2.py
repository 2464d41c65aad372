"""What is peculiar to ``replicate`` 2.0.0b4."""

import os
import pathlib

import replicate
from cells import TOLD, cell, main
from replicate import Replicate
from replicate.lib._models import Version

URL, KEY, VERSIONS = TOLD["url"], TOLD["key"], TOLD["versions"]
client = Replicate(bearer_token=KEY, base_url=URL)


@cell
def short_timeout():
    hurried = Replicate(bearer_token=TOLD["other"], base_url=URL, timeout=1.5)
    made = hurried.predictions.create(version=VERSIONS["text"], input={"prompt": "sleep 3 hello"}, prefer="wait")
    count = len(list(hurried.predictions.list()))
    if made.status == "starting":
        made = client.with_options(bearer_token=TOLD["other"]).predictions.wait(made.id)
    return [made.output, count]


@cell
def cut_connections():
    cut = Replicate(bearer_token=TOLD["cut_key"], base_url=TOLD["relay"])
    made = cut.predictions.create(version=VERSIONS["text"], input={"prompt": "once"})
    made = cut.predictions.wait(made.id)
    return [made.output, len(list(cut.predictions.list()))]


@cell
def throttled_reads():
    limited = Replicate(bearer_token=TOLD["limited_key"], base_url=TOLD["limited"])
    names = {limited.models.get(model_owner="stock", model_name="text").name for _ in range(TOLD["burst"] + 2)}
    return sorted(names)


@cell
def throttled_without_retries():
    limited = Replicate(bearer_token=TOLD["strict_key"], base_url=TOLD["limited"], max_retries=0)
    try:
        for _ in range(TOLD["burst"] + 2):
            limited.account.get()
    except replicate.RateLimitError as error:
        headers = error.response.headers
        whole = headers["Retry-After"].isdigit() and headers["RateLimit-Reset"].isdigit()
        return [error.body["detail"].startswith("Request was throttled."), whole, headers["RateLimit-Remaining"]]


@cell
def rows_before_the_end():
    # Only the module's own works, see docs/compatibility.md.
    os.environ["REPLICATE_BASE_URL"], os.environ["REPLICATE_API_TOKEN"] = URL, KEY
    gate = pathlib.Path(TOLD["gates"]) / "use-2"
    prompts = [*(f"a{n}" for n in range(10)), f"hold {gate.name} last"]
    rows = iter(replicate.use("stock/rows", streaming=True)(prompt=prompts))
    first = next(rows)
    gate.touch()
    return [first, list(rows) == [*(f"A{n}" for n in range(1, 10)), "LAST"]]


@cell
def use_of_an_iterator():
    os.environ["REPLICATE_BASE_URL"], os.environ["REPLICATE_API_TOKEN"] = URL, KEY
    letters = list(replicate.use("stock/rows", streaming=True)(prompt="alone"))
    return [replicate.use("stock/rows")(prompt=["one", "two"]), replicate.use("stock/rows")(prompt="alone"), letters]


@cell
def a_version_object_that_is_not_waited_for():
    got = client.models.versions.get(model_owner="stock", model_name="rows", version_id=VERSIONS["rows"])
    try:
        return list(client.run(Version(**got.to_dict()), input={"prompt": ["one", "two"]}, wait=False))
    except TypeError as error:
        return str(error)


@cell
def delete_of_a_version():
    owner, _, name = TOLD["spare"]["model"].partition("/")
    which = {"model_owner": owner, "model_name": name, "version_id": TOLD["spare"]["version"]}
    client.models.versions.delete(**which)
    try:
        client.models.versions.get(**which)
    except replicate.NotFoundError:
        return True


@cell
def order_of_models():
    names = [model.name for model in client.models.list(sort_by="model_created_at", sort_direction="asc")]
    back = [model.name for model in client.models.list(sort_by="model_created_at", sort_direction="desc")]
    return [names == back[::-1], len(names) == len(set(names))]


@cell
def conflict_of_idempotency():
    asked = {"version": VERSIONS["text"], "extra_headers": {"Idempotency-Key": "conflict"}}
    client.predictions.create(**asked, input={"prompt": "one"})
    try:
        client.predictions.create(**asked, input={"prompt": "two"})
    except replicate.UnprocessableEntityError as error:
        return error.body["code"]


@cell
def times():
    made = client.predictions.create(version=VERSIONS["text"], input={"prompt": "hello"}, prefer="wait=20")
    made = client.predictions.get(prediction_id=made.id)
    return [made.created_at.tzinfo is not None, made.created_at <= made.started_at <= made.completed_at]


if __name__ == "__main__":
    main()

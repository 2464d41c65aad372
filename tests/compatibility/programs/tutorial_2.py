"""What the README of ``replicate`` 2.0.0b4 shows, on other models; it knows no address and no key."""

import asyncio
import sys
import warnings
from pathlib import Path

import replicate
from replicate import AsyncReplicate, Replicate
from replicate.exceptions import ModelError

text = replicate.use("stock/text")
words = replicate.use("stock/words")
print(words(prompt=text(prompt="chained models")))

running = text.create(prompt="without waiting")
print(repr(running.logs()), running.output())

streaming = replicate.use("stock/words", streaming=True)
for chunk in streaming(prompt="bit by bit"):
    print(chunk, end="|")
print()

later = replicate.use("stock/text", use_async=True)


async def ask():
    print(await later(prompt="city at sunset"))
    async with AsyncReplicate() as client:
        print("text" in [model.name async for model in client.models.list()])


asyncio.run(ask())

print(replicate.run("stock/text", input={"prompt": "astronaut"}, wait=30))
print(replicate.run("stock/text", input={"prompt": "no wait"}, wait=False))
try:
    replicate.run("stock/text", input={"prompt": "fail"})
except ModelError as error:
    print("failed", error.prediction.status)

client = Replicate()
print(client.files.create(content=Path(sys.argv[1])).content_type)
with open(sys.argv[1], "rb") as image:
    print(replicate.run("stock/image", input={"image": image})["label"])
page = client.models.list()
print(page.has_next_page(), page.next)
try:
    client.predictions.create(input={"text": "Alice"}, version="replicate/hello-world:" + "5" * 64)
except replicate.APIStatusError as error:
    print(error.status_code, error.response.json()["title"])
raw = client.predictions.with_raw_response.create(input={"prompt": "Alice"}, version="stock/text")
print(raw.headers["Location"].endswith(raw.parse().id))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    print(list(replicate.stream("stock/words", input={"prompt": "old style"})))

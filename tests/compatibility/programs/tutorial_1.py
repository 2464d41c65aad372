"""What the README of ``replicate`` 1.0.7 shows, on other models; it knows no address and no key."""

import asyncio
import sys

import replicate
from replicate.exceptions import ModelError

print(replicate.run("stock/text", input={"prompt": "astronaut riding a rocket"}))

try:
    replicate.run("stock/text", {"prompt": "fail"})
except ModelError as error:
    print("failed", error.prediction.status)

model = replicate.models.get("stock/text")
version = model.versions.get(model.latest_version.id)


async def ask_four_times():
    calls = [replicate.async_run(f"stock/text:{version.id}", input={"prompt": f"unicorn {n}"}) for n in range(4)]
    print(await asyncio.gather(*calls))


asyncio.run(ask_four_times())

for event in replicate.stream("stock/text", input={"prompt": "a haiku about llamas"}):
    print(str(event), end="")
print()

prediction = replicate.predictions.create(model="stock/text", input={"prompt": "another haiku"}, stream=True)
for event in prediction.stream():
    print(str(event), end="")
print()

prediction = replicate.predictions.create(version=version, input={"prompt": "in the background"})
print(prediction.status, dict(prediction)["output"])
prediction.reload()
prediction.wait()
print(prediction.status, prediction.output)

prediction = replicate.predictions.create(version=version, input={"prompt": "sleep 1 never"})
prediction.cancel()
prediction.reload()
print(prediction.status)

page = replicate.predictions.list()
print(len(page.results) >= 9, page.next)
models = [model for page in replicate.paginate(replicate.models.list) for model in page.results]
print("text" in [model.name for model in models])
print(replicate.collections.get("recipes").models[0].owner)
print([hardware.sku for hardware in replicate.hardware.list()])

with open(sys.argv[1], "rb") as image:
    print(replicate.run("stock/image", input={"image": image})["label"])
# The output of one model is the input of the next one.
print(replicate.run("stock/words", input={"prompt": replicate.run("stock/text", input={"prompt": "in a row"})}))

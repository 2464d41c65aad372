// What the README of `replicate` 1.4.0 shows, on other models; only the address is given, since it reads none.

import fs from "node:fs/promises";
import Replicate, { parseProgressFromLogs } from "replicate";

const replicate = new Replicate({ baseUrl: process.env.ADDRESS });

const { latest_version: version } = await replicate.models.get("stock", "text");
console.log(await replicate.run(`stock/text:${version.id}`, { input: { prompt: "a raccoon gentleman" } }));

let prediction = await replicate.predictions.create({ version: version.id, input: { prompt: "a cat" } });
prediction = await replicate.predictions.get(prediction.id);
prediction = await replicate.wait(prediction);
console.log(prediction.status, prediction.output);

const image = await fs.readFile(process.argv[2]);
console.log((await replicate.run("stock/image", { input: { image } })).label);

const onProgress = (job) => console.log(job.status, parseProgressFromLogs(job));
await replicate.run("stock/text", { input: { prompt: "progress" } }, onProgress);

for await (const event of replicate.stream("stock/text", { input: { prompt: "a haiku" } })) {
  console.log(`${event.event}: ${event}.`);
}

for await (const batch of replicate.paginate(replicate.predictions.list)) console.log(batch.length >= 5);

const output = await replicate.run("stock/text", { input: { prompt: "x".repeat(3000) } });
await fs.writeFile(process.argv[3], output);
console.log(JSON.parse(await fs.readFile(process.argv[3], "utf8")) === "X".repeat(3000));

console.log((await replicate.hardware.list()).map((entry) => entry.sku));

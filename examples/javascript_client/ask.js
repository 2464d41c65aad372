// Asks a model about pictures through the stock JavaScript client of Replicate, and follows each answer as a stream.
//
// node examples/javascript_client/ask.js OWNER/NAME FILE...

import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import Replicate from "replicate";

const told = async (name, file) =>
  process.env[name] || (await readFile(join(homedir(), ".local/share/headrace", file), "utf8")).trim();

const replicate = new Replicate({
  auth: await told("REPLICATE_API_TOKEN", "api-key"),
  baseUrl: `${await told("REPLICATE_BASE_URL", "address")}/v1`,
});

const [model, ...files] = process.argv.slice(2);
for (const file of files) {
  const image = await readFile(file); // the client uploads it and sends its URL
  for await (const { event, data } of replicate.stream(model, { input: { image } })) {
    if (event !== "output") continue;
    const { label, score } = JSON.parse(data);
    console.log(`${file}: ${label} (${score.toFixed(2)})`);
  }
}

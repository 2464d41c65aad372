// What is peculiar to `replicate` 1.4.0 for JavaScript.

import { writeFileSync } from "node:fs";

import { main, png, require, told } from "./cells.mjs";

const Replicate = require("replicate");
const { url: baseUrl, key: auth, versions } = told;
const replicate = new Replicate({ auth, baseUrl });

const cells = {
  async its_own_object_as_input() {
    const broken = new Replicate({ auth, baseUrl, fileEncodingStrategy: "data-uri" });
    try {
      await broken.run("stock/image", { input: { image: png(255) } });
    } catch (error) {
      return [error.response.status, error.message.includes(auth)];
    }
    return null;
  },

  async cut_connections() {
    const ids = new Set();
    let posts = 0;
    const withKey = (url, init) => {
      if (init?.method === "POST") posts += 1;
      return fetch(url, { ...init, headers: { ...init?.headers, "Idempotency-Key": "cut" } });
    };
    const cut = new Replicate({ auth: told.cut_key, baseUrl: told.relay, fetch: withKey });
    const made = await cut.predictions.create({ version: versions.text, input: { prompt: "once" } });
    for (const entry of (await cut.predictions.list()).results) ids.add(entry.id);
    return [(await cut.wait(made, {})).output, posts, ids.size];
  },

  async cut_connections_without_a_key() {
    let posts = 0;
    const counted = (url, init) => {
      if (init?.method === "POST") posts += 1;
      return fetch(url, init);
    };
    const cut = new Replicate({ auth: told.forgiving_key, baseUrl: told.forgiving_relay, fetch: counted });
    const made = await cut.predictions.create({ version: versions.text, input: { prompt: "once" } });
    const listed = (await cut.predictions.list()).results;
    return [(await cut.wait(made, {})).output, posts, listed.length];
  },

  async throttled_reads() {
    const limited = new Replicate({ auth: told.limited_key, baseUrl: told.limited });
    let count = 0;
    try {
      for (; count < told.burst + 20; count += 1) await limited.models.get("stock", "text");
    } catch (error) {
      return [error.response.status, count >= told.burst - 6];
    }
    return null;
  },

  async rows_before_the_end() {
    const gate = "stream-js";
    const prompts = [...Array.from({ length: 10 }, (_, n) => `a${n}`), `hold ${gate} last`];
    const seen = [];
    for await (const event of replicate.stream("stock/rows", { input: { prompt: prompts } })) {
      if (event.event !== "output") continue;
      if (!seen.length) writeFileSync(`${told.gates}/${gate}`, "");
      seen.push(event.data);
    }
    return [seen[0], seen.length, seen.at(-1)];
  },

  async partial_output_in_progress() {
    // run() waits for the whole, but tells what is there by then.
    const gate = "run-js";
    const prompts = [...Array.from({ length: 10 }, (_, n) => `a${n}`), `hold ${gate} last`];
    const parts = new Set();
    const options = { input: { prompt: prompts }, wait: { mode: "poll", interval: 50 } };
    const rows = await replicate.run("stock/rows", options, (job) => {
      parts.add(job.output ? job.output.length : null);
      if (job.output) writeFileSync(`${told.gates}/${gate}`, "");
    });
    return [rows.length, [...parts]];
  },

  async dropped_option() {
    // The client sends along whatever it does not know.
    const made = await replicate.predictions.create({
      version: versions.text,
      input: { prompt: "hello" },
      wait: 20,
      stream: true,
      useFileOutput: false,
    });
    return made.output;
  },

  async progress() {
    const seen = [];
    const options = { input: { prompt: "sleep 1 hello" }, wait: { mode: "poll", interval: 50 } };
    await replicate.run("stock/text", options, (job) => seen.push(job.status));
    return [...new Set(seen)];
  },
};

await main(cells);

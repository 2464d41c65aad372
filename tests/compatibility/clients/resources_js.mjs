// Files, streams, webhooks and what else there is beside jobs, with `replicate` 1.4.0 for JavaScript.

import { dataUrl, main, png, require, told, until } from "./cells.mjs";

const Replicate = require("replicate");
const { validateWebhook } = Replicate;
const { Webhook } = require("standardwebhooks");
const { url: baseUrl, key: auth, versions } = told;
const replicate = new Replicate({ auth, baseUrl });

async function eventsOf(stream) {
  const found = [];
  for await (const event of stream) found.push([event.event, event.data]);
  return found;
}

const cells = {
  async files() {
    const other = new Replicate({ auth: told.other, baseUrl });
    const content = new File(["a,b\n1,2\n"], "numbers.csv", { type: "text/csv" });
    const made = await other.files.create(content, { kind: "table" });
    const got = await other.files.get(made.id);
    const listed = (await other.files.list()).results.some((entry) => entry.id === made.id);
    const deleted = await other.files.delete(made.id);
    const gone = await other.files.get(made.id).catch((error) => error.response.status);
    return [made.name, made.size, made.metadata, got.checksums.sha256 === made.checksums.sha256, listed, deleted, gone];
  },

  async file_input() {
    const first = await replicate.run("stock/image", { input: { image: png(255) } });
    const second = await replicate.run("stock/image", { input: { image: new Blob([png(255)]) } });
    const many = await replicate.run("stock/image", { input: { image: [png(0), png(255)] } });
    return [first.label, second.label, many.map((entry) => entry.label)];
  },

  async text_file_input() {
    const content = Buffer.from("\ufeffhello");
    const first = await replicate.run("stock/text", { input: { prompt: content } });
    const second = await replicate.run("stock/text", { input: { prompt: dataUrl(content, "application/json") } });
    return [first, second, await replicate.run("stock/text", { input: { prompt: [new Blob(["one"]), "two"] } })];
  },

  url_input: async () =>
    (await replicate.run("stock/image", { input: { image: `${told.receiver}/bright.png` } })).label,

  async file_output() {
    const answer = await replicate.run("stock/text", { input: { prompt: "x".repeat(3000) } });
    const content = JSON.parse(await (await answer.blob()).text()) === "X".repeat(3000);
    return [answer.constructor.name, content, answer.url().protocol === `${told.file_scheme}:`];
  },

  stream: () => eventsOf(replicate.stream("stock/text", { input: { prompt: "hello\nyou" } })),

  stream_of_rows: () => eventsOf(replicate.stream("stock/text", { input: { prompt: ["one", " two", ""] } })),

  stream_of_an_iterator: async () => [
    await eventsOf(replicate.stream("stock/rows", { input: { prompt: ["one", " two"] } })),
    await eventsOf(replicate.stream("stock/rows", { input: { prompt: "alone" } })),
  ],

  slow_stream: () => eventsOf(replicate.stream("stock/text", { input: { prompt: "sleep 2.5 late" } })),

  async late_stream() {
    const made = await replicate.predictions.create({
      version: versions.text,
      input: { prompt: "hello" },
      wait: 20,
    });
    const { createReadableStream } = require("replicate/lib/stream");
    return [made.status, await eventsOf(createReadableStream({ url: made.urls.stream, fetch }))];
  },

  stream_that_fails: () =>
    eventsOf(replicate.stream("stock/text", { input: { prompt: "fail" } })).catch((error) =>
      error.message.includes("E1101"),
    ),

  async stream_of_a_canceled_one() {
    const made = await replicate.deployments.predictions.create("stock", "idle", { input: { prompt: "never" } });
    await replicate.predictions.cancel(made.id);
    const { createReadableStream } = require("replicate/lib/stream");
    return eventsOf(createReadableStream({ url: made.urls.stream, fetch }));
  },

  async odd_line_ends() {
    return (await eventsOf(replicate.stream("stock/text", { input: { prompt: "a\u2028b\x85c\x0bd" } })))[0][1];
  },

  async webhook() {
    const hook = `${told.receiver}/${told.name}?kind=prediction`;
    const made = await replicate.predictions.create({
      version: versions.text,
      input: { prompt: "hello" },
      webhook: hook,
      webhook_events_filter: ["start", "completed"],
    });
    const found = await until(async () => {
      const sent = await (await fetch(hook)).json();
      return sent.length === 2 && sent;
    });
    const { key: secret } = await replicate.webhooks.default.secret.get();
    for (const { headers, body } of found) {
      if (!(await validateWebhook({ headers, body }, secret))) throw new Error("the client's validator refuses");
      new Webhook(secret).verify(body, headers);
    }
    const { headers, body } = found[0];
    const refused = !(await validateWebhook({ headers, body: `${body} ` }, secret));
    const bodies = found.map((one) => JSON.parse(one.body));
    bodies.sort((one, two) => (one.status === "succeeded") - (two.status === "succeeded"));
    const ended = await replicate.wait(made, {});
    const last = bodies.at(-1);
    const same = last.id === made.id && last.output === ended.output && last.urls.get === bodies[0].urls.get;
    return [bodies.map(({ status }) => status), refused, new Set(found.map((one) => one.headers["webhook-id"])).size, same];
  },

  search: async () => (await replicate.models.search("stock/words")).results.map((model) => model.name),

  async deployments() {
    const name = `for-${told.name}`;
    const facts = { hardware: "cpu", min_instances: 0, max_instances: 1 };
    const { owner } = await replicate.deployments.create({
      name,
      model: "stock/twin",
      version: versions.twin,
      ...facts,
    });
    const answer = await replicate.deployments.predictions.create(owner, name, {
      input: { prompt: "hello" },
      wait: true,
    });
    const changed = await replicate.deployments.update(owner, name, { max_instances: 2 });
    const listed = (await replicate.deployments.list()).results.some((entry) => entry.name === name);
    const got = await replicate.deployments.get(owner, name);
    const deleted = await replicate.deployments.delete(owner, name);
    const release = got.current_release;
    return [
      answer.output,
      release.version === versions.twin,
      changed.current_release.configuration.max_instances,
      listed,
      deleted,
    ];
  },

  others: async () => [
    (await replicate.hardware.list()).some((entry) => entry.sku === "cpu"),
    (await replicate.collections.list()).results.map((entry) => entry.slug),
    (await replicate.collections.get("recipes")).models[0].owner,
    (await replicate.models.list()).results.some((entry) => entry.owner === "headrace"),
  ],

  async duplicate_post() {
    // The client has no option for the header.
    const withKey = (url, init) => fetch(url, { ...init, headers: { ...init.headers, "Idempotency-Key": "same" } });
    const again = new Replicate({ auth, baseUrl, fetch: withKey });
    const ids = [];
    for (let time = 0; time < 3; time += 1) {
      ids.push((await again.predictions.create({ version: versions.text, input: { prompt: "once" } })).id);
    }
    return new Set(ids).size;
  },
};

await main(cells);

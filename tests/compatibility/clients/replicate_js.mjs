// The cells of the matrix with `replicate` 1.4.0 for JavaScript.

import { dataUrl, main, png, require, told, until } from "./cells.mjs";

const Replicate = require("replicate");
const { url: baseUrl, key: auth, versions } = told;
const replicate = new Replicate({ auth, baseUrl });
const input = (prompt) => ({ prompt });

const cells = {
  async create_async() {
    const made = await replicate.predictions.create({ version: versions.text, input: input("hello") });
    const ended = await replicate.wait(made, {});
    const first = [made.status, made.output];
    return [first, ended.status, ended.output, ended.model, ended.version === versions.text, ended.error];
  },

  async create_of_a_model() {
    const made = await replicate.predictions.create({ model: "stock/text", input: input("hello") });
    const ended = await replicate.wait(made, {});
    return [ended.status, ended.output];
  },

  async wait_that_finishes() {
    const made = await replicate.predictions.create({ version: versions.text, input: input("hello"), wait: 20 });
    return [made.status, made.output];
  },

  async wait_that_expires() {
    const made = await replicate.predictions.create({ version: versions.text, input: input("sleep 2 late"), wait: 1 });
    const ended = await replicate.wait(made, {});
    return [[made.status, made.output], ended.status, ended.output];
  },

  run_string: () => replicate.run("stock/text", { input: input("hello") }),

  run_by_version: async () => [
    await replicate.run(`stock/text:${versions.text}`, { input: input("one") }),
    await replicate.run(`stock/twin:${versions.twin}`, { input: input("two") }),
  ],

  run_list: () => replicate.run("stock/words", { input: input("to be or") }),

  run_numbers: () => replicate.run("stock/numbers", { input: { x: [1, 2, 3] } }),

  run_typed_array: () => replicate.run("stock/numbers", { input: { x: new Float32Array([1, 2, 3]) } }),

  async run_object() {
    const answer = await replicate.run("stock/image", { input: { image: dataUrl(png(255)) } });
    return [answer.label, Math.round(answer.score * 1000) / 1000];
  },

  async run_iterator() {
    const rows = await replicate.run(`stock/rows:${versions.rows}`, { input: input(["one", "two", "three"]) });
    return [rows, await replicate.run("stock/rows", { input: input("alone") })];
  },

  run_longer_than_the_wait: () =>
    replicate.run("stock/text", { input: input("sleep 2 late"), wait: { mode: "block", timeout: 1 } }),

  run_by_polling: () => replicate.run("stock/text", { input: input("hello"), wait: { mode: "poll", interval: 100 } }),

  async cancel_queued() {
    const made = await replicate.deployments.predictions.create("stock", "idle", { input: input("never") });
    const canceled = await replicate.predictions.cancel(made.id);
    const again = await replicate.predictions.get(made.id);
    return [made.status, canceled.status, canceled.output, canceled.error, again.status];
  },

  async deadline() {
    // The client has no option for the header.
    const withHeader = (url, init) => fetch(url, { ...init, headers: { ...init.headers, "Cancel-After": "5s" } });
    const hurried = new Replicate({ auth, baseUrl, fetch: withHeader });
    const made = await hurried.deployments.predictions.create("stock", "idle", { input: input("never") });
    const ended = await hurried.wait(made, {});
    return [ended.status, ended.output, ended.error.slice(0, 6)];
  },

  async cancel_running() {
    const made = await replicate.predictions.create({ version: versions.text, input: input("sleep 2 never") });
    await until(async () => (await replicate.predictions.get(made.id)).status === "processing");
    await replicate.predictions.cancel(made.id);
    const ended = await replicate.wait(made, {});
    return [ended.status, ended.output, ended.error];
  },

  async cancel_done() {
    const made = await replicate.predictions.create({ version: versions.text, input: input("done"), wait: 20 });
    const other = await replicate.predictions.cancel(made.id);
    return [made.status, made.output, other.status];
  },

  async abort() {
    const controller = new AbortController();
    const options = { input: input("sleep 2 never"), signal: controller.signal, wait: { mode: "poll" } };
    const answer = await replicate.run("stock/text", options, (job) => {
      if (job.status === "processing") controller.abort();
    }).catch((error) => error.name);
    return answer;
  },

  async failed() {
    const made = await replicate.predictions.create({ version: versions.text, input: input("fail"), wait: 20 });
    try {
      await replicate.run("stock/text", { input: input("fail") });
    } catch (error) {
      return [made.status, made.output, made.error.slice(0, 6), error.message === `Prediction failed: ${made.error}`];
    }
    return null;
  },

  async next_page() {
    const lister = new Replicate({ auth: told.lister, baseUrl });
    const pages = [];
    for await (const page of lister.paginate(lister.predictions.list)) pages.push(page);
    const ids = pages.flat().map((entry) => entry.id);
    const first = await lister.predictions.list();
    const second = await (await lister.request(first.next, { method: "GET" })).json();
    const same = second.results.map((entry) => entry.id).join() === ids.slice(100).join();
    return [first.results.length, ids.length, new Set(ids).size, second.next, same];
  },

  async errors() {
    const stranger = new Replicate({ auth: "hr_nobody", baseUrl });
    const calls = {
      401: () => stranger.run("stock/text", { input: input("x") }),
      404: () => replicate.predictions.get("a".repeat(26)),
      "404 model": () => replicate.models.get("stock", "nothing"),
      "422 input": () => replicate.run("stock/text", { input: { picture: 1 } }),
      "422 missing": () => replicate.run("stock/text", { input: {} }),
      "422 version": () => replicate.predictions.create({ version: "0".repeat(64), input: input("x") }),
    };
    const found = {};
    for (const [name, call] of Object.entries(calls)) {
      try {
        await call();
        found[name] = null;
      } catch (error) {
        const { title, detail } = JSON.parse(error.message.slice(error.message.indexOf("{")).replace(/\.$/, ""));
        found[name] = [error.response.status, Boolean(title), Boolean(detail)];
      }
    }
    return found;
  },

  async too_many() {
    const full = new Replicate({ auth: told.full, baseUrl });
    try {
      await full.run("stock/text", { input: input("one more") });
    } catch (error) {
      const { detail } = JSON.parse(error.message.slice(error.message.indexOf("{")).replace(/\.$/, ""));
      if (!(Number(error.response.headers.get("Retry-After")) > 0)) throw error;
      return [error.response.status, Boolean(detail)];
    }
    return null;
  },

  async training() {
    const recipe = (await replicate.models.get("headrace", "image-classifier")).latest_version;
    const made = await replicate.trainings.create("headrace", "image-classifier", recipe.id, {
      destination: "stock/trained",
      input: { dataset: told.dataset, epochs: 1 },
    });
    const first = [made.status, made.output];
    if (!told.trains) {
      await replicate.trainings.cancel(made.id);
      const listed = (await replicate.trainings.list()).results.map((entry) => entry.id);
      return [first, (await replicate.trainings.get(made.id)).status, listed.includes(made.id)];
    }
    const ended = await until(async () => {
      const now = await replicate.trainings.get(made.id);
      return ["succeeded", "failed", "canceled"].includes(now.status) && now;
    }, 240);
    const [model, id] = ended.output.version.split(":");
    const version = await replicate.models.versions.get("stock", "trained", id);
    return [first, ended.status, model, version.id.length, version.cog_version];
  },

  async version_objects() {
    const model = await replicate.models.get("stock", "words");
    const listed = await replicate.models.versions.list("stock", "words");
    return [
      model.name,
      model.latest_version.id === versions.words,
      listed.results.map((entry) => entry.id).join() === versions.words,
      Object.keys(model.latest_version.openapi_schema.components.schemas).sort().slice(0, 2),
    ];
  },

  async create_and_delete_a_model() {
    const name = `made-${told.name}`;
    const made = await replicate.models.create("stock", name, { visibility: "private", hardware: "cpu" });
    // The client has no call that deletes a model.
    const deleted = (await replicate.request(`/models/stock/${name}`, { method: "DELETE" })).status === 204;
    try {
      await replicate.models.get("stock", name);
    } catch (error) {
      return [made.name === name, made.visibility, deleted, error.response.status];
    }
    return null;
  },

  account: async () => (await replicate.accounts.current()).username === told.account,
};

await main(cells);

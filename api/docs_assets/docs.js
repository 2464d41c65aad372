"use strict";
// The pages under /docs: fetches the document, with the key that the reader typed where it needs one, and shows it.
// The key stays in this tab (sessionStorage) and is sent to this origin only.

const { prefix, model } = document.body.dataset;
const KEPT = "headrace-key";
const element = (id) => document.getElementById(id);

function say(text, isWrong = false) {
  element("message").textContent = text;
  element("message").classList.toggle("wrong", isWrong);
}

async function fetched(path, key) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const reply = await fetch(prefix + path, { headers, credentials: "omit" });
  const body = await reply.json();
  if (!reply.ok) throw new Error(body.detail || reply.statusText);
  return body;
}

function show(spec, key) {
  // The page may be reached under another name than the document's; calls go where the page came from.
  spec.servers = [{ url: location.origin + prefix }];
  const ui = SwaggerUIBundle({
    spec,
    domNode: element("reference"),
    deepLinking: true,
    validatorUrl: null,
    displayRequestDuration: true,
    defaultModelsExpandDepth: model ? 2 : 0,
    docExpansion: model ? "list" : "none",
    onComplete: () => {
      if (key) ui.preauthorizeApiKey("key", key);
      document.body.dataset.ready = "true";
    },
  });
}

function showSnippets(samples) {
  const tabs = samples.map(({ label, source }) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.role = "tab";
    tab.textContent = label;
    tab.onclick = () => {
      tabs.forEach((other) => other.setAttribute("aria-selected", String(other === tab)));
      element("code").textContent = source;
    };
    return tab;
  });
  element("languages").replaceChildren(...tabs);
  element("snippets").hidden = tabs.length === 0;
  if (tabs.length) tabs[0].click();
}

element("copy").hidden = !navigator.clipboard; // browsers have none on plain http, but for this machine
element("copy").onclick = () => navigator.clipboard.writeText(element("code").textContent);

function link(path, text) {
  const anchor = document.createElement("a");
  anchor.href = prefix + path;
  anchor.textContent = text;
  return anchor;
}

async function showModels(key) {
  const { results } = await fetched("/v1/models", key);
  const links = results.map(({ owner, name }) => link(`/docs/models/${owner}/${name}`, `${owner}/${name}`));
  element("models").replaceChildren("Models:", ...links);
  element("models").hidden = false;
}

async function showVersions(key, shown) {
  const { results } = await fetched(`/v1/models/${model}/versions`, key);
  const links = results.map(({ id }) => {
    const anchor = link(`/docs/models/${model}?version=${id}`, id.slice(0, 12));
    if (id === shown) anchor.setAttribute("aria-current", "page");
    return anchor;
  });
  element("models").replaceChildren("Versions:", ...links);
  element("models").hidden = false;
}

async function showModel(key) {
  const version = new URLSearchParams(location.search).get("version");
  const path = version ? `/v1/models/${model}/versions/${encodeURIComponent(version)}` : `/v1/models/${model}`;
  const spec = await fetched(`${path}/openapi.json`, key);
  const operations = Object.values(spec.paths).flatMap((item) => Object.values(item));
  showSnippets(operations.flatMap((operation) => operation["x-codeSamples"] || []));
  show(spec, key);
  await showVersions(key, spec.info.version);
}

async function render() {
  const key = sessionStorage.getItem(KEPT) || "";
  element("key").value = key;
  try {
    if (!model) {
      show(await fetched("/openapi.json"), key);
      if (key) await showModels(key);
      say(key ? "" : "With an API key, each model's own page is listed here.");
    } else if (key) {
      await showModel(key);
      say("");
    } else {
      say("Models are shown to those who have a key: type yours above. It is kept in this tab only.");
      document.body.dataset.ready = "true";
    }
  } catch (error) {
    say(error.message, true);
    document.body.dataset.ready = "true";
  }
}

element("key-form").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEPT, element("key").value.trim());
  render();
};

render();

// Makes one job of all pictures and shows each answer as it comes, by EventSource. The page holds a short-lived token that
// is good for one model; the key behind it stays with serve.py.

const element = (id) => document.getElementById(id);

function asDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

async function ask(files) {
  const { server, model, token } = await (await fetch("token", { method: "POST" })).json();
  const image = await Promise.all(files.map(asDataUrl));
  const reply = await fetch(`${server}/v1/models/${model}/predictions`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify({ input: { image }, stream: true }),
  });
  const job = await reply.json();
  if (!reply.ok) throw new Error(job.detail);

  const source = new EventSource(job.urls.stream);
  source.addEventListener("output", (event) => {
    const { label, score } = JSON.parse(event.data);
    const line = document.createElement("li");
    line.textContent = `${files[element("answers").childElementCount].name}: ${label} (${score.toFixed(2)})`;
    element("answers").append(line);
  });
  source.addEventListener("error", (event) => {
    if (event.data) element("state").textContent = JSON.parse(event.data).detail;
  });
  source.addEventListener("done", () => {
    source.close();
    element("state").textContent ||= "Done.";
  });
}

element("files").onchange = async (event) => {
  element("answers").replaceChildren();
  element("state").textContent = "";
  try {
    await ask([...event.target.files]);
  } catch (error) {
    element("state").textContent = error.message;
  }
};

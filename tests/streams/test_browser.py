import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser import Page, browser_at
from tests.promises.conftest import HOLD, MODEL, PLAIN, Stack, free_port

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

SCRIPT = """
const said = [];
const api = "%s", token = "%s", model = "%s";
const headers = {Authorization: `Bearer ${token}`, "Content-Type": "application/json"};

async function predict(x, extra) {
  const body = JSON.stringify({input: {x}, stream: true});
  const path = `${api}/v1/models/${model}/predictions`;
  const reply = await fetch(path, {method: "POST", headers: {...headers, ...extra}, body});
  said.push(["created", reply.status, reply.headers.get("Location") !== null]);
  return await reply.json();
}

async function byEventSource(x) {
  const job = await predict(x, {"Idempotency-Key": crypto.randomUUID ? crypto.randomUUID() : String(Math.random())});
  const source = new EventSource(job.urls.stream);
  source.addEventListener("output", event => said.push(["output", event.data]));
  source.addEventListener("done", event => { said.push(["done", event.data]); source.close(); });
}

async function byFetch(x) {
  const job = await predict(x, {Prefer: "wait=1"});
  const reply = await fetch(`${job.urls.get}/events`, {headers});
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let piece; !(piece = await reader.read()).done;) text += piece.value;
  said.push(...text.split("\\n\\n").filter(block => block.startsWith("event:")).map(block => block.split("\\n")[0]));
}

async function refused() {
  const reply = await fetch(`${api}/v1/predictions`, {headers});
  said.push(["refused", reply.status, (await reply.json()).status]);
  await fetch(`${api}/v1/predictions/nothing`).then(reply => said.push(["without", reply.status]));
}

function reconnecting(url) {
  const source = new EventSource(url);
  source.addEventListener("output", event => said.push(["output", event.data]));
  source.addEventListener("done", event => said.push(["done", event.data]));
  source.onerror = () => { if (source.readyState === EventSource.CLOSED) said.push(["rests"]); };
}
"""


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[str]:
    """A site of its own with an empty page."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><link rel=icon href=data:,><title>A page</title>")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def stack(make_stack: Callable[..., Stack], origin: str) -> Stack:
    made = make_stack(HEADRACE_HTTP__CORS_ORIGINS=f'["{origin}"]')
    made.start_api()
    made.start_worker()
    return made


@pytest.fixture
def page(needs: Callable[[str], str], tmp_path: Path, stack: Stack, origin: str) -> Iterator[Page]:
    """A page of another origin that holds a token for the model."""
    reply = stack.call("POST", "/v1/browser-tokens", {"model": MODEL, "expires_in": 300})
    assert reply.status_code == 201, reply.text
    with browser_at(needs("chromium"), tmp_path / "profile") as browser:
        page = browser.page()
        page.open(origin)
        page.wait_for("document.title === 'A page'")
        page.evaluate(SCRIPT % (stack.url, reply.json()["token"], MODEL))
        yield page


def said(page: Page) -> list[object]:
    found: list[object] = page.evaluate("said")
    return found


def test_a_page_of_another_origin_predicts_and_streams_with_event_source(page: Page) -> None:
    page.evaluate(f"byEventSource([[1, {PLAIN}], [2, {PLAIN}]])")
    page.wait_for("said.length >= 4")

    assert said(page) == [["created", 201, True], ["output", "[2]"], ["output", "[4]"], ["done", "{}"]]


def test_a_page_streams_every_event_with_fetch(page: Page) -> None:
    page.evaluate(f"byFetch([3, {PLAIN}])")
    page.wait_for("said.length >= 6")

    assert said(page)[0] == ["created", 201, True]
    names = ["status", "status", "output", "metric", "status", "done"]
    assert said(page)[1:] == [f"event: {name}" for name in names]


def test_errors_are_readable_to_a_page(page: Page) -> None:
    page.evaluate("refused()")
    page.wait_for("said.length >= 2")

    assert said(page) == [["refused", 403, 403], ["without", 401]]


def test_a_page_that_was_cut_off_goes_on_by_itself_and_rests_when_all_is_said(page: Page, stack: Stack) -> None:
    rows = [[n, HOLD if n == 100 else PLAIN] for n in range(150)]
    made = stack.call("POST", f"/v1/models/{MODEL}/predictions", {"input": {"x": rows}, "stream": True})
    page.evaluate(f"reconnecting({made.json()['urls']['stream']!r})")
    page.wait_for("said.length >= 64")
    api = next(process for process in stack.processes if "granian" in str(process.args))
    stack.kill(api)
    stack.start_api(int(stack.url.rpartition(":")[2]))
    stack.let_go()
    page.wait_for("said.length >= 152", 60)

    assert said(page) == [*(["output", f"[{2 * n}]"] for n in range(150)), ["done", "{}"], ["rests"]]

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--window-size=1400,1600",
    "--remote-debugging-pipe",
)


class Page:
    """One tab: what it asked for, what went wrong in it, and what it shows."""

    def __init__(self, browser: "Browser", session: str) -> None:
        self._browser = browser
        self._session = session
        self.requests: list[str] = []
        self.errors: list[str] = []
        for domain in ("Network", "Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        return self._browser.call(method, self._session, **parameters)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        answer = self._evaluated(expression)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 30.0) -> Any:
        until = time.monotonic() + seconds
        while True:
            answer = self._evaluated(expression)  # what it speaks of may be missing while the page is on its way
            if "exceptionDetails" not in answer and (value := answer["result"].get("value")):
                return value
            assert time.monotonic() < until, (expression, self.errors, self.evaluate("document.body.innerText")[:2000])
            self._browser.listen(0.05)

    def _evaluated(self, expression: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        return answer

    def screenshot(self, path: Path) -> None:
        import base64

        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def note(self, method: str, facts: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(facts["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "assert"):
            self.errors.append(str(facts["args"]))
        elif method == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.errors.append(f"{facts['entry']['source']}: {facts['entry']['text']} {facts['entry'].get('url', '')}")


class Browser:
    """Chromium, driven over a pipe by its own protocol."""

    def __init__(self, program: str, folder: Path) -> None:
        command_end, self._to = os.pipe()
        self._from, reply_end = os.pipe()
        # The protocol wants its ends as file descriptors 3 and 4.
        script = f'exec "$0" "$@" 3<&{command_end} 4>&{reply_end}'
        command = ["bash", "-c", script, program, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        with (folder.parent / "chromium.log").open("wb") as log:
            self.process = subprocess.Popen(command, pass_fds=(command_end, reply_end), stdout=log, stderr=log)
        os.close(command_end)
        os.close(reply_end)
        self._rest = b""
        self._number = 0
        self._pages: dict[str, Page] = {}

    def page(self) -> Page:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        return page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        until = time.monotonic() + 30
        while time.monotonic() < until:
            for answer in self._messages(until - time.monotonic()):
                if answer.get("id") == self._number:
                    assert "error" not in answer, (method, answer["error"])
                    return answer["result"]
        raise AssertionError(f"the browser does not answer {method}")

    def listen(self, seconds: float) -> None:
        """Takes in what happens meanwhile."""
        for answer in self._messages(seconds):
            assert "id" not in answer

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        os.close(self._to)
        os.close(self._from)

    def _messages(self, seconds: float) -> Iterator[dict[str, Any]]:
        if b"\0" not in self._rest:
            if not select.select([self._from], [], [], max(0.0, seconds))[0]:
                return
            data = os.read(self._from, 1 << 20)
            assert data, "the browser is gone"
            self._rest += data
        while b"\0" in self._rest:
            whole, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(whole)
            page = self._pages.get(answer.get("sessionId", ""))
            if page is not None and "method" in answer:
                page.note(answer["method"], answer["params"])
            yield answer


@contextmanager
def browser_at(program: str, folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    browser = Browser(program, folder)
    try:
        yield browser
    finally:
        browser.close()

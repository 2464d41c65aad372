from collections.abc import Callable
from pathlib import Path

import pytest

from shared.models.version import ModelVersion
from tests.api.conftest import Server
from tests.browser import Page, browser_at

pytestmark = pytest.mark.long


def has_asked_only(page: Page, url: str) -> bool:
    return all(asked.startswith((url + "/", "data:")) for asked in page.requests) and page.errors == []


def test_the_pages_render_in_a_browser_without_another_host(
    server: Server, api_key: str, version: ModelVersion, tmp_path: Path, needs: Callable[[str], str]
) -> None:
    with browser_at(needs("chromium"), tmp_path / "profile") as browser:
        page = browser.page()
        page.open(f"{server.url}/docs")
        page.wait_for("document.querySelectorAll('.opblock-tag').length > 5")
        page.wait_for("document.body.dataset.ready")
        assert "prediction" in page.evaluate("document.getElementById('reference').innerText")
        page.screenshot(tmp_path / "docs.png")

        page.open(f"{server.url}/docs/models/ada/digits")
        page.wait_for("document.body.dataset.ready && location.pathname.endsWith('digits')")
        assert "type yours above" in page.evaluate("document.getElementById('message').innerText")
        page.evaluate(f"document.getElementById('key').value = '{api_key}'")
        page.evaluate("document.querySelector('#key-form button').click()")
        page.wait_for("document.querySelectorAll('.opblock').length >= 3")
        page.wait_for("document.getElementById('models').innerText.includes('" + version.id[:12] + "')")
        tabs = page.evaluate("[...document.querySelectorAll('#languages button')].map((tab) => tab.innerText)")
        assert tabs == ["curl", "Python", "JavaScript"]
        page.evaluate("document.querySelectorAll('#languages button')[1].click()")
        assert 'client.run("ada/digits"' in page.evaluate("document.getElementById('code').innerText")
        page.screenshot(tmp_path / "model.png")
        page.open(f"{server.url}/docs")
        page.wait_for("document.getElementById('models').innerText.includes('ada/digits')")
        assert has_asked_only(page, server.url), (page.requests, page.errors)

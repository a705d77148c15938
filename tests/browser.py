"""A real Chromium: where the browser is, and a page that remembers what went wrong on it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, sync_playwright


@contextmanager
def opened(url: str, *, width: int = 1200, height: int = 900) -> Iterator[tuple[Page, list[str]]]:
    """A page at an address, and a list that grows with every error on it and every request to another host."""
    path = shutil.which("chromium")
    if path is None:
        if "LLM4REC_ALL_SERVICES" in os.environ:  # continuous integration, which installed it
            raise FileNotFoundError("chromium")
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height})
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(url) else wrong.append(request.url))
        page.goto(url)
        yield page, wrong
        browser.close()

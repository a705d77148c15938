"""The page in a real Chromium, over a real server with a small catalogue; tests/ray has it over the whole service."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from small_service import STATUSES, SmallService

from llm4rec.serve.app import build_app
from llm4rec.serve.config import ServeConfig
from llm4rec.serve.keys import create_key
from tests.browser import opened


@pytest.fixture
def key(tmp_path: Path) -> str:
    return create_key(tmp_path / "keys.json", "page", ["read", "write", "admin"])


@pytest.fixture(params=["open", "with keys"])
def url(request: pytest.FixtureRequest, service: SmallService, tmp_path: Path, key: str) -> Iterator[str]:
    keys = str(tmp_path / "keys.json") if request.param == "with keys" else ""
    app = build_app(lambda: service, ServeConfig(keys=keys), statuses=STATUSES)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def grave_faults(page: Page) -> list[tuple[str, str]]:
    """What axe calls serious or critical."""
    found = Axe().run(page).response["violations"]
    return [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in {"serious", "critical"}]


def show_key(page: Page, key: str) -> None:
    """Where the page asks for a key, give it one."""
    expect(page.locator("#users li").or_(page.locator("#key-box:visible")).first).to_be_visible()
    if page.locator("#key-box").is_visible():
        page.locator("#key").fill(key)
        page.locator("#key-box button").click()


def test_choose_read_reasons_give_feedback_and_ask_in_words(url: str, key: str, tmp_path: Path) -> None:
    with opened(url) as (page, wrong):
        show_key(page, key)
        page.locator("#users button", has_text="7").click()
        cards = page.locator("#slate > li")
        expect(cards).to_have_count(6)
        expect(cards.first.locator(".reason-text")).to_have_text("Because of\n\ngenres é.", use_inner_text=False)
        expect(cards.first.locator(".badge.source")).to_have_text("Template")
        liked = cards.first.locator(".title").inner_text()
        cards.first.get_by_role("button", name="Like", exact=True).click()
        expect(page.locator("#gone")).to_contain_text(liked)
        expect(cards).to_have_count(5)
        expect(page.locator("#history li").first).to_contain_text(liked)
        page.locator("#query").fill("something quiet")
        page.locator("#query").press("Enter")
        expect(page.locator("#follow-box")).to_be_visible()
        page.locator("#k").fill("2")
        expect(cards).to_have_count(2)
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        assert [text for text in wrong if "401" not in text] == []


def test_nothing_is_in_the_way_of_anybody(url: str, key: str) -> None:
    for width in (1200, 360):
        with opened(url, width=width) as (page, _):
            show_key(page, key)
            page.locator("#users button", has_text="7").click()
            expect(page.locator("#slate .badge.source").first).to_be_visible()
            found = Axe().run(page).response["violations"]
            serious = [
                (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in {"serious", "critical"}
            ]
            assert serious == []
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_keyboard_is_enough(url: str, key: str) -> None:
    with opened(url) as (page, _):
        show_key(page, key)
        expect(page.locator("#users button").first).to_be_visible()
        page.locator("#user-search").focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#slate > li")).to_have_count(6)
        page.locator("#slate > li button").first.focus()
        page.keyboard.press("Space")
        expect(page.locator("#slate > li")).to_have_count(5)
        expect(page.locator("#slate-heading")).to_be_focused()


def test_a_wrong_key_is_asked_for_again(url: str, key: str) -> None:
    with opened(url) as (page, _):
        expect(page.locator("#users li").or_(page.locator("#key-box:visible")).first).to_be_visible()
        if not page.locator("#key-box").is_visible():
            return
        page.locator("#key").fill("wrong")
        page.locator("#key-box button").click()
        expect(page.locator("#message")).to_contain_text("no valid key")
        expect(page.locator("#key-box")).to_be_visible()


def test_models_are_compared_with_their_intervals(url: str, key: str) -> None:
    for width in (1200, 360):
        with opened(url, width=width) as (page, wrong):
            page.goto(f"{url}/models")
            expect(page.locator("#models:visible, #key-box:visible").first).to_be_visible()
            if page.locator("#key-box").is_visible():
                page.locator("#key").fill("l4r_wrong")
                page.locator("#key-box button").click()
                expect(page.locator("#message")).to_contain_text("no valid key")
                page.locator("#key").fill(key)
                page.locator("#key-box button").click()
            rows = page.locator("#models tbody tr")
            expect(rows).to_have_count(2)
            expect(rows.nth(1)).to_contain_text("small-2")
            expect(rows.nth(1)).to_contain_text("25.0 %")
            expect(rows.nth(1)).to_contain_text("23.0 % to 37.0 %")
            expect(page.locator("#trial")).to_have_text(
                "The candidate's share is higher by 10.0 percentage points (2.0 to 18.0): better."
            )
            expect(page.locator("#failed")).to_have_text("small-3 could not be opened: a file is <damaged>")
            assert grave_faults(page) == []
            assert [text for text in wrong if "401" not in text] == []

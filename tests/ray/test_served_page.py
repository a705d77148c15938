"""The page in a real Chromium over the whole service: model, log, learner and language model."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from llm4rec.cluster.demo import Client
from tests.browser import opened

pytestmark = pytest.mark.ray


def test_a_visit(app: Client, tmp_path: Path) -> None:
    with opened(app.url) as (page, wrong):
        page.locator("#users button").nth(3).click()
        cards = page.locator("#slate > li")
        expect(cards).to_have_count(10)
        expect(page.locator("#slate .badge.source")).to_have_count(10)
        expect(page.locator("#slate .badge.source:visible")).to_have_count(10, timeout=120_000)
        shown = cards.locator(".title").all_inner_texts()
        cards.nth(2).get_by_role("button", name="Dislike").click()
        expect(page.locator("#gone")).to_contain_text(shown[2])
        expect(page.locator("#history li").first).to_contain_text("dislike")
        page.locator("#explain").uncheck()
        page.locator("#query").fill("a scary horror film from before 1981")
        page.locator("#query").press("Enter")
        expect(page.locator("#understood")).to_contain_text("Horror")
        page.locator("#query").fill("")
        for slider in ("diversity", "debias"):
            before = cards.locator(".numbers").all_inner_texts()
            page.locator(f"#{slider}").fill("1")
            expect(page.locator(f"#{slider}-value")).to_have_text("1")
            expect(page.locator("#message")).to_contain_text("Slate:")
            expect(cards.locator(".numbers").first).not_to_have_text(before[0])
        expect(page.locator("#status")).to_contain_text("learnt from")
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        assert wrong == []

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import llm4rec.serve.app as app_module

PAGE = Path(app_module.PAGE)


class Elements(HTMLParser):
    """All elements of a page, as (tag, attributes)."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


@pytest.mark.parametrize("path", ["/", "/docs", "/models"])
def test_a_page_loads_what_it_names_from_this_host_and_has_no_inline_code(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    elements = Elements(answer.text).found
    loaded = [values.get("src") or values["href"] for tag, values in elements if tag in {"script", "link"}]
    assert len(loaded) == 3
    for address in loaded:
        assert address is not None and address.startswith("/static/")
        assert client.get(address).status_code == 200
    for tag, values in elements:
        assert tag != "style" and "style" not in values and not any(name.startswith("on") for name in values)


@pytest.mark.parametrize("path", sorted(PAGE.glob("*.js")), ids=lambda path: path.name)
def test_scripts_keep_to_this_host_and_insert_text_only(path: Path) -> None:
    script = path.read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script)
    assert not re.search(r"https?://|[\"'`]//", script)
    for imported in re.findall(r'from "([^"]+)"', script):
        assert (PAGE / imported.removeprefix("/static/")).is_file()


def test_every_control_has_a_label_and_every_reference_a_target() -> None:
    elements = Elements((PAGE / "index.html").read_text()).found
    ids = {values["id"] for _, values in elements if "id" in values}
    labelled = {values["for"] for tag, values in elements if tag == "label"}
    assert {values["id"] for tag, values in elements if tag == "input"} <= labelled <= ids
    for named in re.findall(r'by\("([^"]+)"\)', (PAGE / "page.js").read_text()):
        assert named in ids


def test_the_page_can_be_left_out(client: TestClient) -> None:
    app = app_module.build_app(client.app.state.get_backend, client.app.state.config, page=False)
    with TestClient(app) as without:
        assert without.get("/").status_code == 404
        assert without.get("/docs").status_code == 200

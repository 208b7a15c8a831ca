"""The page /docs: everything the OpenAPI document has, offline, without a script."""

import re
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from serve_app.gateway.docs_page import STYLE, STYLE_HASH, docs_page

from .services import Served, connect

VOID = {"meta", "br"}
ODD = "<script>alert(1)</script> \"quoted\" & `code <b>` 'x'"


class Page(HTMLParser):
    """The tags, attributes, ids and visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.said = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.said += data

    def values(self, name: str) -> list[str]:
        return [value or "" for key, value in self.attributes if key == name]


@pytest.fixture
async def answer(served: Served) -> httpx.Response:
    return await connect(served.app, {}).get("/docs")  # without a key


async def test_the_page_has_every_operation_field_and_schema(answer: httpx.Response, served: Served) -> None:
    document = (await served.client().get("/openapi.json")).json()
    page = Page(answer.text)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert f"op-{operation['operationId']}" in page.values("id")
            assert f"{method.upper()} {path} {operation['summary']}" in page.said
    for name, schema in document["components"]["schemas"].items():
        assert f"schema-{name}" in page.values("id")
        assert all(field in page.said for field in schema.get("properties", {}))
    assert "at least" in page.said and "Idempotency-Key" in page.said


def test_the_page_loads_and_runs_nothing(answer: httpx.Response) -> None:
    page = Page(answer.text)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert {"script", "link", "img", "iframe", "form", "object"} & set(page.tags) == set()
    assert [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "style")] == []
    assert "url(" not in STYLE and "@import" not in STYLE
    anchors = [link for link in page.values("href") if link.startswith("#")]
    assert {link for link in page.values("href") if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in anchors} - set(page.values("id")) == set()
    assert len(set(page.values("id"))) == len(page.values("id"))


def test_the_policy_allows_the_pages_own_style_and_nothing_else(answer: httpx.Response) -> None:
    (policy,) = answer.headers.get_list("content-security-policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("style-src") == f"'sha256-{STYLE_HASH}'"
    assert set(rules.values()) == {"'none'"} and "default-src" in rules
    assert re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL) == [STYLE]


def test_what_a_graph_says_of_itself_is_text() -> None:
    operation: dict[str, Any] = {
        "operationId": ODD,
        "summary": ODD,
        "description": f"{ODD}\n\nsecond",
        "tags": [ODD],
        "parameters": [{"name": ODD, "in": "query", "description": ODD, "schema": {"enum": [ODD], "default": ODD}}],
        "requestBody": {"content": {ODD: {"schema": {"properties": {ODD: {"const": ODD}}}, "example": {ODD: ODD}}}},
        "responses": {"200": {"description": ODD, "content": {ODD: {"schema": {"$ref": ODD}}}, "headers": {ODD: {}}}},
    }
    document = {
        "info": {"title": ODD, "version": ODD},
        "paths": {ODD: {"get": operation}},
        "components": {"schemas": {ODD: {"description": ODD, "type": ODD}}},
    }
    page = Page(docs_page(document))
    assert {"script", "b"} & set(page.tags) == set()
    assert page.said.count("alert(1)") >= 12


async def test_old_pages_of_the_framework_are_not_there(served: Served) -> None:
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert (await served.client().get(path)).status_code == 404
        assert (await connect(served.app, {}).get(path)).status_code == 401

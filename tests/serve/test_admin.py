"""The port for those who run the server: what it shows, and to whom."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import strop.serve
from strop.serve import admin
from strop.serve.app import App
from strop.serve.lookback import Lookback
from tests.serve.conftest import POISON, Doubler
from tests.serve.test_app import INFER, body

Within = Callable[..., Any]
PAGE = Path(strop.serve.__path__[0]) / "page"


@dataclass
class Exchange:
    """What granian hands over, as far as this port uses it."""

    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.answers.append((status, dict(headers), body))


@dataclass
class Scope:
    """A request."""

    path: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    proto: str = "http"


Ask = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture
def ask(within: Within) -> Ask:
    """Ask an idle server one thing."""

    def call(path: str, method: str = "GET", host: str | None = "127.0.0.1:8082", **headers: str) -> Any:
        async def act(app: App, program: Doubler) -> Any:
            exchange = Exchange()
            named = {name.replace("_", "-"): value for name, value in headers.items()} | ({"host": host} if host else {})
            await admin.front(app, {"read": 0.5}, Lookback(app))(Scope(path, method, named), exchange)  # type: ignore[arg-type]
            (answer,) = exchange.answers
            return answer

        return within(act)

    return call


@pytest.mark.parametrize("path", [*admin.PAGE, "/stats", "/metrics", "/v2/health/live", "/v2/health/ready"])
def test_what_there_is_is_guarded(path: str, ask: Ask) -> None:
    status, headers, content = ask(path)
    assert (status, bool(content)) == (200, True)
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in headers["content-security-policy"] and headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin" and headers["cache-control"] == "no-store"
    assert not [name for name in headers if name.startswith("access-control-")]


def test_what_there_is_not(ask: Ask) -> None:
    assert ask("/live.html")[0] == ask("/../server.py")[0] == ask("/v2/models/double")[0] == 404
    status, headers, _ = ask("/stats", "POST")
    assert (status, headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8082", "127.0.0.1", "127.0.0.1:9", "[::1]", "[::1]:8082"])
def test_this_machine_s_own_names_are_answered(host: str, ask: Ask) -> None:
    assert ask("/stats", host=host)[0] == 200


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "evil.example:8082", "127.0.0.1.evil.example", "localhost:8082.evil.example",
             "127.0.0.1:x", "localhost.", "127.0.0.2", "[::1"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/stats", "/metrics", "/v2/health/ready"])
def test_a_stranger_s_name_for_this_machine_is_refused(path: str, host: str | None, ask: Ask) -> None:
    status, _, content = ask(path, host=host)
    assert status == 403
    assert b"double" not in content


def test_other_sites_read_nothing_but_may_link_to_the_page(ask: Ask) -> None:
    for path in ("/stats", "/metrics", "/live.js"):
        assert ask(path, sec_fetch_site="cross-site")[0] == ask(path, sec_fetch_site="same-site")[0] == 403
        assert ask(path, sec_fetch_site="same-origin")[0] == ask(path, sec_fetch_site="none")[0] == 200
    assert ask("/", sec_fetch_site="cross-site")[0] == 200


def test_the_figures_add_up_and_are_plain_json(within: Within) -> None:
    async def act(app: App, program: Doubler) -> dict[str, Any]:
        look, exchange = Lookback(app), Exchange()
        for value in (1.0, 2.0, POISON):
            await app.handle("POST", INFER, {}, body(value))
        await app.handle("POST", INFER, {}, b"{")
        look.take(asyncio.get_running_loop().time() + 1)
        await admin.front(app, {"read": 0.5}, look)(Scope("/stats", headers={"host": "localhost"}), exchange)  # type: ignore[arg-type]
        return json.loads(exchange.answers[0][2])

    figures = within(act)
    requests = figures["requests"]
    assert requests == {"sent": 4, "open": 0, "ok": 2, "refused": 0, "expired": 0, "failed": 2, "cancelled": 0}
    assert figures["reasons"] == {"engine": 1, "invalid": 1} and figures["unaccounted"] == 0
    assert (figures["ready"], figures["objective"], figures["cold"]) == (True, 0.5, {"read": 0.5})
    assert 0 < figures["memory"]["free"] < figures["memory"]["total"]
    assert figures["series"]["step"] == 1.0 and figures["recent"]["p50"] <= figures["recent"]["p99"]


def test_the_page_fetches_nothing_from_elsewhere_and_every_file_of_it_is_served() -> None:
    assert {file for file, _ in admin.PAGE.values()} == {path.name for path in PAGE.iterdir()}
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|@import|innerHTML|eval\(|<style|style=| on\w+=\"", text), path.name
        assert len(text.splitlines()) <= 400


def test_every_place_the_script_writes_to_is_on_the_page() -> None:
    script, page = ((PAGE / name).read_text(encoding="utf-8") for name in ("live.js", "live.html"))
    named = set(re.findall(r"\b(?:write|at|fill)\(\"([\w-]+)\"", script))
    assert len(named) > 15
    assert named == set(re.findall(r"\bid=\"([\w-]+)\"", page))

"""The live page in a real browser: figures move, nothing is complained about, it fits, and nobody else can read it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from http.client import HTTPException
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts.debian import BROWSERS, browser
from tests.serve.browser import Browser, browsing
from tests.serve.test_server import Server

pytestmark = pytest.mark.slow

WIDTHS = {390: 844, 1440: 900}
Act = Callable[[Browser, Server], Coroutine[Any, Any, None]]


@pytest.fixture
def loaded() -> Iterator[Server]:
    """A server that is asked all the time."""
    server, stop = Server(0.01, {}), threading.Event()

    def ask() -> None:
        number = 0
        while not stop.is_set() and server.process.poll() is None:
            with contextlib.suppress(OSError, HTTPException):  # one test ends the server in the middle
                server.ask("POST", "/v2/models/double/infer", b"{" if number % 50 == 49 else BODY)
            number += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    yield server
    stop.set()
    for thread in threads:
        thread.join()
    with server.process:
        server.process.kill()


BODY = b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}'


@pytest.fixture
def drive(tmp_path: Path, loaded: Server) -> Callable[..., None]:
    """Runs what a browser is to do while the server is under load."""
    program = browser()
    if program is None:
        pytest.skip(f"real data absent: none of {', '.join(BROWSERS)} is here. Run: python scripts/debian.py chromium")

    def run(act: Act, *options: str) -> None:
        async def main() -> None:
            async with browsing(program, tmp_path / "profile", *options) as opened:
                await act(opened, loaded)

        asyncio.run(main())

    return run


def test_figures_move_under_load_and_nothing_is_complained_about(drive: Callable[..., None], tmp_path: Path) -> None:
    async def act(browser: Browser, server: Server) -> None:
        page = await browser.page()
        await page.resize(1440, 900)
        await page.open(f"http://127.0.0.1:{server.admin}/")
        await page.until("document.querySelector('#state').textContent === 'ready'")
        await page.until("document.querySelector('#headline').textContent.includes('answered within 5 s')")
        await page.until("document.querySelectorAll('#chart-rates path.curve')[0]?.getAttribute('d').split('L').length > 3")
        first = await page.text("#ended td")
        await page.until(f"document.querySelector('#ended td').textContent !== {first!r}")
        assert float((await page.text("#rate")).split()[0].replace(",", "")) > 5
        assert (await page.text("#p99")).endswith("ms")
        assert "accounted for" in await page.text("#balance")
        assert "it made no sense" in await page.text("#reasons")
        assert await page.value("document.querySelectorAll('#chart-batches rect').length") == 4
        assert await page.value("document.querySelectorAll('.chart svg').length") == 6
        assert page.complaints == []

    drive(act)


@pytest.mark.parametrize("width", sorted(WIDTHS))
def test_it_fits_in_light_and_dark(width: int, drive: Callable[..., None], tmp_path: Path) -> None:
    async def act(browser: Browser, server: Server) -> None:
        page = await browser.page()
        await page.resize(width, WIDTHS[width])
        colours = {}
        for scheme in ("light", "dark"):
            await page.prefer(scheme)
            await page.open(f"http://localhost:{server.admin}/")
            await page.until("document.querySelectorAll('#chart-rates path.curve')[0]?.getAttribute('d').length > 60")
            assert await page.value("document.documentElement.scrollWidth") <= width
            assert await page.value(
                "[...document.querySelectorAll('svg text')].every((t) => t.getBoundingClientRect().left >= 0)"
            )
            sizes = "[...document.querySelectorAll('main *')].filter((e) => e.children.length === 0 && e.textContent.trim())"
            assert await page.value(f"Math.min(...{sizes}.map((e) => parseFloat(getComputedStyle(e).fontSize)))") >= 11
            colours[scheme] = await page.value("getComputedStyle(document.body).backgroundColor")
            await page.picture(tmp_path / f"{width}-{scheme}.png")
            assert (tmp_path / f"{width}-{scheme}.png").stat().st_size > 10_000
        assert colours == {"light": "rgb(252, 251, 248)", "dark": "rgb(22, 23, 25)"}
        assert page.complaints == []

    drive(act)


def test_a_server_that_is_gone_is_told(drive: Callable[..., None]) -> None:
    async def act(browser: Browser, server: Server) -> None:
        page = await browser.page()
        await page.open(f"http://127.0.0.1:{server.admin}/")
        await page.until("document.querySelector('#state').textContent === 'ready'")
        server.process.kill()
        await page.until("document.querySelector('#state').textContent.startsWith('no contact for')")
        assert await page.value("document.body.classList.contains('stale')")

    drive(act)


def test_other_sites_and_strange_names_learn_nothing(drive: Callable[..., None], tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    elsewhere = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()

    async def act(browser: Browser, server: Server) -> None:
        page = await browser.page()
        await page.open(f"http://evil.example:{server.admin}/stats")
        assert "answers only when it is addressed as localhost" in await page.text("body")
        stats = f"http://127.0.0.1:{server.admin}/stats"
        await page.open(f"http://evil.example:{elsewhere.server_address[1]}/")
        tried = "fetch({0!r}, {1}).then((a) => a.text().then((t) => a.type + t), (e) => 'refused')"
        assert await page.value(tried.format(stats, "{}")) == "refused"
        assert await page.value(tried.format(stats, "{mode: 'no-cors'}")) == "refused", "nor may it be embedded"
        own = await browser.page()
        await own.open(f"http://127.0.0.1:{server.admin}/")
        assert "double" in await own.value("fetch('/stats').then((a) => a.text())"), "the page itself can"
        await own.value("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
        await asyncio.sleep(0.5)
        assert await own.value("window.ran === undefined"), "and no script but its own runs in it"

    try:
        drive(act, "--host-resolver-rules=MAP evil.example 127.0.0.1")
    finally:
        elsewhere.shutdown()

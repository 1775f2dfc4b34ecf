from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from strop.errors import MissingExtraError, StropError, UsageError
from strop.load.client import Client, find_model, metadata, rehearse
from strop.load.oip import Request
from tests.load.scripted_server import ScriptedServer, at_once, statuses

REQUEST = Request(body=b'{"inputs": []}')


def ask(server: ScriptedServer, question: Callable[[Client], Awaitable[object]]) -> object:
    async def main() -> object:
        async with Client(server.url) as client:
            return await question(client)

    return asyncio.run(main())


def test_a_request_arrives_as_it_is_and_its_status_comes_back() -> None:
    with ScriptedServer(statuses(200, 429)) as server:
        for status in (200, 429):
            assert ask(server, lambda client: client.post("/anything", REQUEST)) == status
        assert server.bodies == [REQUEST.body] * 2
        assert server.headers[0]["Content-Type"] == "application/json"


def test_large_bodies_arrive_whole() -> None:
    body = b"[" + b"1," * 400_000 + b"1]"
    with ScriptedServer() as server:
        ask(server, lambda client: client.post("/anything", Request(body=body)))
        assert server.bodies == [body]


def test_an_answer_that_breaks_off_is_a_failure() -> None:
    async def broken(number: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        response.force_close()
        return response

    with ScriptedServer(broken) as server:

        async def question(client: Client) -> object:
            with pytest.raises(client.broken):
                await client.post("/anything", REQUEST)
            return "seen"

        assert ask(server, question) == "seen"


def test_the_only_model_needs_no_name() -> None:
    with ScriptedServer(models=["mini"]) as server:
        assert ask(server, lambda client: find_model(client, None)) == "mini"
        assert ask(server, lambda client: find_model(client, "other")) == "other"


@pytest.mark.parametrize(
    ("models", "message"), [(["a", "b"], "it has a, b"), (None, "does not list its models"), ([], "does not list")]
)
def test_a_name_is_asked_for_where_there_is_a_choice(models: list[str] | None, message: str) -> None:
    with ScriptedServer(models=models) as server, pytest.raises(UsageError, match=f"--model NAME.*{message}"):
        ask(server, lambda client: find_model(client, None))


@pytest.mark.parametrize(
    ("models", "message"), [(["echo"], "no model 'ecco' .* It has echo"), (None, "Does it speak the Open Inference")]
)
def test_an_unknown_model_is_named_with_those_there_are(models: list[str] | None, message: str) -> None:
    with ScriptedServer(models=models) as server, pytest.raises(UsageError, match=message):
        ask(server, lambda client: metadata(client, "/v2/models/ecco", "ecco"))


@pytest.mark.parametrize(
    ("path", "message"),
    [("/v2/repository/index", "answered /v2/repository/index with 405"), ("/text", "answer to /text is not JSON: words")],
)
def test_an_answer_that_is_no_metadata_is_shown(path: str, message: str) -> None:
    with ScriptedServer() as server, pytest.raises(StropError, match=message):
        ask(server, lambda client: metadata(client, path, "echo"))


def test_a_request_that_cannot_work_is_found_before_the_load() -> None:
    with ScriptedServer(statuses(400)) as server, pytest.raises(UsageError, match=r"answered with 400: .*planted"):
        ask(server, lambda client: rehearse(client, "/v2/models/echo/infer", [REQUEST]))


def test_a_redirect_is_not_followed() -> None:
    async def elsewhere(number: int) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "/text"})

    with ScriptedServer(elsewhere) as server:
        assert ask(server, lambda client: client.post("/anything", REQUEST)) == 307


def test_without_its_package_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'strop\[load\]'"):
        Client("http://127.0.0.1:9")


def test_nobody_listening_is_said_in_words() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server = ScriptedServer(at_once)
        server.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(UsageError, match=r"cannot be reached: .* Is the server running"):
            ask(server, lambda client: client.ask("GET", "/v2"))

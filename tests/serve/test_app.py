"""The service without a server: paths, methods, statuses, and bodies that give nothing away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import strop
from strop.serve.app import App, Response
from strop.serve.limits import Limits
from strop.serve.problem import Problem
from strop.serve.request import Outcome
from tests.serve.conftest import POISON, Doubler

Within = Callable[..., Any]
INFER = "/v2/models/double/infer"


def body(value: float = 1.0, **changes: Any) -> bytes:
    row = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [value] * 4}
    return json.dumps({"inputs": [row], **changes}).encode()


def asked(within: Within, method: str, path: str, data: bytes = b"", **headers: str) -> tuple[Response, Any]:
    """Return the response and its JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def act(app: App, program: Doubler) -> Response:
        return await app.handle(method, path, named, data)

    response = within(act)
    return response, json.loads(response.body)


@pytest.mark.parametrize("path", [INFER, "/v2/models/double/versions/1/infer"])
def test_an_inference_is_answered(within: Within, path: str) -> None:
    response, row = asked(within, "POST", path, body(1.5, id="7"))
    assert response.status == 200
    assert row == {
        "model_name": "double",
        "model_version": "1",
        "id": "7",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [3.0] * 4}],
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/double/ready", {"name": "double", "ready": True}),
        ("/v2/models/double/versions/1/ready", {"name": "double", "ready": True}),
    ],
)
def test_health(within: Within, path: str, expected: Any) -> None:
    response, row = asked(within, "GET", path)
    assert (response.status, row) == (200, expected)


def test_a_draining_server_lives_but_is_not_ready(within: Within) -> None:
    async def act(app: App, program: Doubler) -> list[int]:
        await app.desk.drain(1.0)
        paths = ("/v2/health/live", "/v2/health/ready", "/v2/models/double/ready")
        return [(await app.handle("GET", path, {}, b"")).status for path in paths]

    assert within(act) == [200, 503, 503]


def test_the_index_names_the_model_for_clients_that_do_not_know_it(within: Within) -> None:
    response, rows = asked(within, "POST", "/v2/repository/index")
    assert (response.status, rows) == (200, [{"name": "double", "version": "1", "state": "READY", "reason": ""}])
    assert asked(within, "GET", "/v2/repository/index")[0].status == 405


def test_server_and_model_describe_themselves(within: Within) -> None:
    assert asked(within, "GET", "/v2")[1] == {
        "name": "strop",
        "version": strop.__version__,
        "extensions": ["binary_tensor_data", "model_configuration", "schedule_policy"],
    }
    assert asked(within, "GET", "/v2/models")[1] == {"models": ["double"]}
    assert asked(within, "GET", "/v2/models/double")[1]["platform"] == "test"
    assert asked(within, "GET", "/v2/models/double/config")[1]["max_batch_size"] == 8


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v2/models/other",
        "/v2/models/other/infer",
        "/v2/models/double/versions/2/infer",
        "/v2/models/../double/infer",
        "/v2/models/%2e%2e/infer",
        "/v2/models/double/infer/",
        "/v2/models/" + "d" * 10_000,
        "/v2/models/double\0",
        "/v2/systemsharedmemory/region/a/register",
        "/v2/repository/models/double/unload",
        "/metrics",
        "/etc/passwd",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_else_is_there(within: Within, method: str, path: str) -> None:
    response, row = asked(within, method, path, body())
    assert (response.status, set(row)) == (404, {"error"})


@pytest.mark.parametrize(
    ("method", "path", "allow"), [("GET", INFER, "POST"), ("PUT", INFER, "POST"), ("POST", "/v2", "GET, HEAD")]
)
def test_a_wrong_method_is_told_the_right_one(within: Within, method: str, path: str, allow: str) -> None:
    response, _ = asked(within, method, path, body())
    assert (response.status, dict(response.headers)["allow"]) == (405, allow)


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "application/python-pickle"},
        {"content_type": "multipart/form-data; boundary=x"},
        {"content_encoding": "gzip"},
    ],
)
def test_other_kinds_of_bodies_are_not_read(within: Within, headers: dict[str, str]) -> None:
    assert asked(within, "POST", INFER, body(), **headers)[0].status == 415


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/x-www-form-urlencoded", "APPLICATION/JSON"])
def test_what_clients_really_send_is_read(within: Within, kind: str) -> None:
    assert asked(within, "POST", INFER, body(), content_type=kind)[0].status == 200


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{", body() + b"x"])
def test_bad_bodies_are_400_and_counted(within: Within, data: bytes) -> None:
    async def act(app: App, program: Doubler) -> None:
        assert (await app.handle("POST", INFER, {}, data)).status == 400
        assert app.desk.scheduler.accounts.ended == {Outcome.FAILED: 1}
        assert app.desk.counts.failures["invalid"] == 1
        assert program.batches == []

    within(act)


def test_an_answer_that_json_cannot_say_is_a_failure_in_the_books_too(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        with np.errstate(over="ignore"):
            response = await app.handle("POST", INFER, {}, body(3e38))
        assert response.status == 500
        assert +app.desk.scheduler.accounts.ended == {Outcome.FAILED: 1}

    within(act, expected=1e-4)


def test_errors_of_the_model_give_nothing_away(within: Within) -> None:
    response, row = asked(within, "POST", INFER, body(POISON, id="9"))
    assert (response.status, row) == (500, {"error": "the model failed on it.", "id": "9"})


def test_more_requests_than_allowed_are_refused_before_they_are_read(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        app.open = 2
        problem = app.crowded(0)
        assert isinstance(problem, Problem)
        assert problem.status == 429
        assert (await app.handle("POST", INFER, {}, body())).status == 429
        assert (await app.handle("GET", "/v2", {}, b"")).status == 200
        assert app.desk.scheduler.accounts.ended == {Outcome.REFUSED: 1}

    within(act, limits=Limits(connections=2))


def test_many_good_and_bad_requests_balance(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        bodies = [body(float(n)) if n % 3 else b"{" if n % 2 else body(POISON) for n in range(60)]
        responses = await asyncio.gather(*(app.handle("POST", INFER, {}, data) for data in bodies))
        for number, response in enumerate(responses):
            assert response.status == (200 if number % 3 else 400 if number % 2 else 500)
            if response.status == 200:
                assert json.loads(response.body)["outputs"][0]["data"] == [2.0 * number] * 4
        assert app.desk.scheduler.accounts.ended == {Outcome.OK: 40, Outcome.FAILED: 20}

    within(act)

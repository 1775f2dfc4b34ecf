"""gRPC over real sockets: what clients are told, what the books say, and how calls end that nobody waits for any more."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import aio

from strop.errors import UsageError
from strop.serve.app import App
from strop.serve.grpc_front import GrpcFront
from strop.serve.grpc_messages import HEALTH, INFERENCE, MESSAGES
from strop.serve.limits import Limits
from strop.serve.request import Outcome
from tests.serve.conftest import POISON, STUCK, Doubler
from tests.serve.test_server import Server, settle
from tests.serve.test_server import start as start  # a fixture

Within = Callable[..., Any]
HERE = "127.0.0.1"


class Client:
    """Calls by name; answers are parsed."""

    def __init__(self, port: int) -> None:
        self.channel = aio.insecure_channel(f"{HERE}:{port}")

    async def ask(self, method: str, home: str = INFERENCE, timeout: float | None = 10.0, **fields: Any) -> Any:
        kind = "HealthCheck" if home == HEALTH else method
        return await self.call(method, MESSAGES[f"{kind}Request"](**fields).SerializeToString(), home, timeout)

    def call(self, method: str, body: bytes, home: str = INFERENCE, timeout: float | None = 10.0) -> Any:
        kind = "HealthCheck" if home == HEALTH else method
        return self.channel.unary_unary(f"/{home}/{method}", None, MESSAGES[f"{kind}Response"].FromString)(body, timeout=timeout)

    async def infer(self, value: float = 1.0, rows: int = 1, timeout: float | None = 10.0, **fields: Any) -> Any:
        return await self.ask("ModelInfer", timeout=timeout, **question(value, rows, **fields))


def question(value: float = 1.0, rows: int = 1, **fields: Any) -> dict[str, Any]:
    raw = np.full((rows, 4), value, np.float32).tobytes()
    inputs = [{"name": "x", "datatype": "FP32", "shape": [rows, 4]}]
    return {"model_name": "double", "inputs": inputs, "raw_input_contents": [raw], **fields}


def served(within: Within, act: Callable[[Client, App, Doubler], Coroutine[Any, Any, Any]], **settings: Any) -> Any:
    """Run a coroutine function with a client of a gRPC server of its own."""

    async def inside(app: App, program: Doubler) -> Any:
        front = GrpcFront(app, HERE, 0)
        await front.start()
        client = Client(front.port)
        try:
            return await act(client, app, program)
        finally:
            await client.channel.close()
            await front.stop(5.0)

    return within(inside, **settings)


async def refused(call: Any, code: grpc.StatusCode, words: str) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError, match=words) as caught:
        await call
    assert caught.value.code() == code
    return caught.value


def test_an_inference_is_answered_and_counted(within: Within) -> None:
    async def act(client: Client, app: App, program: Doubler) -> None:
        answer = await client.infer(1.5, 2, id="7")
        assert (answer.model_name, answer.model_version, answer.id) == ("double", "1", "7")
        assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [3.0] * 8
        assert app.desk.scheduler.accounts.ended == {Outcome.OK: 1}
        assert (app.open, app.held) == (0, 0)

    served(within, act)


def test_what_the_server_says_of_itself(within: Within) -> None:
    async def act(client: Client, app: App, program: Doubler) -> None:
        assert (await client.ask("ServerLive")).live
        assert (await client.ask("ServerReady")).ready
        assert (await client.ask("ModelReady", name="double", version="1")).ready
        assert (await client.ask("Check", HEALTH)).status == 1
        assert (await client.ask("Check", HEALTH, service=INFERENCE)).status == 1
        server = await client.ask("ServerMetadata")
        assert (server.name, "binary_tensor_data" in server.extensions) == ("strop", True)
        model = await client.ask("ModelMetadata", name="double")
        assert [(row.name, row.datatype, list(row.shape)) for row in model.inputs] == [("x", "FP32", [-1, 4])]
        assert (await client.ask("ModelConfig", name="double")).config.max_batch_size == 8
        (row,) = (await client.ask("RepositoryIndex")).models
        assert (row.name, row.version, row.state) == ("double", "1", "READY")
        app.desk.draining = True
        assert (await client.ask("ServerLive")).live
        assert not (await client.ask("ServerReady")).ready
        assert not (await client.ask("ModelReady", name="double")).ready
        assert (await client.ask("Check", HEALTH)).status == 2

    served(within, act)


def test_what_is_not_there_is_not_found(within: Within) -> None:
    async def act(client: Client, app: App, program: Doubler) -> None:
        for method in ("ModelReady", "ModelMetadata", "ModelConfig"):
            await refused(client.ask(method, name="other"), grpc.StatusCode.NOT_FOUND, "there is 'double', version 1")
            await refused(client.ask(method, name="double", version="2"), grpc.StatusCode.NOT_FOUND, "no such model or version")
        await refused(client.infer(model_name="other"), grpc.StatusCode.NOT_FOUND, "no such model")
        await refused(client.ask("Check", HEALTH, service="x"), grpc.StatusCode.NOT_FOUND, INFERENCE)
        unknown = client.channel.unary_unary(f"/{INFERENCE}/SystemSharedMemoryRegister")
        await refused(unknown(b""), grpc.StatusCode.UNIMPLEMENTED, "[Mm]ethod not found")
        assert app.desk.scheduler.accounts.ended == {Outcome.FAILED: 1}
        assert program.batches == []

    served(within, act)


def test_requests_that_make_no_sense_are_told_and_counted(within: Within) -> None:
    async def act(client: Client, app: App, program: Doubler) -> None:
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        await refused(client.infer(raw_input_contents=[b"1234"]), invalid, "input 'x': 4 bytes are given")
        await refused(client.call("ModelInfer", b"\xff"), invalid, "are no ModelInferRequest")
        await refused(client.call("ModelReady", b"\xff"), invalid, "are no ModelReadyRequest")
        assert app.desk.scheduler.accounts.ended == {Outcome.FAILED: 2}
        assert (await client.infer()).outputs[0].name == "y"

    served(within, act)


def test_errors_of_the_model_give_nothing_away(within: Within) -> None:
    async def act(client: Client, app: App, program: Doubler) -> None:
        answers = await asyncio.gather(*(client.infer(v) for v in (1.0, POISON, 2.0)), return_exceptions=True)
        assert isinstance(answers[1], aio.AioRpcError)
        assert (answers[1].code(), answers[1].details()) == (grpc.StatusCode.INTERNAL, "the model failed on it.")
        assert [np.frombuffer(answers[n].raw_output_contents[0], np.float32)[0] for n in (0, 2)] == [2.0, 4.0]

    served(within, act)


def test_what_cannot_be_answered_in_time_is_refused_with_the_time_to_retry(within: Within) -> None:
    async def act(client: Client, app: App, program: Doubler) -> None:
        first = asyncio.create_task(client.infer(STUCK, timeout=500.0))
        while not program.batches:
            await asyncio.sleep(0.001)
        error = await refused(client.infer(timeout=150.0), grpc.StatusCode.RESOURCE_EXHAUSTED, "could not be answered in time")
        trailing = dict(error.trailing_metadata() or ())
        status = MESSAGES["Status"].FromString(trailing["grpc-status-details-bin"])
        delay = MESSAGES["RetryInfo"].FromString(status.details[0].value).retry_delay
        assert 0 < delay.seconds + delay.nanos / 1e9 < 150
        program.release.set()
        await first
        assert app.desk.scheduler.accounts.ended == {Outcome.OK: 1, Outcome.REFUSED: 1}

    served(within, act, expected=100.0, objective=600.0, max_rows=1)


def test_a_client_s_deadline_ends_waiting_in_words_and_unexecuted(within: Within) -> None:
    async def act(client: Client, app: App, program: Doubler) -> None:
        first = asyncio.create_task(client.infer(STUCK))
        while not program.batches:
            await asyncio.sleep(0.01)
        with pytest.raises(aio.AioRpcError) as caught:
            await client.infer(timeout=0.15)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        ended = app.desk.scheduler.accounts.ended
        while not ended.total():
            await asyncio.sleep(0.01)
        program.release.set()
        await first
        assert program.batches == [1]
        assert ended[Outcome.EXPIRED] + ended[Outcome.CANCELLED] == 1, "a busy machine lets gRPC end it first"

    served(within, act, expected=0.01, objective=5.0, max_rows=1)


def test_a_deadline_is_brought_forward_by_the_way_back(within: Within, monkeypatch: pytest.MonkeyPatch) -> None:
    class Context:
        def time_remaining(self) -> float:
            return 0.25

    async def act(client: Client, app: App, program: Doubler) -> None:
        asked: list[Any] = []

        async def answer(call: Any, size: int) -> list[Any]:
            asked.append(call.timeout)
            return list(call.arrays)

        monkeypatch.setattr(app.desk, "answer", answer)
        front = GrpcFront(app, HERE, 0)
        for timeout in (0, 100_000, 900_000):
            parameters = {"timeout": {"int64_param": timeout}} if timeout else {}
            message = MESSAGES["ModelInferRequest"](**question(parameters=parameters))
            await front._answer(message.SerializeToString(), Context())
        assert asked == [pytest.approx(0.249), 0.1, pytest.approx(0.249)]

    served(within, act)


def test_a_cancelled_call_is_not_executed_and_its_neighbours_are(within: Within) -> None:
    async def act(client: Client, app: App, program: Doubler) -> None:
        first = asyncio.create_task(client.infer(STUCK))
        while not program.batches:
            await asyncio.sleep(0.01)
        bodies = [MESSAGES["ModelInferRequest"](**question(float(n))).SerializeToString() for n in range(4)]
        calls = [client.call("ModelInfer", body) for body in bodies]
        while len(app.desk.scheduler.queue) < 4:
            await asyncio.sleep(0.01)
        calls[1].cancel()
        calls[2].cancel()
        ended = app.desk.scheduler.accounts.ended
        while ended[Outcome.CANCELLED] < 2:
            await asyncio.sleep(0.01)
        program.release.set()
        answers = [np.frombuffer((await calls[n]).raw_output_contents[0], np.float32)[0] for n in (0, 3)]
        await first
        assert answers == [0.0, 6.0]
        assert program.batches == [1, 2]
        assert ended == {Outcome.OK: 3, Outcome.CANCELLED: 2}
        assert (app.open, app.held) == (0, 0)

    served(within, act, expected=0.01, objective=5.0)


def test_the_limits_of_http_hold_here_too(within: Within) -> None:
    async def act(client: Client, app: App, program: Doubler) -> None:
        exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
        await refused(client.infer(rows=8, raw_input_contents=[bytes(3000)]), exhausted, "larger than max")
        app.held = 1900
        await refused(client.infer(), exhausted, "too many bytes are being read")
        app.held, app.open = 0, 4
        await refused(client.infer(), exhausted, "too many requests are being handled")
        app.open = 0
        await client.infer()
        assert app.desk.scheduler.accounts.ended == {Outcome.REFUSED: 2, Outcome.OK: 1}

    served(within, act, limits=Limits(body=1000, bodies=1920, connections=4))


def test_a_draining_server_is_unavailable(within: Within) -> None:
    async def act(client: Client, app: App, program: Doubler) -> None:
        app.desk.draining = True
        await refused(client.infer(), grpc.StatusCode.UNAVAILABLE, "shutting down")

    served(within, act)


def test_a_taken_port_is_told(within: Within) -> None:
    async def act(client: Client, app: App, program: Doubler) -> None:
        front = GrpcFront(app, HERE, 0)
        with pytest.raises(UsageError, match=f"cannot listen on {HERE}:{front.port} for gRPC.* --grpc-port"):
            GrpcFront(app, HERE, front.port)

    served(within, act)


def test_sigterm_answers_calls_that_run_and_the_books_are_those_of_http(start: Callable[..., Server]) -> None:
    server = start(seconds=0.5, grpc=0)
    with grpc.insecure_channel(f"{HERE}:{server.grpc}") as channel, ThreadPoolExecutor(6) as pool:
        infer = channel.unary_unary(f"/{INFERENCE}/ModelInfer")
        calls = [infer.future(MESSAGES["ModelInferRequest"](**question(float(n))).SerializeToString()) for n in range(4)]
        beside = pool.submit(server.good, 3.0)
        assert settle(lambda: server.counts()['strop_requests_in_flight{model="double"}'] == 5)
        server.process.send_signal(signal.SIGTERM)
        assert server.event()["name"] == "serve.draining"
        time.sleep(0.1)
        with grpc.insecure_channel(f"{HERE}:{server.grpc}") as other, pytest.raises(grpc.RpcError) as caught:
            other.unary_unary(f"/{INFERENCE}/ServerReady")(b"", timeout=5)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        for number, call in enumerate(calls):
            answer = MESSAGES["ModelInferResponse"].FromString(call.result(timeout=10))
            assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [2.0 * number] * 4
        assert beside.result()
    assert server.process.wait(10) == 0
    ended = server.event()
    assert (ended["name"], ended["sent"], ended["ok"]) == ("serve.ended", 5, 5)


def test_without_a_port_there_is_no_grpc(start: Callable[..., Server]) -> None:
    assert start().grpc == ""

"""The application on gRPC: its methods, what its errors are called there, and the server around them.

Messages are taken and given as bytes, so that what cannot be read is answered in words and counted like any other request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from strop.errors import MissingExtraError, UsageError
from strop.serve.app import VERSION, App, server_metadata
from strop.serve.grpc_codec import GrpcCodec, config_message, parse
from strop.serve.grpc_messages import HEALTH, INFERENCE, MESSAGES, NOT_SERVING, SERVING, retry_details
from strop.serve.problem import Problem
from strop.units import Seconds

try:
    import grpc
    from grpc import aio
except ImportError as error:
    raise MissingExtraError("gRPC", "serve") from error

CODES = MappingProxyType(
    {
        400: grpc.StatusCode.INVALID_ARGUMENT,
        404: grpc.StatusCode.NOT_FOUND,
        413: grpc.StatusCode.RESOURCE_EXHAUSTED,
        429: grpc.StatusCode.RESOURCE_EXHAUSTED,
        499: grpc.StatusCode.CANCELLED,
        500: grpc.StatusCode.INTERNAL,
        503: grpc.StatusCode.UNAVAILABLE,
        504: grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
"""Status of a problem → gRPC's."""
BACK: Seconds = 1e-3
"""Time an answer needs to its client: a deadline is brought forward by it, so that who waits in vain still hears why."""

Method = Callable[[bytes, Any], Awaitable[bytes]]


class GrpcFront:
    """Serves an application by gRPC.

    Args:
        app: ready to answer; limits and books are its own, shared with HTTP.
        host: address.
        port: free one, or 0.

    Attributes:
        port: where it will listen.

    Raises:
        UsageError: the port cannot be bound.
    """

    def __init__(self, app: App, host: str, port: int) -> None:
        self._app = app
        self._codec = GrpcCodec(app.signature, app.limits)
        size = app.limits.body
        self._server = aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", size),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", 16 << 10),
            ],
            maximum_concurrent_rpcs=app.limits.connections,
        )
        methods: Mapping[str, Mapping[str, Method]] = {
            INFERENCE: {
                "ServerLive": self._live,
                "ServerReady": self._ready,
                "ModelReady": self._model_ready,
                "ServerMetadata": self._server_metadata,
                "ModelMetadata": self._metadata,
                "ModelConfig": self._config,
                "RepositoryIndex": self._index,
                "ModelInfer": self._infer,
            },
            HEALTH: {"Check": self._health},
        }
        for service, named in methods.items():
            handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in named.items()}
            self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
        try:
            self.port: int = self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError as error:
            raise UsageError(f"cannot listen on {host}:{port} for gRPC. Choose another --grpc-port or --host.") from error

    async def start(self) -> None:
        """Listen."""
        await self._server.start()

    async def stop(self, seconds: Seconds) -> None:
        """Take no more connections or calls, tell clients to go elsewhere, and wait so long for calls that run."""
        await self._server.stop(seconds)

    async def _infer(self, body: bytes, context: Any) -> bytes:
        app = self._app
        full = app.crowded(len(body))
        if full is not None:
            app.count(full)
            return await _abort(context, full)
        app.enter(len(body))
        try:
            return await self._answer(body, context)
        except Problem as problem:
            return await _abort(context, problem)
        finally:
            app.leave(len(body))

    async def _answer(self, body: bytes, context: Any) -> bytes:
        app = self._app
        try:
            request = parse("ModelInferRequest", body)
            self._check(request.model_name, request.model_version)
            call = self._codec.read(request)
        except Problem as problem:
            app.count(problem)
            raise
        left = context.time_remaining()
        if left is not None:
            left = max(left - BACK, 0.0)
            call.timeout = left if call.timeout is None else min(left, call.timeout)
        answers = await app.desk.answer(call, len(body))
        return self._codec.write(call, answers, app.name, VERSION)

    async def _live(self, body: bytes, context: Any) -> bytes:
        return _written("ServerLiveResponse", live=True)

    async def _ready(self, body: bytes, context: Any) -> bytes:
        return _written("ServerReadyResponse", ready=self._app.desk.ready)

    async def _model_ready(self, body: bytes, context: Any) -> bytes:
        await self._find("ModelReadyRequest", body, context)
        return _written("ModelReadyResponse", ready=self._app.desk.ready)

    async def _server_metadata(self, body: bytes, context: Any) -> bytes:
        return _written("ServerMetadataResponse", **server_metadata())

    async def _metadata(self, body: bytes, context: Any) -> bytes:
        await self._find("ModelMetadataRequest", body, context)
        return _written("ModelMetadataResponse", **self._app.metadata)

    async def _config(self, body: bytes, context: Any) -> bytes:
        await self._find("ModelConfigRequest", body, context)
        return config_message(self._app.config)

    async def _index(self, body: bytes, context: Any) -> bytes:
        return _written("RepositoryIndexResponse", models=self._app.index())

    async def _health(self, body: bytes, context: Any) -> bytes:
        try:
            service = parse("HealthCheckRequest", body).service
            if service not in ("", INFERENCE):
                raise Problem(404, f"there is no service of that name; there is {INFERENCE}.")
        except Problem as problem:
            return await _abort(context, problem)
        return _written("HealthCheckResponse", status=SERVING if self._app.desk.ready else NOT_SERVING)

    async def _find(self, kind: str, body: bytes, context: Any) -> None:
        try:
            request = parse(kind, body)
            self._check(request.name, request.version)
        except Problem as problem:
            await _abort(context, problem)

    def _check(self, name: str, version: str) -> None:
        if name != self._app.name or version not in ("", VERSION):
            raise Problem(404, f"there is no such model or version; there is {self._app.name!r}, version {VERSION}.")


def _written(kind: str, **fields: Any) -> bytes:
    written: bytes = MESSAGES[kind](**fields).SerializeToString()
    return written


async def _abort(context: Any, problem: Problem) -> NoReturn:
    """End a call with a problem; one that says when to retry says so in the standard details."""
    code = CODES[problem.status]
    trailing: tuple[tuple[str, bytes], ...] = ()
    if problem.retry is not None:
        trailing = (("grpc-status-details-bin", retry_details(code.value[0], problem.message, problem.retry)),)
    await context.abort(code, problem.message, trailing)
    raise AssertionError("abort raises")

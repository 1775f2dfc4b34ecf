"""The process around the service: ports, signals, draining."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from strop.errors import MissingExtraError, UsageError
from strop.observe import Event, Level, Observer, silent
from strop.serve import admin, rsgi
from strop.serve.app import App
from strop.serve.lookback import Lookback
from strop.serve.version import Loader
from strop.units import Seconds

if TYPE_CHECKING:
    from strop.serve.grpc_front import GrpcFront

LOOPBACK = "127.0.0.1"
BACKLOG = 2048
LAST: Seconds = 1.0
"""Time for sending the last answers by gRPC once all of them are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server listens.

    Attributes:
        host: address; only this machine unless told otherwise.
        port: of the protocol; 0 takes any that is free.
        grpc_port: of the protocol on gRPC, likewise; ``None`` leaves it out.
        admin_port: of the live page and of metrics, always on this machine only.
    """

    host: str = LOOPBACK
    port: int = 8080
    grpc_port: int | None = None
    admin_port: int = 8082


async def serve(
    app: App, address: Address, cold: dict[str, float], observer: Observer = silent, loader: Loader | None = None
) -> bool:
    """Serve until SIGTERM or SIGINT, then drain; tell whether everything that was taken was answered.

    A second signal ends the draining at once. SIGHUP takes a newer version of the model into service.

    Args:
        app: ready to answer.
        address: where to listen.
        cold: phase of starting → seconds, shown as a metric; what listening took is added.
        observer: told when it listens and when it drains.
        loader: takes newer versions into service; without one the server keeps what it has.

    Raises:
        UsageError: a port is taken.
        MissingExtraError: the server's packages are not installed.
    """
    started = time.perf_counter()
    ports = free_port(address.host, address.port), free_port(LOOPBACK, address.admin_port)
    lookback = Lookback(app)
    servers = [
        _granian(rsgi.front(app), address.host, ports[0], app),
        _granian(admin.front(app, cold, lookback, loader), LOOPBACK, ports[1], app),
    ]
    grpc = _grpc(app, address)
    loop = asyncio.get_running_loop()
    stop, now = _heed_signals(loop, loader)
    tasks = [loop.create_task(server.serve()) for server in servers]
    watch = loop.create_task(lookback.run())
    try:
        await _listening(address.host, ports[0], tasks[0])
        await _listening(LOOPBACK, ports[1], tasks[1])
        if grpc is not None:
            await grpc.start()
        cold["listen"] = time.perf_counter() - started
        gc.freeze()  # what starting made stays; collecting it again would only stop requests
        observer(_listens(app, address.host, ports, grpc.port if grpc else None, cold))
        await asyncio.wait([loop.create_task(stop.wait()), *tasks], return_when=asyncio.FIRST_COMPLETED)
        observer(Event("serve.draining", f"draining: {app.desk.scheduler.accounts.open} requests are open"))
        if grpc is not None:
            tasks.append(loop.create_task(grpc.stop(app.limits.drain)))
        drained = await _drain(app, now)
    finally:
        for server in servers:
            server.stop()
        if grpc is not None:
            await grpc.stop(LAST)
        watch.cancel()
        await asyncio.gather(*tasks, watch, return_exceptions=True)
        await app.desk.close()
    observer(_ended(app))
    return drained


def free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0.

    granian shares ports between processes, so a second server would silently take half of the first one's requests.

    Raises:
        UsageError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port}: {error.strerror or error}. Choose another --port or --host."
            ) from error
        return int(probe.getsockname()[1])


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop, the faster kind where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _granian(target: rsgi.Front, host: str, port: int, app: App) -> Any:
    try:
        from granian.constants import HTTPModes
        from granian.http import HTTP1Settings
        from granian.server.embed import Server
    except ImportError as error:
        raise MissingExtraError("strop serve", "serve") from error
    return Server(
        target,
        address=host,
        port=port,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=app.limits.connections,
        http1_settings=HTTP1Settings(header_read_timeout=round(1000 * app.limits.header_wait)),
        log_enabled=False,
    )


def _grpc(app: App, address: Address) -> GrpcFront | None:
    """Return the gRPC front, bound and not yet listening; its packages are loaded only where it is wanted."""
    if address.grpc_port is None:
        return None
    from strop.serve.grpc_front import GrpcFront

    return GrpcFront(app, address.host, address.grpc_port)


async def _listening(host: str, port: int, task: asyncio.Task[None]) -> None:
    """Wait until connections are accepted."""
    while not task.done():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return
        await asyncio.sleep(0.005)
    task.result()
    raise UsageError(f"the server on {host}:{port} ended before it listened.")


async def _drain(app: App, now: asyncio.Event) -> bool:
    draining = asyncio.ensure_future(app.desk.drain(app.limits.drain))
    hurry = asyncio.ensure_future(now.wait())
    await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if not draining.done():
        return await app.desk.drain(0.0)
    return draining.result()


def _heed_signals(loop: asyncio.AbstractEventLoop, loader: Loader | None) -> tuple[asyncio.Event, asyncio.Event]:
    """Return what the first signal to end sets, and what the second does; let SIGHUP load a newer version."""
    stop, now = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (now if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    if loader is not None:
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.create_task(admin.load(loader)))
    return stop, now


def _ended(app: App) -> Event:
    accounts = app.desk.scheduler.accounts
    words = ", ".join(f"{count} {outcome}" for outcome, count in accounts.ended.items()) or "no requests"
    data = {"sent": accounts.sent, **{str(outcome): count for outcome, count in accounts.ended.items()}}
    return Event("serve.ended", f"ended: {words}", Level.RESULT, data)


def _listens(app: App, host: str, ports: tuple[int, int], grpc: int | None, cold: dict[str, float]) -> Event:
    url, inside = f"http://{host}:{ports[0]}", f"http://{LOOPBACK}:{ports[1]}"
    second = "" if grpc is None else f"{host}:{grpc}"
    beside = f", gRPC at {second}" if second else ""
    text = f"{app.name} is ready at {url}/v2/models/{app.name}{beside}, live page at {inside}/, metrics at {inside}/metrics"
    seeds = [asdict(seed) for seed in app.desk.scheduler.latency.seeds]
    data = {"url": url, "grpc": second, "admin": inside, "model": app.name, "cold_start": dict(cold), "seeds": seeds}
    return Event("serve.ready", text, Level.RESULT, data)

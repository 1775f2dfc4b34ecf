"""One load from end to end: find the model, make requests, draw the schedules, run them one after another."""

from __future__ import annotations

import asyncio
import contextlib
import re
import resource
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from strop.errors import UsageError
from strop.load.arrivals import parse_arrivals
from strop.load.client import Client, find_model, metadata, rehearse
from strop.load.drive import OpenLoop
from strop.load.oip import Request, random_requests, read_bodies, read_requests, read_tensors
from strop.load.samples import Outcome, Samples
from strop.load.summary import Summary, summarize
from strop.units import Seconds

POOL = 64
"""Different random requests; they are sent in turn."""
PAUSE = 0.5
"""Seconds of rest between two rates."""
OIP_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/infer)?/?")

Watch = Callable[[float, Seconds, Mapping[Outcome, int]], None]
"""``watch(rate, elapsed, counts)``, about once a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """What was asked for; with the same server it repeats the load.

    Attributes:
        url: ``http://host:port``; with a path ``/v2/models/NAME`` the model's own; with any other path, where bodies are
            posted as they are.
        rates: requests per second, one run each.
        seconds: counted part of each run.
        warmup: seconds before it, sent at the same rate.
        arrivals: as :func:`strop.load.arrivals.parse_arrivals` reads them.
        model: its name; ``None``: the only one.
        version: of the model; ``None``: the server chooses.
        source: file with requests; ``None``: random ones within the declared shapes.
        batch: rows of a random request.
        lengths: shortest and longest of the other dimensions that vary, in random requests.
        binary: random tensors as raw bytes.
        objective: latency to be kept, seconds; ``None``: none.
        timeout: seconds after which the client gives up.
        seed: of arrivals and random requests.
    """

    url: str
    rates: tuple[float, ...]
    seconds: Seconds = 30.0
    warmup: Seconds = 0.0
    arrivals: str = "poisson"
    model: str | None = None
    version: str | None = None
    source: Path | None = None
    batch: int = 1
    lengths: tuple[int, int] = (16, 16)
    binary: bool = False
    objective: Seconds | None = None
    timeout: Seconds = 10.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """One rate: its samples and what they say."""

    summary: Summary
    samples: Samples


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadResult:
    """A whole load.

    Attributes:
        plan: what was asked for.
        target: where requests went: the path below the server.
        sizes: smallest and largest body in bytes.
        runs: one per rate, in the order they ran.
        interrupted: whether it was ended early.
    """

    plan: LoadPlan
    target: str
    sizes: tuple[int, int]
    runs: tuple[Run, ...]
    interrupted: bool


def run_load(plan: LoadPlan, watch: Watch = lambda rate, elapsed, counts: None) -> LoadResult:
    """Run the load in an event loop of its own; an interrupt ends it with what was measured so far.

    Raises:
        UsageError: the plan, the server, the model or the requests cannot be used; nothing was measured.
        StropError: the server's answers do not follow the protocol.
        KeyboardInterrupt: it was interrupted before anything was measured.
    """
    return asyncio.run(_run(plan, watch))


def split_url(url: str) -> tuple[str, str]:
    """Return server and path.

    Raises:
        UsageError: it is not an ``http://`` or ``https://`` address.
    """
    parts = urlsplit(url if "//" in url else f"//{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"the address of a server was expected, for instance http://127.0.0.1:8080; got {url!r}")
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/") + (f"?{parts.query}" if parts.query else "")


async def _run(plan: LoadPlan, watch: Watch) -> LoadResult:
    base, path = split_url(plan.url)
    draw = parse_arrivals(plan.arrivals)
    schedules = {rate: draw(rate, plan.warmup + plan.seconds, plan.seed) for rate in plan.rates}
    runs: list[Run] = []
    async with Client(base) as client:
        target, requests = await _prepare(client, path, plan)
        with many_connections(), _Interrupt() as interrupt:
            for rate, schedule in schedules.items():
                if runs:
                    await asyncio.sleep(PAUSE)
                loop = OpenLoop(
                    schedule,
                    lambda number: client.post(target, requests[number % len(requests)]),
                    broken=client.broken,
                    timeout=plan.timeout,
                    watch=partial(watch, rate),
                )
                samples = await interrupt.end(loop.run())
                if interrupt.heard and not samples.counted(plan.warmup).any():
                    break
                summary = summarize(
                    samples, rate=rate, seconds=plan.seconds, warmup=plan.warmup, objective=plan.objective,
                    processor=loop.processor,
                )  # fmt: skip
                runs.append(Run(summary=summary, samples=samples))
                if interrupt.heard:
                    break
    if not runs:
        raise KeyboardInterrupt
    sizes = [len(request.body) for request in requests]
    return LoadResult(
        plan=plan, target=target, sizes=(min(sizes), max(sizes)), runs=tuple(runs), interrupted=interrupt.heard
    )  # fmt: skip


async def _prepare(client: Client, path: str, plan: LoadPlan) -> tuple[str, Sequence[Request]]:
    """Return where to post and what, after the server has accepted the first of it."""
    named = OIP_PATH.fullmatch(path)
    requests: Sequence[Request]
    if path and not named:
        if plan.source is None:
            raise UsageError(f"{path} is no path of the Open Inference Protocol, so what to post must be given with --input")
        target = path
        requests = [Request(body=text.encode()) for _, text in read_bodies(plan.source)]
    else:
        name = await find_model(client, plan.model or (unquote(named[1]) if named else None))
        version = plan.version or (unquote(named[2]) if named and named[2] else None)
        model = f"/v2/models/{quote(name, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")
        target = f"{model}/infer"
        inputs = read_tensors(await metadata(client, model, name))
        if plan.source is not None:
            requests = read_requests(plan.source, inputs)
        else:
            requests = random_requests(
                inputs, POOL, batch=plan.batch, lengths=plan.lengths, binary=plan.binary, seed=plan.seed
            )  # fmt: skip
    await rehearse(client, target, requests)
    return target, requests


class _Interrupt:
    """Turns the first SIGINT or SIGTERM into the early end of what is running."""

    def __init__(self) -> None:
        self.heard = False
        self._running: asyncio.Task[Samples] | None = None

    def __enter__(self) -> _Interrupt:
        self._signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        self._before = {number: signal.getsignal(number) for number in self._signals}
        for number in self._signals:
            asyncio.get_running_loop().add_signal_handler(number, self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number in self._signals:
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, self._before[number])

    async def end(self, running: Coroutine[Any, Any, Samples]) -> Samples:
        """Wait for a load that may be ended early."""
        self._running = asyncio.create_task(running)
        return await self._running

    def _hear(self) -> None:
        if not self.heard and self._running is not None:
            self._running.cancel()
        self.heard = True


@contextlib.contextmanager
def many_connections() -> Iterator[None]:
    """Allow as many open sockets as the hard limit does: every request in flight holds one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

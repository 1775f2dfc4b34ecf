"""The port for those who run the server: a live page, its figures as JSON, metrics, health, and loading a newer version.

A page from elsewhere that is open in the same browser must learn nothing: a request is answered only when it was addressed
to this machine by a name that no stranger's domain can take (DNS rebinding), and other sites cannot embed or read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import metadata as distributions
from importlib import resources as files
from typing import Any

from strop.serve import rsgi
from strop.serve.accounts import Accounts
from strop.serve.app import App, Response, failed
from strop.serve.lookback import STEP, Lookback
from strop.serve.metrics import Metrics, render
from strop.serve.oip import JSON, dumps
from strop.serve.problem import Problem
from strop.serve.request import Outcome
from strop.serve.version import Loader

HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""What a request may call this machine; the port does not matter, so that a tunnel may end anywhere."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy: the page may use its own script, style and figures, and nothing else."""

GUARDS = (
    ("content-security-policy", POLICY),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("cache-control", "no-store"),
)
"""Headers of every answer."""

PAGE = {
    "/": ("live.html", "text/html; charset=utf-8"),
    "/live.css": ("live.css", "text/css; charset=utf-8"),
    "/live.js": ("live.js", "text/javascript; charset=utf-8"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Path → file in ``page/``, media type."""


def front(app: App, cold: Mapping[str, float], lookback: Lookback, loader: Loader | None = None) -> rsgi.Front:
    """Return the handler of the port.

    Args:
        app: what is served.
        cold: phase of starting → seconds it took.
        lookback: follows it.
        loader: takes newer versions into service.
    """
    metrics = Metrics(app, cold)
    pages: dict[str, Callable[[], Response]] = {path: partial(_file, *row) for path, row in PAGE.items()}
    pages["/stats"] = lambda: Response(200, dumps(stats(app, cold, lookback)), (JSON,))
    pages["/metrics"] = lambda: _metrics(metrics)

    loading = f"/v2/repository/models/{app.name}/load"

    async def handle(scope: rsgi.Scope, proto: rsgi.Exchange) -> None:
        if scope.proto == "http":
            answer = _stranger(scope)
            if answer is None:
                loads = scope.path == loading and scope.method == "POST"
                answer = await load(loader) if loads else _answer(app, pages, scope)
            rsgi.send(proto, Response(answer.status, answer.body, (*answer.headers, *GUARDS)))

    return handle


def stats(app: App, cold: Mapping[str, float], lookback: Lookback) -> dict[str, Any]:
    """Return what the live page shows."""
    desk, resources = app.desk, lookback.resources
    scheduler, accounts = desk.scheduler, desk.scheduler.accounts
    return {
        "model": app.name,
        "platform": app.metadata["platform"],
        "version": distributions.version("strop"),
        "at": time.time(),
        "started": resources.started,
        "ready": desk.ready,
        "draining": desk.draining,
        "objective": scheduler.policy.objective,
        "executors": {
            "count": scheduler.policy.executors, "busy": len(scheduler.running), "hanging": len(desk.hanging),
        },
        "requests": {"sent": accounts.sent, "open": accounts.open, **_ended(accounts)},
        "unaccounted": accounts.unaccounted,
        "reasons": {reason: count for reason, count in desk.counts.failures.items() if count},
        "recent": {**lookback.rates(), **lookback.percentiles()},
        "queue": {"length": len(scheduler.queue), "bytes": scheduler.queue.size, "seconds": desk.backlog},
        "batches": lookback.batches(),
        "rows": {"limit": scheduler.limit.rows, "most": scheduler.policy.max_rows},
        "padding": desk.counts.padding_ratios.total / max(1, desk.counts.padding_ratios.count),
        "memory": {"free": resources.free, "total": resources.total, "resident": resources.resident},
        "process": {"threads": resources.threads, "descriptors": resources.descriptors, "cpu": resources.cpu},
        "cold": dict(cold),
        "series": {"step": STEP, **{name: list(values) for name, values in lookback.series.items()}},
    }  # fmt: skip


def _ended(accounts: Accounts) -> dict[str, int]:
    return {str(outcome): accounts.ended[outcome] for outcome in Outcome}


def own_host(host: str | None) -> bool:
    """Tell whether a ``Host`` header names this machine itself, with or without a port."""
    name, colon, port = (host or "").lower().rpartition(":")
    return (name if colon and port.isdigit() else (host or "").lower()) in HOSTS


async def load(loader: Loader | None) -> Response:
    """Return the answer to a wish for a newer version."""
    if loader is None:
        return failed(Problem(501, "this server cannot load another version."))
    try:
        await loader.load()
    except Problem as problem:
        return failed(problem)
    return Response(200, b"{}")


def _stranger(scope: rsgi.Scope) -> Response | None:
    if not own_host(scope.headers.get("host")):
        return failed(Problem(403, "this port answers only when it is addressed as localhost, 127.0.0.1 or [::1]."))
    if scope.path != "/" and scope.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return failed(Problem(403, "other sites may not read this."))
    return None


def _answer(app: App, pages: Mapping[str, Callable[[], Response]], scope: rsgi.Scope) -> Response:
    if scope.path.startswith("/v2/health/"):
        return app.look(scope.method, scope.path)
    if scope.path not in pages:
        return failed(
            Problem(404, "there is nothing here but /, /stats, /metrics, /v2/health/ and POST /v2/repository/models/NAME/load.")
        )
    if scope.method != "GET":
        return failed(Problem(405, "use GET.", headers=(("allow", "GET"),)))
    return pages[scope.path]()


def _metrics(metrics: Metrics) -> Response:
    body, kind = render(metrics)
    return Response(200, body, (("content-type", kind),))


@cache
def _file(name: str, kind: str) -> Response:
    return Response(200, (files.files("strop.serve") / "page" / name).read_bytes(), (("content-type", kind),))

"""``strop serve``."""

from __future__ import annotations

import json

import click

from strop.cli._shared import quiet


@click.command()
@click.argument("bundle")
@click.option(
    "--objective", default=None, help="Time within which requests are to be answered.  [default: the recipe's, or 100ms]"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is every network.")
@click.option("--port", default=8080, show_default=True, help="Port of the protocol; 0 takes a free one.")
@click.option("--grpc-port", default=9000, show_default=True, help="Port of the protocol on gRPC; 0 takes a free one.")
@click.option("--no-grpc", is_flag=True, help="Serve HTTP only.")
@click.option("--admin-port", default=8082, show_default=True, help="Port of /metrics on 127.0.0.1; 0 takes a free one.")
@click.option("--name", default="", help="Name of the model in its URL.  [default: the bundle's folder]")
@click.option("--executors", default=1, show_default=True, help="Batches run side by side, by threads.")
@click.option(
    "--workers", default=0, show_default=True, help="Run batches in so many processes instead: a crash ends one of them."
)
@click.option("--max-rows", default=None, type=int, help="Most rows of a batch.  [default: 64]")
@click.option("--recipe", default=None, help="How to batch, as strop optimize --aim goodput found it.")
@click.option("--workload", default=None, help="Workload file, for bundles of the eager engine.")
@click.option("--trust", is_flag=True, help="Open a bundle that can execute code and was not made on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines on standard output and nothing else.")
@quiet
def command(
    bundle: str,
    objective: str | None,
    host: str,
    port: int,
    grpc_port: int,
    no_grpc: bool,
    admin_port: int,
    name: str,
    executors: int,
    workers: int,
    max_rows: int | None,
    recipe: str | None,
    workload: str | None,
    trust: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Serve BUNDLE by the Open Inference Protocol v2 (HTTP with JSON and binary tensors, gRPC) until Ctrl-C or SIGTERM.

    Requests that arrive while a batch runs share the next one. What cannot be answered within the objective is refused at
    once (429), what turns out too late is not executed (504). SIGHUP takes a newer bundle in its place into service. Ends
    with 0 when everything that was taken was answered.
    """
    from strop.api.serve import serve
    from strop.observe import Event

    def show(event: Event) -> None:
        if as_json:
            click.echo(json.dumps({"at": event.at, "name": event.name, "level": event.level, "text": event.text, **event.data}))
        elif not quiet or event.name == "serve.ready":
            click.echo(event.text)

    served = serve(
        bundle, objective=objective, host=host, port=port, grpc_port=None if no_grpc else grpc_port, admin_port=admin_port,
        name=name, executors=executors, workers=workers, max_rows=max_rows, recipe=recipe, workload=workload, trust=trust,
        observer=show,
    )  # fmt: skip
    return 0 if served else 1

"""``strop dashboard``."""

from __future__ import annotations

import click

from strop.cli._shared import as_json, print_json


@click.group()
def command() -> None:
    """Watch served models with Prometheus and Grafana. The server's own live page is at its admin port."""


@command.command()
@click.option("--out", required=True, help="Folder for the files.")
@click.option("--bundle", default=None, help="Watch the model of this bundle.  [default: every model that is scraped]")
@click.option("--model", default="", help="Name of the model as it is served.  [default: the bundle's folder]")
@click.option("--target", default="127.0.0.1:8082", show_default=True, help="Admin address that Prometheus scrapes.")
@click.option("--latency", default="500ms", show_default=True, help="99th percentile above which HighInferenceLatency fires.")
@click.option("--backlog", default=10, show_default=True, help="Waiting requests from which on HighBacklog fires.")
@click.option(
    "--utilization", default=0.7, show_default=True, help="Share of the executors' time below which LowUtilization fires."
)
@click.option("--force", is_flag=True, help="Replace files that hold something else.")
@as_json
def export(
    out: str,
    bundle: str | None,
    model: str,
    target: str,
    latency: str,
    backlog: int,
    utilization: float,
    force: bool,
    as_json: bool,
) -> None:
    """Write a Grafana dashboard, recording and alert rules, tests of the rules, and a configuration for Prometheus."""
    from strop.api.dashboard import export_dashboard
    from strop.units import parse_seconds

    files = export_dashboard(
        out, bundle=bundle, force=force, model=model, target=target, latency=parse_seconds(latency), backlog=backlog,
        utilization=utilization,
    )  # fmt: skip
    if as_json:
        print_json([str(path) for path in files])
        return
    for path in files:
        click.echo(str(path))
    click.echo(f"Prove the rules: promtool test rules {files[2]}")

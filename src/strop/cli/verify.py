"""``strop verify``."""

from __future__ import annotations

import dataclasses

import click

from strop.cli._shared import as_json, print_json


@click.command()
@click.argument("run")
@as_json
def command(run: str, as_json: bool) -> int:
    """Recompute every verdict of RUN from its raw samples; no model is needed. Exit code 1 if anything does not hold."""
    from strop.api.verify import verify

    checks = verify(run)
    bad = [check for check in checks if check.problem]
    if as_json:
        print_json([dataclasses.asdict(check) for check in checks])
    else:
        for check in bad:
            click.echo(f"FAILED  {check.file}: {check.what}: {check.problem}")
        click.echo(f"{len(checks) - len(bad)} of {len(checks)} checks hold.")
    return 1 if bad else 0

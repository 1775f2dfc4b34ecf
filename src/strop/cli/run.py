"""``strop run``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from strop.cli._shared import print_json


@click.command()
@click.argument("bundle")
@click.option("--input", "source", default="-", show_default=True, help="JSON file with one call, or - for standard input.")
@click.option("--workload", default=None, help="Workload file, for bundles of the eager engine.")
@click.option("--trust", is_flag=True, help="Open a bundle that can execute code and was not made on this machine.")
def command(bundle: str, source: str, workload: str | None, trust: bool) -> None:
    """Answer one call with BUNDLE and print the answer as JSON.

    The call is an object of named arrays, or a list of positional arrays: {"input_ids": [[101, 2307, 102]], ...}
    """
    from strop.api.bundles import open_bundle
    from strop.api.calls import answer_json
    from strop.bundle import read_manifest
    from strop.errors import UsageError

    read_manifest(Path(bundle))  # or somebody who mistyped the folder would be asked about the input first
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        call = json.loads(text)
    except OSError as error:
        raise UsageError(
            f"the input {source} cannot be read: {error.strerror}. Give a JSON file, or - for standard input."
        ) from error
    except ValueError as error:
        raise UsageError(f"the input {source} is not JSON: {error}") from error
    print_json(answer_json(open_bundle(bundle, workload=workload, trust=trust), Path(bundle), call))

"""``strop train``."""

from __future__ import annotations

import json

import click

from strop.cli._shared import as_json, print_json, quiet, reference
from strop.errors import UsageError
from strop.observe import silent


@click.command()
@reference
@click.option("--recipe", default="", help="Recipe file; without one, the workload is trained as it says.")
@click.option("--out", default="", help="Run directory.  [default: runs/train-NAME]")
@click.option("--resume", is_flag=True, help="Go on from the latest checkpoint in --out.")
@click.option("--seed", default=0, show_default=True, help="Of weights, order of samples and all other random numbers.")
@click.option("--checkpoint-every", default="5m", show_default=True, help="Steps (500) or time (5m) between checkpoints.")
@click.option("--model_parallel_size", type=int, help="Processes that share each layer; only 1 so far.")
@click.option("--pipeline_parallel_size", type=int, help="Stages of layers; only 1 so far.")
@click.option("--data_parallel_size", type=int, help="Processes that share each batch.")
@as_json
@quiet
def command(
    workload: str,
    recipe: str,
    out: str,
    resume: bool,
    seed: int,
    checkpoint_every: str,
    model_parallel_size: int | None,
    pipeline_parallel_size: int | None,
    data_parallel_size: int | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Train WORKLOAD, with checkpoints, and write weights and a report.

    WORKLOAD is a Python file (path.py or path.py:function) with a strop.TrainingWorkload. The first interrupt finishes the
    step and saves it. Exit codes: 0 trained, 1 failed or diverged, 2 usage, 130 interrupted.

    On several processes: torchrun --nproc_per_node=2 -m strop train WORKLOAD --recipe R.yaml --out DIR, with
    distributed_data_parallel in the recipe. Sizes of parallelism, where given, must multiply to the number of processes.
    """
    from strop.api.train import train
    from strop.loop.ranks import check_sizes, place

    check_sizes(model_parallel_size, pipeline_parallel_size, data_parallel_size)
    for number, name, size in ((19, "model", model_parallel_size), (20, "pipeline", pipeline_parallel_size)):
        if (size or 1) > 1:
            raise UsageError(f"{name}_parallel_size={size} needs instruction {number}, which is planned; give 1.")
    from strop.observe.progress import ProgressSink

    sink = None if as_json or quiet else ProgressSink()
    try:
        result = train(
            workload, recipe=recipe, out=out, seed=seed, resume=resume, checkpoint_every=checkpoint_every, observer=sink or silent
        )
    finally:
        if sink is not None:
            sink.close()
    if place().rank:
        return result.exit_code  # the first process speaks for all
    if as_json:
        print_json(json.loads((result.folder / "result.json").read_text(encoding="utf-8")))
    else:
        click.echo(f"Report: {result.folder / 'report.html'}" + (f"   Weights: {result.weights}" if result.weights else ""))
    return result.exit_code

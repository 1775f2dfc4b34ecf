"""The preparing process: ``python -m strop.trial.prepare TASK.json [PARENT]``. It leaves an artefact and an outcome, and ends."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from strop import catalogue
from strop.contract.device import PROCESSOR
from strop.ledger.files import read_json, write_json
from strop.measure.host import read_host
from strop.measure.orphan import die_with
from strop.pipeline import Outcome, Preparation, fit_key, graph_key, prepare
from strop.trial.materials import Materials, build_model
from strop.trial.task import Task


def run_task(task: Task) -> Preparation:
    """Prepare one recipe in this process.

    Exceptions of the back ends and of third-party instructions become ``failed to prepare``, because a trial that
    fails is a result; the traceback stays in the process's log.
    """
    workload = task.reference.load()
    draft = Materials(task.materials).draft(workload, lambda: build_model(workload, task.seed), task.seed)
    recipe = catalogue.recipe_from_json(task.recipe)
    try:
        return prepare(
            draft,
            recipe,
            read_host(accelerators=workload.device != PROCESSOR),
            task.folder / "artefact",
            graph=lambda engine: task.graphs / graph_key(recipe, engine, task.origin),
            fitted=task.graphs / fit_key(recipe, task.origin),
        )
    except MemoryError:
        return Preparation(outcome=Outcome.FAILED, reason="memory exhausted while preparing", engine=draft.engine)
    except Exception as error:  # noqa: BLE001 - third-party code may raise anything
        sys.excepthook(*sys.exc_info())
        return Preparation(outcome=Outcome.FAILED, reason=f"{type(error).__name__}: {_first_line(error)}", engine=draft.engine)


def main(arguments: list[str]) -> int:
    """Run the task named on the command line; exit code 0 whenever an outcome was written.

    Args:
        arguments: the task's file and, where it ends with one, the number of the process that asked for it.
    """
    file, *parent = arguments
    if parent:
        die_with(int(parent[0]))
    warnings.simplefilter("ignore")  # back ends warn by the page; the log of a trial is for its failures
    task = Task.from_json(read_json(Path(file)))
    write_json(task.folder / "prepared.json", run_task(task).to_json())
    return 0


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no message"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

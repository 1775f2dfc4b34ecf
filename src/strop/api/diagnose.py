"""Where the time goes, before anything is changed."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

from strop.api.run import open_ledger, open_session, refer
from strop.contract.device import PROCESSOR
from strop.contract.workload import InferenceWorkload
from strop.diagnose.diagnosis import Diagnosis
from strop.errors import UsageError
from strop.measure.roofline import measure_roofs
from strop.observe import Observer, silent
from strop.search.request import Request
from strop.units import Seconds

TIMEOUT: Seconds = 300.0


def diagnose(
    workload: str | Path | InferenceWorkload, *, seed: int = 0, observer: Observer = silent, **options: str
) -> Diagnosis:
    """Profile the original model at each operating point and say what limits it and what to try.

    Args:
        workload: a workload file, ``hf:FOLDER-OR-ID``, or a live workload.
        seed: of the model's random initialisation, if it has one.
        observer: told what happens.
        options: for ``hf:`` workloads.

    Raises:
        WorkloadError: the workload cannot be used.
        UsageError: it is on an accelerator.
        MeasureError: the model could not be run.
    """
    with (
        tempfile.TemporaryDirectory(prefix="strop-") as place,
        refer(workload, **options) as reference,
        open_ledger(Path(place) / "run", {"command": "diagnose"}, resume=False) as ledger,
        open_session(reference, Request(seed=seed), ledger, observer) as session,
    ):
        if session.workload.device != PROCESSOR:
            raise UsageError(
                f"a diagnosis profiles the processor, and {session.workload.device} runs operators later than they are started. "
                f"Use torch.profiler there, or give device='cpu'."
            )
        roofs = measure_roofs(seed=seed, folder=ledger.folder / "logs")
        arguments = {"roofs": roofs, "facts": asdict(session.materials.facts)}
        return Diagnosis.from_json(session.bench.call(session.original(), "diagnose", arguments, TIMEOUT))

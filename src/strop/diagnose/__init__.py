"""Where a model's time goes, how far it is from what the machine could do, and what is worth trying. Claims nothing:
one process, a few calls, no pairs."""

from strop.diagnose.diagnosis import Diagnosis, OperatorShare, PointDiagnosis, Suggestion
from strop.diagnose.run import diagnose, diagnose_workload
from strop.diagnose.suggest import suggest

__all__ = ["Diagnosis", "OperatorShare", "PointDiagnosis", "Suggestion", "diagnose", "diagnose_workload", "suggest"]

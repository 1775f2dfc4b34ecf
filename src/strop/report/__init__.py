"""What a run found, told to people: report.html, tables for the terminal, plots."""

from strop.report.evidence import GUARDS, Claim, Ablation, QualityCheck, Footprint, ColdMark, ColdStart, Cost, Samples, Command
from strop.report.model import RunReport, break_even_calls
from strop.report.parts import (
    STATUSES,
    Subject,
    Budget,
    Outcome,
    Tail,
    Latency,
    Operator,
    Suggestion,
    Diagnosis,
    RooflinePoint,
    ParetoPoint,
    Pareto,
    Trial,
)

__all__ = [
    "Ablation",
    "Budget",
    "Claim",
    "ColdMark",
    "ColdStart",
    "Command",
    "Cost",
    "Diagnosis",
    "Footprint",
    "GUARDS",
    "Latency",
    "Operator",
    "Outcome",
    "Pareto",
    "ParetoPoint",
    "QualityCheck",
    "RooflinePoint",
    "RunReport",
    "STATUSES",
    "Samples",
    "Subject",
    "Suggestion",
    "Tail",
    "Trial",
    "break_even_calls",
]

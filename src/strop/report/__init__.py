"""What a run found, told to people: report.html, tables for the terminal, plots."""

from strop.report.evidence import GUARDS, Ablation, Claim, ColdMark, ColdStart, Command, Cost, Footprint, QualityCheck, Samples
from strop.report.model import RunReport, break_even_calls
from strop.report.parts import (
    STATUSES,
    Budget,
    Diagnosis,
    Latency,
    Operator,
    Outcome,
    Pareto,
    ParetoPoint,
    RooflinePoint,
    Subject,
    Suggestion,
    Tail,
    Trial,
)

__all__ = [
    "GUARDS",
    "STATUSES",
    "Ablation",
    "Budget",
    "Claim",
    "ColdMark",
    "ColdStart",
    "Command",
    "Cost",
    "Diagnosis",
    "Footprint",
    "Latency",
    "Operator",
    "Outcome",
    "Pareto",
    "ParetoPoint",
    "QualityCheck",
    "RooflinePoint",
    "RunReport",
    "Samples",
    "Subject",
    "Suggestion",
    "Tail",
    "Trial",
    "break_even_calls",
]
